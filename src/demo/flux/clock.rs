//! Times and durations as Go programs read and print them.

use std::time::Duration;

use chrono::Utc;

/// The time now as objects carry it: whole seconds, cut off.
pub(super) fn now() -> String {
    Utc::now().format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Reads a duration such as `1m30s` or `500ms`.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let unit = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            _ => return None,
        };
        total += Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
}

/// Prints a duration: `54.2ms`, `1.5s`, `1m0s`.
pub(in crate::demo) fn print(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => format!("{}µs", decimal(nanos, 3)),
        1_000_000..1_000_000_000 => format!("{}ms", decimal(nanos, 6)),
        _ => {
            let minutes = nanos / 60_000_000_000;
            let seconds = decimal(nanos % 60_000_000_000, 9);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{seconds}s"),
                (0, minutes) => format!("{minutes}m{seconds}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

/// A number of which the last `places` digits come after the point, without zeros at the end.
fn decimal(number: u128, places: usize) -> String {
    let unit = 10_u128.pow(u32::try_from(places).unwrap_or(0));
    let fraction = format!("{:0places$}", number % unit);
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() { (number / unit).to_string() } else { format!("{}.{fraction}", number / unit) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_printed_as_go_does() {
        for text in ["2s", "500ms", "1m0s", "1h0m0s", "1.5s", "54.2ms", "10m0s"] {
            assert_eq!(print(parse(text).unwrap()), text);
        }
        assert_eq!(print(Duration::from_nanos(1_234_567_891)), "1.234567891s");
        assert_eq!(print(Duration::from_nanos(62_500_000_000)), "1m2.5s");
        assert_eq!(print(Duration::from_nanos(1_500)), "1.5µs");
        assert_eq!((parse("soon"), parse(""), parse("5")), (None, None, None));
    }
}
