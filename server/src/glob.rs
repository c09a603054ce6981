//! The patterns of `KEYS`, as Redis reads them: `*`, `?`, `[a-z]`, `[^a]`, and `\` before a character that stands for
//! itself.

/// The longest pattern, in bytes. Matching a key takes time in proportion to the key's length times a 64th of the
/// pattern's.
pub(crate) const MAX_PATTERN: usize = 1024;

/// A pattern, prepared for matching many texts.
///
/// It is a nondeterministic automaton that is run bit-parallel. State `n` means that the first `n` elements other than
/// `*` have matched; a `*` after them lets the state also remain for any byte. Every word of a set of states is one
/// `u64`, so a byte of a text costs one step per 64 elements, and no pattern makes it backtrack.
pub(crate) struct Pattern {
    /// Words in a set of states.
    words: usize,
    /// For each byte, the states that this byte leads to from the state before.
    enters: Vec<u64>,
    /// The states that remain for any byte.
    remains: Vec<u64>,
    /// The state in which every element has matched.
    last: usize,
}

impl Pattern {
    /// Prepares a pattern of at most [`MAX_PATTERN`] bytes; what follows these is ignored.
    pub(crate) fn new(pattern: &[u8]) -> Pattern {
        let mut rest = &pattern[..pattern.len().min(MAX_PATTERN)];
        let words = rest.len() / 64 + 1;
        let (mut enters, mut remains) = (vec![0; 256 * words], vec![0; words]);
        let mut last = 0;
        while let Some((accepted, after)) = element(rest) {
            rest = after;
            let Some(accepted) = accepted else {
                set(&mut remains, last);
                continue;
            };
            last += 1;
            for byte in (0..=u8::MAX).filter(|byte| accepted.contains(*byte)) {
                set(&mut enters[usize::from(byte) * words..], last);
            }
        }
        Pattern { words, enters, remains, last }
    }

    /// Returns whether the pattern matches the whole text.
    pub(crate) fn matches(&self, text: &[u8]) -> bool {
        // One word is by far the most frequent case, and needs no memory.
        if self.words == 1 { self.run(text, &mut [1]) } else { self.run(text, &mut self.start()) }
    }

    fn start(&self) -> Vec<u64> {
        let mut states = vec![0; self.words];
        states[0] = 1;
        states
    }

    #[inline]
    fn run(&self, text: &[u8], states: &mut [u64]) -> bool {
        let ends_with_star = is_set(&self.remains, self.last);
        for byte in text {
            if ends_with_star && is_set(states, self.last) {
                return true;
            }
            let enters = &self.enters[usize::from(*byte) * self.words..][..self.words];
            let (mut carry, mut alive) = (0, 0);
            for ((states, enters), remains) in states.iter_mut().zip(enters).zip(&self.remains) {
                let before = *states;
                *states = ((before << 1 | carry) & enters) | (before & remains);
                carry = before >> 63;
                alive |= *states;
            }
            if alive == 0 {
                return false;
            }
        }
        is_set(states, self.last)
    }
}

fn set(states: &mut [u64], state: usize) {
    states[state / 64] |= 1 << (state % 64);
}

fn is_set(states: &[u64], state: usize) -> bool {
    states[state / 64] & (1 << (state % 64)) != 0
}

/// A set of bytes.
#[derive(Clone, Copy, Default)]
struct Accepted([u64; 4]);

impl Accepted {
    fn only(byte: u8) -> Accepted {
        let mut accepted = Accepted::default();
        accepted.add(byte);
        accepted
    }

    fn add(&mut self, byte: u8) {
        set(&mut self.0, usize::from(byte));
    }

    fn contains(&self, byte: u8) -> bool {
        is_set(&self.0, usize::from(byte))
    }

    fn inverted(self) -> Accepted {
        Accepted(self.0.map(|word| !word))
    }
}

/// Returns the pattern's first element, as the bytes that it accepts or as `None` for `*`, and what follows it.
fn element(pattern: &[u8]) -> Option<(Option<Accepted>, &[u8])> {
    Some(match pattern {
        [] => return None,
        [b'*', after @ ..] => (None, after),
        [b'?', after @ ..] => (Some(Accepted::default().inverted()), after),
        [b'[', class @ ..] => {
            let (accepted, after) = class_of(class);
            (Some(accepted), after)
        }
        [b'\\', literal, after @ ..] | [literal, after @ ..] => (Some(Accepted::only(*literal)), after),
    })
}

