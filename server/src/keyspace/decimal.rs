//! The numbers of `INCRBYFLOAT` and `HINCRBYFLOAT`.
//!
//! Redis adds them as the processor's long doubles. Here these are computed in software, as a number of 80 bits on every
//! platform, so all nodes have the same sum, and it is the one of a Redis on x86.

use rustc_apfloat::ieee::X87DoubleExtended;
use rustc_apfloat::{Float as _, Round, Status};

/// The longest text of a number, in bytes. Converting a text takes longer, the longer it is and the further its exponent is
/// from zero: at most some tens of microseconds.
const MAX_TEXT: usize = 256;
/// The digits of a result after its point.
const FRACTION_DIGITS: usize = 17;
/// See [`FRACTION_DIGITS`].
const FRACTION: u128 = 10_u128.pow(17);
/// The exponents of a number of 80 bits whose mantissa is an integer.
const EXPONENT_BIAS: i32 = 16_383 + 63;
/// The largest such exponent of a result, which then has fewer than 39 digits before its point.
const MAX_EXPONENT: i32 = 63;

/// A number of 80 bits, perhaps infinite.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decimal(X87DoubleExtended);

/// The sum has no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SumError {
    /// It is infinite or not a number.
    NotFinite,
    /// It is too long.
    TooLarge,
}

impl SumError {
    /// Returns the error that a client sees.
    pub(super) fn text(self) -> &'static str {
        match self {
            SumError::NotFinite => "ERR increment would produce NaN or Infinity",
            SumError::TooLarge => "ERR increment would produce a number of more than 38 digits",
        }
    }
}

impl Decimal {
    /// Zero.
    pub(super) const ZERO: Decimal = Decimal(X87DoubleExtended::ZERO);

    /// Returns whether it is not infinite.
    pub(super) fn is_finite(self) -> bool {
        self.0.is_finite()
    }

    /// Parses a decimal number, or `inf`. Returns `None` for other text, and if the number is too large or too small.
    pub(super) fn parse(text: &[u8]) -> Option<Decimal> {
        let text = Some(text).filter(|text| text.len() <= MAX_TEXT).and_then(|text| std::str::from_utf8(text).ok())?;
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(unsigned) => (true, unsigned),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        if ["inf", "infinity"].iter().any(|word| unsigned.eq_ignore_ascii_case(word)) {
            let infinity = X87DoubleExtended::INFINITY;
            return Some(Decimal(if negative { -infinity } else { infinity }));
        }
        if !is_decimal(unsigned) {
            return None;
        }
        let parsed = nearest(unsigned)?;
        Some(Decimal(if negative { -parsed } else { parsed }))
    }

    /// Returns the text of the sum of two numbers.
    pub(super) fn add(self, other: Decimal) -> Result<String, SumError> {
        let sum = (self.0 + other.0).value;
        if !sum.is_finite() {
            return Err(SumError::NotFinite);
        }
        let bits = sum.to_bits();
        let mantissa = bits & u128::from(u64::MAX);
        let exponent = ((bits >> 64) & 0x7fff) as i32;
        // The smallest numbers have the exponent of the next larger ones.
        let exponent = exponent.max(1) - EXPONENT_BIAS;
        if exponent > MAX_EXPONENT {
            return Err(SumError::TooLarge);
        }
        let (integer, fraction) = if exponent >= 0 { (mantissa << exponent, 0) } else { split(mantissa, -exponent) };
        let mut text = format!("{integer}.{fraction:0FRACTION_DIGITS$}");
        text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
        if sum.is_negative() && text != "0" {
            text.insert(0, '-');
        }
        Ok(text)
    }
}

/// Returns the number nearest to a text that [`is_decimal`], unless it is infinite, or is zero and the text is not.
fn nearest(text: &str) -> Option<X87DoubleExtended> {
    let parsed = X87DoubleExtended::from_str_r(text, Round::NearestTiesToEven).ok()?;
    let lost = parsed.status.intersects(Status::OVERFLOW) || (parsed.value.is_zero() && parsed.status != Status::OK);
    (!lost).then_some(parsed.value)
}

