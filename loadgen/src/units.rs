//! Durations and sizes as people write them.

use std::time::Duration;

/// `10s`, `1.5s`, `250ms`, `40us`, `2m`, `1h`; the unit is required.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    let seconds_per_unit = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "" => return Err(format!("`{text}` needs a unit: us, ms, s, m or h")),
        _ => return Err(format!("unknown unit `{unit}`; expected us, ms, s, m or h")),
    };
    let number: f64 =
        number.parse().map_err(|_| format!("`{text}` is no duration; expected one such as 10s or 250ms"))?;
    Duration::try_from_secs_f64(number * seconds_per_unit).map_err(|error| format!("`{text}`: {error}"))
}

/// `100`, `16k`, `1M`, `2GiB`: bytes, in powers of 1024.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let shift = match unit.trim_end_matches("iB").trim_end_matches('B') {
        "" => 0,
        "k" | "K" => 10,
        "M" => 20,
        "G" => 30,
        _ => return Err(format!("unknown unit `{unit}`; expected k, M or G (powers of 1024)")),
    };
    let number: u64 =
        number.parse().map_err(|_| format!("`{text}` is no size; expected one such as 100, 16k or 1M"))?;
    number.checked_mul(1 << shift).ok_or_else(|| format!("`{text}` is too large"))
}

fn split(text: &str) -> (&str, &str) {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text.split_at(digits)
}

/// Bytes in the largest binary unit that leaves a number of at least one.
pub(crate) fn show_bytes(bytes: f64) -> String {
    let (mut value, mut unit) = (bytes, "B");
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, larger);
    }
    if unit == "B" { format!("{value:.0} B") } else { format!("{value:.2} {unit}") }
}

/// Milliseconds, with as many decimals as are worth reading.
pub(crate) fn show_ms(ms: f64) -> String {
    match ms {
        ms if ms < 10.0 => format!("{ms:.3} ms"),
        ms if ms < 100.0 => format!("{ms:.2} ms"),
        ms if ms < 10_000.0 => format!("{ms:.1} ms"),
        ms => format!("{:.2} s", ms / 1e3),
    }
}

/// A whole number with thousands set apart.
pub(crate) fn show_count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit_and_take_fractions() {
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("1.5ms"), Ok(Duration::from_micros(1500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["10", "s", "-1s", "1 s", "1d", "1e999s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_are_in_powers_of_1024() {
        assert_eq!(bytes("100"), Ok(100));
        assert_eq!(bytes("16k"), Ok(16 * 1024));
        assert_eq!(bytes("2MiB"), Ok(2 << 20));
        for wrong in ["k", "1.5k", "-1", "1T", "99999999999G"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn numbers_are_shown_for_reading() {
        assert_eq!(show_count(1_234_567), "1,234,567");
        assert_eq!(show_count(999), "999");
        assert_eq!(show_bytes(1536.0), "1.50 KiB");
        assert_eq!(show_ms(0.0421), "0.042 ms");
        assert_eq!(show_ms(12_345.0), "12.35 s");
    }
}
