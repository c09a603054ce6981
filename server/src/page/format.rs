//! Numbers, sizes and times, as people read them.

use std::time::Duration;

/// Returns a number with a comma between each three digits.
pub(super) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Returns a rate, with a decimal place if it is low.
pub(super) fn rate(rate: f64) -> String {
    if rate > 0.0 && rate < 10.0 { format!("{rate:.1}") } else { number(rate.round() as u64) }
}

/// Returns a share of a whole as a percentage. One that is neither nothing nor all is not rounded to that.
pub(super) fn share(part: u64, whole: u64) -> String {
    let percent = part as f64 * 100.0 / whole.max(1) as f64;
    match (part, whole) {
        (0, _) => "0 %".to_owned(),
        (part, whole) if part == whole => "100 %".to_owned(),
        _ if percent < 0.01 => "< 0.01 %".to_owned(),
        _ if percent > 99.99 => "> 99.99 %".to_owned(),
        _ => format!("{percent:.2} %"),
    }
}

/// Returns a number of bytes in the unit that suits it.
pub(super) fn bytes(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    match (1..=units.len()).take_while(|power| bytes >= 1 << (10 * power)).last() {
        None => format!("{bytes} B"),
        Some(power) => format!("{:.1} {}", bytes as f64 / (1_u64 << (10 * power)) as f64, units[power - 1]),
    }
}

/// Returns a short time in the unit that suits it.
pub(super) fn short(time: Duration) -> String {
    let micros = time.as_nanos() as f64 / 1e3;
    let (value, unit) = match micros {
        _ if micros < 1e3 => (micros, "µs"),
        _ if micros < 1e6 => (micros / 1e3, "ms"),
        _ => (micros / 1e6, "s"),
    };
    let value = (value * 10.0).round() / 10.0;
    format!("{value} {unit}")
}

/// Returns a long time in its largest unit.
pub(super) fn long(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", number(seconds / 86_400)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_low_rates_have_a_decimal_place() {
        for (given, printed) in [(0, "0"), (999, "999"), (1_000, "1,000"), (u64::MAX, "18,446,744,073,709,551,615")] {
            assert_eq!(number(given), printed);
        }
        for (given, printed) in [(0.0, "0"), (0.25, "0.2"), (12.6, "13"), (1e6, "1,000,000")] {
            assert_eq!(rate(given), printed);
        }
    }

    #[test]
    fn a_share_is_rounded_neither_to_nothing_nor_to_all() {
        for (part, whole, printed) in [
            (0, 0, "0 %"),
            (0, 7, "0 %"),
            (7, 7, "100 %"),
            (1, 3, "33.33 %"),
            (1, 1_000_000, "< 0.01 %"),
            (999_999, 1_000_000, "> 99.99 %"),
        ] {
            assert_eq!(share(part, whole), printed, "{part} of {whole}");
        }
    }

    #[test]
    fn sizes_and_times_have_a_unit_that_suits_them() {
        for (given, printed) in [(0, "0 B"), (1_536, "1.5 KiB"), (5 << 30, "5.0 GiB"), (u64::MAX, "16777216.0 TiB")] {
            assert_eq!(bytes(given), printed);
        }
        for (nanos, printed) in [(0, "0 µs"), (2_500, "2.5 µs"), (250_000, "250 µs"), (2_500_000, "2.5 ms")] {
            assert_eq!(short(Duration::from_nanos(nanos)), printed);
        }
        for (seconds, printed) in [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7_200, "2 h"), (864_000, "10 days")] {
            assert_eq!(long(Duration::from_secs(seconds)), printed);
        }
        assert_eq!(short(Duration::from_secs(10)), "10 s");
    }
}
