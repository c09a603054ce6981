//! The hand-written streams.

use super::stream::{Request, Stream};

/// Returns the streams of `corpus.txt`, and those of the tables below.
pub(super) fn streams() -> Vec<Stream> {
    let lines = include_str!("corpus.txt").lines().filter(|line| !line.is_empty() && !line.starts_with("# "));
    lines.map(str::to_owned).chain(numbers()).chain(set_options()).chain(patterns()).map(|line| parse(&line)).collect()
}

/// Numbers, and what almost is one.
fn numbers() -> impl Iterator<Item = String> {
    let numbers = [
        "0",
        "1",
        "-1",
        "10",
        "9223372036854775807",
        "-9223372036854775808",
        "9223372036854775806",
        "9223372036854775808",
        "-9223372036854775809",
        "18446744073709551615",
        "-0",
        "+1",
        "007",
        "\\x201",
        "1\\x20",
        "1.0",
        "1e3",
        "0x10",
        "abc",
        "\"\"",
        "1\\x00",
        "\\xd9\\xa1",
        "4611686018427387904",
    ];
    numbers.into_iter().map(|number| {
        format!(
            "set k {number} ; incr k ; set k {number} ; decr k ; set k 5 ; incrby k {number} ; set k -5 ; decrby k {number} ; \
             get k ; set k 0.5 ; incrbyfloat k {number} ; hincrby h f {number} ; hincrbyfloat h g {number} ; expire k \
             {number} ; getrange k {number} {number} ; select {number}"
        )
    })
}

/// Pairs of options.
fn set_options() -> impl Iterator<Item = String> {
    let options = [
        "",
        "nx",
        "XX",
        "get",
        "keepttl",
        "ex 100",
        "px 100000",
        "exat 99999999999",
        "pxat 99999999999999",
        "ex",
        "foo",
    ];
    options.into_iter().flat_map(move |one| {
        options.into_iter().map(move |two| {
            let options = [one, two].into_iter().filter(|option| !option.is_empty());
            let options: String = options.map(|option| format!(" {option}")).collect();
            format!("set k new{options} ; get k ; ttl k ; set k old ; set k new{options} ; get k ; ttl k")
        })
    })
}

/// Patterns, matched with keys that look like them.
fn patterns() -> impl Iterator<Item = String> {
    let patterns = [
        "*",
        "?",
        "??",
        "a*",
        "*c",
        "a?c",
        "a*c",
        "[ab]",
        "[a-c]",
        "[c-a]",
        "[^a]",
        "[^a-z]",
        "[!a]",
        "[]",
        "[]]",
        "[^]",
        "[^]]",
        "[a",
        "[a-",
        "[a-]",
        "[-a]",
        "[a-c",
        "a[",
        "a\\\\[c",
        "a\\\\*c",
        "a\\\\?c",
        "a\\\\\\\\c",
        "a\\\\",
        "\\\\",
        "a[\\\\]]c",
        "a[\\\\-]c",
        "a[*]c",
        "a[^^]c",
        "[^\\\\",
        "[\\\\",
        "**",
        "***a",
        "*?",
        "?*",
        "*[b]*",
        "key:[0-9]",
        "key:*[2]",
        "\\x00",
        "\\xff",
        "A",
        "[z-a]",
        "[^-]",
        "\"\"",
    ];
    let keys = "mset a 1 b 2 ab 3 abc 4 a-c 5 a]c 6 a[c 7 a\\\\c 8 a*c 9 a?c 10 a^c 11 z 12 A 13 \\x00 14 \\xff 15 key:1 17 key:22 18";
    patterns.into_iter().map(move |pattern| format!("{keys} ; keys {pattern}"))
}

fn parse(line: &str) -> Stream {
    if let Some(raw) = line.strip_prefix("raw ") {
        let request = Request { words: Vec::new(), raw: Some(unescape(raw)) };
        return Stream { requests: vec![request], cuts: Vec::new() };
    }
    let word = |word: &str| if word == "\"\"" { Vec::new() } else { unescape(word) };
    let requests = line.split(" ; ").map(|request| Request::new(request.split(' ').map(word).collect())).collect();
    Stream { requests, cuts: Vec::new() }
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            bytes.extend(letter.to_string().as_bytes());
            continue;
        }
        match letters.next() {
            Some('r') => bytes.push(b'\r'),
            Some('n') => bytes.push(b'\n'),
            Some('x') => {
                let digits: String = letters.by_ref().take(2).collect();
                bytes.push(u8::from_str_radix(&digits, 16).expect("two hexadecimal digits"));
            }
            Some(other) => bytes.extend(other.to_string().as_bytes()),
            None => panic!("{text:?} ends with a backslash"),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_streams() {
        let stream = parse("set \"\" \\x00\\r ; get a\\\\b");
        let words: Vec<_> = stream.requests.iter().map(|request| request.words.clone()).collect();
        assert_eq!(words[0], [b"set".to_vec(), Vec::new(), b"\0\r".to_vec()]);
        assert_eq!(words[1], [b"get".to_vec(), b"a\\b".to_vec()]);
        assert_eq!(parse("raw PING\\n").pieces(), [b"PING\n".to_vec()]);
        assert!(streams().len() > 400, "{}", streams().len());
    }
}