/// Returns the bytes of a class, whose text begins after its `[`, and what follows its `]`. A class that is not closed
/// ends with the pattern.
fn class_of(class: &[u8]) -> (Accepted, &[u8]) {
    let (inverted, mut rest) = match class {
        [b'^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut accepted = Accepted::default();
    let after = loop {
        rest = match rest {
            [] => break rest,
            [b']', after @ ..] => break after,
            [b'\\', literal, after @ ..] => {
                accepted.add(*literal);
                after
            }
            [from, b'-', to, after @ ..] => {
                (*from.min(to)..=*from.max(to)).for_each(|byte| accepted.add(byte));
                after
            }
            [literal, after @ ..] => {
                accepted.add(*literal);
                after
            }
        };
    };
    (if inverted { accepted.inverted() } else { accepted }, after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    fn matches(pattern: &str, text: &str) -> bool {
        Pattern::new(pattern.as_bytes()).matches(text.as_bytes())
    }

    #[test]
    fn patterns_match_what_they_match_in_redis() {
        for (pattern, matching, other) in [
            ("*", &["", "a", "key:1"][..], &[][..]),
            ("h?llo", &["hello", "hallo"], &["hllo", "heello"]),
            ("h*llo", &["hllo", "heeeello"], &["hell"]),
            ("h[ae]llo", &["hello", "hallo"], &["hillo"]),
            ("h[^e]llo", &["hallo", "hbllo"], &["hello", "hllo"]),
            ("h[b-a]llo", &["hallo", "hbllo"], &["hcllo"]),
            ("*a*b*c*", &["abc", "xaxbxcx"], &["acb", ""]),
            ("\\*", &["*"], &["a", "\\*"]),
            ("[\\]]", &["]"], &["\\"]),
            ("[ab", &["a", "b"], &["c", "[ab"]),
            ("a\\", &["a\\"], &["a"]),
            ("", &[""], &["a"]),
            ("key:*:[0-9]", &["key::1", "key:a:b:2"], &["key:1", "key::a"]),
        ] {
            for text in matching {
                assert!(matches(pattern, text), "{pattern} matches {text:?}");
            }
            for text in other {
                assert!(!matches(pattern, text), "{pattern} does not match {text:?}");
            }
        }
    }

    /// The definition, which takes exponential time.
    fn reference(pattern: &[u8], text: &[u8]) -> bool {
        match element(pattern) {
            None => text.is_empty(),
            Some((None, after)) => (0..=text.len()).any(|skipped| reference(after, &text[skipped..])),
            Some((Some(accepted), after)) => {
                text.split_first().is_some_and(|(first, rest)| accepted.contains(*first) && reference(after, rest))
            }
        }
    }

    quickcheck! {
        fn agrees_with_the_definition(pattern: Vec<u8>, text: Vec<u8>, repeated: u8) -> bool {
            let pick = |from: &'static [u8]| move |byte: &u8| from[usize::from(*byte) % from.len()];
            let text: Vec<u8> = text.iter().take(10).map(pick(b"ab-]")).collect();
            let mut pattern: Vec<u8> = pattern.iter().take(10).map(pick(b"ab*?[]^-\\")).collect();
            // Literals in front move the same states across the borders of words.
            let front = vec![b'a'; usize::from(repeated % 140)];
            let plain = reference(&pattern, &text) == Pattern::new(&pattern).matches(&text);
            pattern.splice(0..0, front.iter().copied());
            let long = [&front[..], &text].concat();
            plain && reference(&pattern, &long) == Pattern::new(&pattern).matches(&long)
        }
    }

    #[test]
    fn no_pattern_takes_more_than_a_few_steps_per_byte() {
        let text = vec![b'a'; 1 << 20];
        for pattern in ["*a".repeat(500), "a*".repeat(500), format!("*{}b", "a".repeat(1000)), "*?".repeat(500) + "b"] {
            let pattern = Pattern::new(pattern.as_bytes());
            assert!(pattern.words <= MAX_PATTERN / 64 + 1);
            // Each byte costs `words` steps by construction; backtracking would make this test run for minutes.
            pattern.matches(&text);
        }
        assert!(!matches(&format!("*{}b", "a".repeat(1000)), &"a".repeat(5000)));
        assert!(matches(&format!("*{}b", "a".repeat(1000)), &("a".repeat(5000) + "b")));
    }
}
