//! Shrinking a stream to the shortest one that still shows a difference.

use super::compare::{Difference, Kind, compare};
use super::expected::reason;
use super::pair::Pair;
use super::stream::Stream;
use std::io;

/// The most streams that are tried.
const MAX_TRIES: usize = 300;

/// Returns a short stream that shows the same kind of difference, and the difference that it shows.
pub(super) fn shrink(pair: &mut Pair, stream: Stream, found: Difference) -> io::Result<(Stream, Difference)> {
    let mut shrinking = Shrinking { pair, kind: found.kind(), stream, found, tries: 0 };
    let plain = shrinking.stream.plain();
    shrinking.adopt(plain)?;
    let mut chunk = shrinking.stream.requests.len().div_ceil(2).max(1);
    loop {
        let mut at = 0;
        let mut has_shrunk = false;
        while at < shrinking.stream.requests.len() && shrinking.tries < MAX_TRIES {
            let mut shorter = shrinking.stream.clone();
            shorter.requests.drain(at..shorter.requests.len().min(at + chunk));
            if shrinking.adopt(shorter)? {
                has_shrunk = true;
            } else {
                at += chunk;
            }
        }
        if shrinking.tries >= MAX_TRIES || (chunk == 1 && !has_shrunk) {
            break;
        }
        chunk = (chunk / 2).max(1);
    }
    shrinking.shrink_words()?;
    Ok((shrinking.stream, shrinking.found))
}

struct Shrinking<'a> {
    pair: &'a mut Pair,
    kind: Kind,
    stream: Stream,
    found: Difference,
    tries: usize,
}

impl Shrinking<'_> {
    /// Goes on with a stream if it shows the difference.
    fn adopt(&mut self, stream: Stream) -> io::Result<bool> {
        self.tries += 1;
        if stream.requests.is_empty() {
            return Ok(false);
        }
        let (reference, tested) = self.pair.send(&stream)?;
        match compare(&stream, &reference, &tested) {
            Some(found) if found.kind() == self.kind && reason(&stream, &found).is_none() => {
                (self.stream, self.found) = (stream, found);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Drops arguments, from the last.
    fn shrink_words(&mut self) -> io::Result<()> {
        for request in 0..self.stream.requests.len() {
            let mut word = self.stream.requests[request].words.len();
            while word > 1 && self.tries < MAX_TRIES {
                word -= 1;
                let mut shorter = self.stream.clone();
                if shorter.requests[request].raw.is_none() {
                    shorter.requests[request].words.remove(word);
                    self.adopt(shorter)?;
                }
            }
        }
        Ok(())
    }
}
