use super::*;
use quickcheck::quickcheck;

type Parsed = Result<Vec<Result<Vec<Vec<u8>>, String>>, (usize, ProtocolError)>;

/// Reads all requests in the chunks, or returns where the stream broke.
fn read<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Parsed {
    let mut reader = RequestReader::default();
    let mut requests = Vec::new();
    for chunk in chunks {
        reader.receive(chunk);
        loop {
            match reader.next() {
                Err(error) => return Err((requests.len(), error)),
                Ok(None) => break,
                Ok(Some(Request::Refused { reason, .. })) => requests.push(Err(reason)),
                Ok(Some(Request::Command(arguments))) => {
                    requests.push(Ok(arguments.from(0).map(|argument| argument.to_vec()).collect()));
                }
            }
        }
    }
    Ok(requests)
}

fn command(arguments: &[&str]) -> Result<Vec<Vec<u8>>, String> {
    Ok(arguments.iter().map(|argument| argument.as_bytes().to_vec()).collect())
}

fn broken(bytes: &[u8]) -> String {
    read([bytes]).expect_err("the stream breaks").1.to_string()
}

const PIPELINE: &[u8] = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$4\r\na\r\nb\r\n*0\r\n\r\nping \"a b\"  'c\\'d' \"\\x41\\n\"\r\n*1\r\n$0\r\n\r\nGET k\n";

#[test]
fn a_pipeline_is_read_the_same_wherever_it_is_split() {
    let whole = vec![
        command(&["SET", "k", "a\r\nb"]),
        command(&["ping", "a b", "c'd", "A\n"]),
        command(&[""]),
        command(&["GET", "k"]),
    ];
    assert_eq!(read([PIPELINE]), Ok(whole.clone()));
    assert_eq!(read(PIPELINE.chunks(1)), Ok(whole.clone()));
    for cut in 0..PIPELINE.len() {
        let (before, after) = PIPELINE.split_at(cut);
        assert_eq!(read([before, after]), Ok(whole.clone()), "cut at {cut}");
    }
}

quickcheck! {
    fn any_bytes_in_chunks_are_read_as_in_one_piece(pieces: Vec<u8>, sizes: Vec<u8>) -> bool {
        // Meaningful pieces, so that the scanner gets past its first check.
        let pieces: Vec<u8> = pieces
            .iter()
            .flat_map(|piece| match piece % 12 {
                0 => &b"*1\r\n"[..],
                1 => b"*2\r\n",
                2 => b"$1\r\n",
                3 => b"$3\r\nGET\r\n",
                4 => b"$0\r\n\r\n",
                5 => b"x\r\n",
                6 => b"set a 'b'\r\n",
                7 => b"\"",
                8 => b"*-1\r\n",
                9 => b"$16777217\r\n",
                10 => b"\n",
                _ => b"$",
            })
            .copied()
            .collect();
        let mut rest = &pieces[..];
        let mut chunks = Vec::new();
        for size in sizes {
            let (chunk, tail) = rest.split_at(usize::from(size % 9).min(rest.len()));
            chunks.push(chunk);
            rest = tail;
        }
        chunks.push(rest);
        read([&pieces[..]]) == read(chunks)
    }
}

#[test]
fn rejects_absurd_lengths_before_allocating() {
    for (bytes, said) in [
        (&b"*1048577\r\n"[..], "Protocol error: invalid multibulk length"),
        (b"*99999999999999999999\r\n", "Protocol error: invalid multibulk length"),
        (b"*+1\r\n", "Protocol error: invalid multibulk length"),
        (b"*01\r\n", "Protocol error: invalid multibulk length"),
        (b"*1\n", "Protocol error: invalid multibulk length"),
        (b"*1\r\n$536870913\r\n", "Protocol error: invalid bulk length"),
        (b"*1\r\n$-1\r\n", "Protocol error: invalid bulk length"),
        (b"*1\r\n$\r\n", "Protocol error: invalid bulk length"),
        (b"*1\r\n:1\r\n", "Protocol error: expected '$', got ':'"),
        (b"*1\r\n\r\n", "Protocol error: expected '$', got ' '"),
        (b"*1\r\n\xff", "Protocol error: expected '$', got '\\xff'"),
        (b"*1\r\n$1\r\nabc", "Protocol error: expected a line end after an argument"),
        (b"get \"k\r\n", "Protocol error: unbalanced quotes in request"),
        (b"get 'k'v\r\n", "Protocol error: unbalanced quotes in request"),
    ] {
        assert_eq!(broken(bytes), said, "{}", bytes.escape_ascii());
    }
    assert_eq!(broken(&[b'*'; 100]), "Protocol error: too big mbulk count string");
    assert_eq!(broken(&[b'a'; MAX_INLINE]), "Protocol error: too big inline request");
}

