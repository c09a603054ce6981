//! The patterns of `KEYS`, as Redis reads them: `*`, `?`, `[a-z]`, `[^a]` and `\` before a character to be taken as it is.

/// Whether all of `text` fits the pattern. Takes at most the product of both lengths, whatever the pattern.
pub(crate) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut rest, mut text) = (pattern, text);
    // Where to go on when a later mismatch shows that the last `*` should have taken one byte more.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', after @ ..] = rest {
            retry = Some((after, text));
            rest = after;
            continue;
        }
        match (text, one(rest, text.first().copied())) {
            ([], _) if rest.is_empty() => return true,
            ([_, text_after @ ..], Some(rest_after)) => (rest, text) = (rest_after, text_after),
            _ => match retry {
                Some((after, [_, longer @ ..])) => {
                    retry = Some((after, longer));
                    (rest, text) = (after, longer);
                }
                _ => return false,
            },
        }
    }
}

/// What follows the pattern's first element, if that fits `byte`.
fn one(pattern: &[u8], byte: Option<u8>) -> Option<&[u8]> {
    let byte = byte?;
    match pattern {
        [] => None,
        [b'?', after @ ..] => Some(after),
        [b'[', class @ ..] => {
            let (fits, after) = class_fits(class, byte);
            fits.then_some(after)
        }
        [b'\\', literal, after @ ..] | [literal, after @ ..] => (*literal == byte).then_some(after),
    }
}

/// Whether the class, of which the pattern's rest begins after its `[`, holds `byte`; and what follows its `]`. A class
/// that is not closed ends with the pattern.
fn class_fits(class: &[u8], byte: u8) -> (bool, &[u8]) {
    let (negated, mut rest) = match class {
        [b'^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut found = false;
    loop {
        rest = match rest {
            [] => return (found != negated, rest),
            [b']', after @ ..] => return (found != negated, after),
            [b'\\', literal, after @ ..] => {
                found |= *literal == byte;
                after
            }
            [from, b'-', to, after @ ..] => {
                found |= (*from.min(to)..=*from.max(to)).contains(&byte);
                after
            }
            [literal, after @ ..] => {
                found |= *literal == byte;
                after
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_mean_what_they_mean_to_redis() {
        for (pattern, fitting, other) in [
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
            for text in fitting {
                assert!(matches(pattern.as_bytes(), text.as_bytes()), "{pattern} fits {text:?}");
            }
            for text in other {
                assert!(!matches(pattern.as_bytes(), text.as_bytes()), "{pattern} does not fit {text:?}");
            }
        }
    }

    #[test]
    fn a_hostile_pattern_takes_no_exponential_time() {
        assert!(!matches("*a".repeat(500).as_bytes(), &[b'a'; 499]));
        assert!(!matches("a*".repeat(500).as_bytes(), &[b'a'; 499]));
    }
}