/// Returns true for digits, perhaps with a point between or around them, and perhaps with an exponent.
fn is_decimal(text: &str) -> bool {
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (number, exponent) = match text.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, Some(exponent)),
        None => (text, None),
    };
    let (integer, fraction) = number.split_once('.').unwrap_or((number, ""));
    let exponent = exponent.map(|exponent| exponent.strip_prefix(['+', '-']).unwrap_or(exponent));
    is_digits(integer)
        && is_digits(fraction)
        && integer.len() + fraction.len() > 0
        && exponent.is_none_or(|exponent| !exponent.is_empty() && is_digits(exponent))
}

/// Returns the integer part of `mantissa / 2^shift`, and the rest in units of the last digit of a result, rounded.
fn split(mantissa: u128, shift: i32) -> (u128, u128) {
    // Everything after the last digit.
    if shift > 125 {
        return (0, 0);
    }
    let integer = mantissa >> shift;
    let scaled = (mantissa & ((1 << shift) - 1)) * FRACTION;
    let (mut fraction, rest, half) = (scaled >> shift, scaled & ((1 << shift) - 1), 1 << (shift - 1));
    if rest > half || (rest == half && fraction % 2 == 1) {
        fraction += 1;
    }
    if fraction == FRACTION { (integer + 1, 0) } else { (integer, fraction) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(one: &str, other: &str) -> Result<String, SumError> {
        let parsed = |text: &str| Decimal::parse(text.as_bytes()).unwrap_or_else(|| panic!("{text} is a number"));
        parsed(one).add(parsed(other))
    }

    #[test]
    fn sums_are_those_of_redis_on_x86() {
        for (one, other, expected) in [
            ("0.1", "0.2", "0.3"),
            ("3.0e3", "200", "3200"),
            ("1.23", "-1.23", "0"),
            ("-0", "0", "0"),
            ("-0.00000000000000000001", "0", "0"),
            ("17179869184", "1.5", "17179869185.5"),
            ("1", "1.1", "2.1"),
            ("10.5", "0.00000000000000001", "10.50000000000000001"),
            ("1e17", "1.5", "100000000000000001.5"),
            ("9223372036854775807", "1", "9223372036854775808"),
            ("1e20", "0.1", "100000000000000000000"),
            ("1e37", "1", "9999999999999999999931260044859932672"),
            ("0.999999999999999999", "0", "1"),
            ("0.000000000000000005", "0", "0"),
            ("0.0000000000000000050001", "0", "0.00000000000000001"),
            ("0.000000000000000004", "0", "0"),
            ("1e-4900", "1", "1"),
            (".5", "5.", "5.5"),
            ("+1E+2", "-1e-2", "99.99"),
        ] {
            assert_eq!(sum(one, other).as_deref(), Ok(expected), "{one} + {other}");
            assert_eq!(sum(other, one).as_deref(), Ok(expected), "{other} + {one}");
        }
    }

    #[test]
    fn sums_without_an_end_are_refused() {
        assert_eq!(sum("inf", "1"), Err(SumError::NotFinite));
        assert_eq!(sum("inf", "-INFINITY"), Err(SumError::NotFinite));
        assert_eq!(sum("1e4932", "1e4932"), Err(SumError::NotFinite));
        assert_eq!(sum("1e39", "1"), Err(SumError::TooLarge));
        assert!(sum("1e38", "1").is_ok());
        assert_eq!(sum("1e4900", "-1e4900").as_deref(), Ok("0"));
    }

    #[test]
    fn only_decimal_numbers_are_parsed() {
        let long = "1".repeat(MAX_TEXT + 1);
        for text in [
            "", " 1", "1 ", "a", ".", "-", "+-1", "1e", "1e+", "e5", "1.2.3", "nan", "0x10", "1e5000", "1e-5000", &long,
        ] {
            assert!(Decimal::parse(text.as_bytes()).is_none(), "{text}");
        }
        assert!(Decimal::parse(&[0xff]).is_none());
        for text in ["0e99999999999", "1e-4940", "0000000000000000000000000000000000000000.5", &long[1..]] {
            assert!(Decimal::parse(text.as_bytes()).is_some(), "{text}");
        }
    }
}