#[test]
fn inline_arguments_are_split_where_redis_splits_them() {
    for (line, arguments) in [
        (&b"echo a\x0cb\x0bc\n"[..], &["echo", "a\x0cb\x0bc"][..]),
        (b"\x0c\x0b echo \x0ba\n", &["echo", "a"]),
        (b"echo \"a\"\x0cb\n", &["echo", "a", "b"]),
        (b"echo a\rb\r\r\n", &["echo", "a", "b"]),
        (b"echo a'b' c\"d\"\n", &["echo", "ab", "cd"]),
        (b"echo \"\\x4\\xzz\" ''\n", &["echo", "x4xzz", ""]),
    ] {
        assert_eq!(read([line]), Ok(vec![command(arguments)]), "{}", line.escape_ascii());
    }
}

#[test]
fn the_announcement_of_the_largest_array_allocates_nothing() {
    let mut reader = RequestReader::default();
    reader.receive(b"*1048576\r\n$16777216\r\n");
    assert_eq!(reader.next(), Ok(None));
    assert!(reader.buffer.capacity() < 1024);
    assert!(reader.ranges.capacity() < 1024);
}

#[test]
fn a_value_too_large_is_refused_and_what_follows_is_still_understood() {
    let mut bytes = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n", MAX_BULK + 1).into_bytes();
    bytes.resize(bytes.len() + MAX_BULK + 1, b'v');
    bytes.extend_from_slice(b"\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n");
    let requests = read(bytes.chunks(16 << 10)).expect("the stream holds");
    assert_eq!(
        requests,
        [
            Err("ERR an argument of 16777217 bytes exceeds 16777216 bytes; split the value".to_owned()),
            command(&["GET", "k"])
        ]
    );
}

#[test]
fn the_largest_value_is_taken_and_a_request_too_large_in_all_is_refused() {
    let mut bytes = b"*6\r\n$4\r\nMSET\r\n".to_vec();
    for _ in 0..5 {
        bytes.extend_from_slice(format!("${MAX_BULK}\r\n").as_bytes());
        bytes.resize(bytes.len() + MAX_BULK, b'v');
        bytes.extend_from_slice(b"\r\n");
    }
    let one = format!("*1\r\n${MAX_BULK}\r\n{}\r\n", "v".repeat(MAX_BULK));
    bytes.extend_from_slice(one.as_bytes());
    let requests = read(bytes.chunks(1 << 20)).expect("the stream holds");
    assert_eq!(requests.len(), 2);
    assert!(requests[0].as_ref().is_err_and(|reason| reason.contains("exceeds 50331648 bytes in all")));
    assert!(requests[1].as_ref().is_ok_and(|arguments| arguments[0].len() == MAX_BULK));
}

#[test]
fn arguments_share_the_memory_they_were_received_in() {
    let mut reader = RequestReader::default();
    reader.receive(b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n");
    let received = reader.buffer.as_ptr();
    match reader.next() {
        Ok(Some(Request::Command(arguments))) => {
            assert_eq!(arguments.get(1).as_ptr(), received.wrapping_add(17));
            assert_eq!((arguments.len(), arguments.peek(2)), (2, &b""[..]));
        }
        other => panic!("one command was sent, but {other:?} was read"),
    }
}

#[test]
fn integers_are_read_strictly() {
    for (text, number) in [
        ("0", Some(0)),
        ("-1", Some(-1)),
        ("9223372036854775807", Some(i64::MAX)),
        ("-9223372036854775808", Some(i64::MIN)),
        ("9223372036854775808", None),
        ("-0", None),
        ("+1", None),
        ("01", None),
        (" 1", None),
        ("1 ", None),
        ("", None),
        ("-", None),
        ("1.0", None),
    ] {
        assert_eq!(parse_integer(text.as_bytes()), number, "{text:?}");
    }
}
