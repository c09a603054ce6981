//! A stream of requests: the commands, how each is written, and where the bytes are cut.

use super::reply::shown;
use std::fmt;

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// The command and its arguments.
    pub(super) words: Vec<Vec<u8>>,
    /// The bytes, if they are not those that [`multibulk`] writes.
    pub(super) raw: Option<Vec<u8>>,
}

/// Requests for one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stream {
    pub(super) requests: Vec<Request>,
    /// The positions at which the bytes are cut into pieces, in ascending order.
    pub(super) cuts: Vec<usize>,
}

impl Request {
    pub(super) fn new(words: Vec<Vec<u8>>) -> Request {
        Request { words, raw: None }
    }

    /// Returns the name of the command in lower case.
    pub(super) fn name(&self) -> String {
        let name = self.words.first().map(Vec::as_slice).unwrap_or_default();
        String::from_utf8_lossy(name).to_ascii_lowercase()
    }

    fn bytes(&self) -> Vec<u8> {
        self.raw.clone().unwrap_or_else(|| multibulk(&self.words))
    }
}

impl Stream {
    /// Returns the bytes, in the pieces in which they are sent.
    pub(super) fn pieces(&self) -> Vec<Vec<u8>> {
        let bytes: Vec<u8> = self.requests.iter().flat_map(Request::bytes).collect();
        let mut pieces = Vec::new();
        let mut from = 0;
        for cut in self.cuts.iter().copied().filter(|cut| *cut < bytes.len()).chain([bytes.len()]) {
            pieces.push(bytes[from..cut].to_vec());
            from = cut;
        }
        pieces
    }

    /// Returns true if it has bytes of which the requests are not known.
    pub(super) fn is_raw(&self) -> bool {
        self.requests.iter().any(|request| request.words.is_empty())
    }

    /// Returns the same requests, all in the usual form and in one piece.
    pub(super) fn plain(&self) -> Stream {
        let requests = self.requests.iter().map(|request| Request::new(request.words.clone())).collect();
        Stream { requests, cuts: Vec::new() }
    }
}

/// Writes a request as an array of strings.
pub(super) fn multibulk(words: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend(word);
        bytes.extend(b"\r\n");
    }
    bytes
}

/// Writes a request as a line, with quotes where they are needed, and sometimes where not.
pub(super) fn inline(words: &[Vec<u8>], rng: &mut fastrand::Rng) -> Vec<u8> {
    let mut line = Vec::new();
    for word in words {
        if !line.is_empty() {
            line.extend(*rng.choice([&b" "[..], b"  ", b"\t"]).as_ref().expect("one of them"));
        }
        let is_plain = |byte: &u8| byte.is_ascii_graphic() && !b"\"'\\".contains(byte);
        if !word.is_empty() && word.iter().all(is_plain) && rng.u8(..) > 60 {
            line.extend(word);
        } else if rng.bool() && !word.iter().any(|byte| b"\r\n\\'\0".contains(byte)) {
            line.push(b'\'');
            line.extend(word);
            line.push(b'\'');
        } else {
            line.push(b'"');
            for byte in word {
                if byte.is_ascii_alphanumeric() {
                    line.push(*byte)
                } else {
                    line.extend(format!("\\x{byte:02x}").as_bytes())
                }
            }
            line.push(b'"');
        }
    }
    line.extend(if rng.bool() { &b"\r\n"[..] } else { b"\n" });
    line
}

impl fmt::Display for Stream {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for request in &self.requests {
            match &request.raw {
                Some(raw) => writeln!(out, "  raw {}", shown(raw))?,
                None => {
                    let words: Vec<_> = request.words.iter().map(|word| format!("\"{}\"", shown(word))).collect();
                    writeln!(out, "  {}", words.join(" "))?;
                }
            }
        }
        if self.cuts.is_empty() { Ok(()) } else { writeln!(out, "  cut at {:?}", self.cuts) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_cut_into_pieces_that_make_it_up() {
        let ping = Request::new(vec![b"PING".to_vec()]);
        let stream = Stream { requests: vec![ping.clone(), ping], cuts: vec![1, 20, 500] };
        let pieces = stream.pieces();
        assert_eq!(pieces.concat(), b"*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPING\r\n");
        assert_eq!(pieces.iter().map(Vec::len).collect::<Vec<_>>(), [1, 19, 8]);
    }
}
