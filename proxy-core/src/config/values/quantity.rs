//! Durations, byte counts, whole numbers.

use std::fmt;

use super::{Refusal, Text};
use crate::config::diagnostics::Diagnostic;
use crate::config::reader::{Reader, Value};
use crate::config::shape::{Shape, Shapes};
use crate::config::yaml::{self, Node};

/// "15s", "500ms", "1m30s"; whole milliseconds. "0s" turns off what can be turned off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration {
    pub ms: u64,
}

impl Duration {
    /// Parses a duration from outside the config file.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse_text(text: &str) -> Result<Duration, String> {
        let refused = |refusal: Refusal| match (refusal.why, refusal.help) {
            (Some(why), Some(help)) => format!("{why}; {help}"),
            (Some(why), None) => why,
            (None, _) => format!("expected {}", Duration::ONE),
        };
        Duration::parse(text).map_err(refused)
    }
}

const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
/// Longer ones are mistakes, and deadlines stay far from overflow.
const DURATION_MS_MAX: u64 = 366 * 86_400_000;

impl Text for Duration {
    const ONE: &'static str = "a duration such as `15s`, `500ms` or `1m30s`";
    const MANY: &'static str = "durations";

    fn pattern() -> Option<&'static str> {
        Some("^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$")
    }

    fn parse(text: &str) -> Result<Self, Refusal> {
        let text = text.trim();
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Refusal::because("a duration needs a unit").mean(format!("{text}s")));
        }
        let mut rest = text;
        let mut ms = 0u64;
        let mut coarser = usize::MAX;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let letters = rest[digits..].bytes().take_while(u8::is_ascii_alphabetic).count();
            let (number, unit) = (&rest[..digits], &rest[digits..digits + letters]);
            if number.is_empty() || unit.is_empty() {
                return Err(fraction(text).unwrap_or_default());
            }
            let Some(rank) = UNITS.iter().position(|(name, _)| *name == unit) else {
                return Err(unknown_unit(text, number, unit));
            };
            if coarser != usize::MAX && rank <= coarser {
                return Err(Refusal::because("units go from the longest to the shortest, each once"));
            }
            coarser = rank;
            let part = number.parse::<u64>().ok().and_then(|number| number.checked_mul(UNITS[rank].1));
            ms = part.and_then(|part| ms.checked_add(part)).unwrap_or(u64::MAX);
            rest = &rest[digits + letters..];
        }
        if text.is_empty() {
            return Err(Refusal::default());
        }
        if ms > DURATION_MS_MAX {
            return Err(Refusal::because("longer than a year").help("`0s` turns a timeout off"));
        }
        Ok(Duration { ms })
    }
}

fn unknown_unit(text: &str, number: &str, unit: &str) -> Refusal {
    let meant = match unit.to_ascii_lowercase().as_str() {
        "sec" | "secs" | "second" | "seconds" => "s",
        "min" | "mins" | "minute" | "minutes" => "m",
        "msec" | "msecs" | "millis" | "milliseconds" => "ms",
        "hr" | "hrs" | "hour" | "hours" => "h",
        "day" | "days" => "d",
        lower => UNITS.iter().find(|(name, _)| *name == lower).map_or("", |(name, _)| name),
    };
    let refusal = Refusal::because(format!("`{unit}` is no unit of time"));
    match meant {
        "" => refusal.help("units are `ms`, `s`, `m`, `h` and `d`"),
        meant => refusal.mean(text.replacen(&format!("{number}{unit}"), &format!("{number}{meant}"), 1)),
    }
}

/// "1.5s" → what to write instead.
fn fraction(text: &str) -> Option<Refusal> {
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit_at);
    let number: f64 = number.parse().ok()?;
    let (_, ms) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let ms = number * *ms as f64;
    if ms < 0.0 {
        return Some(Refusal::because("a duration can't be negative"));
    }
    Some(Refusal::because("durations are whole numbers").mean(format!("{}ms", ms.round() as u64)))
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ms == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.ms;
        for (unit, ms) in UNITS {
            if rest >= ms {
                write!(f, "{}{unit}", rest / ms)?;
                rest %= ms;
            }
        }
        Ok(())
    }
}

impl serde::Serialize for Duration {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Int<const MIN: u64, const MAX: u64>(pub u64);

impl<const MIN: u64, const MAX: u64> Int<MIN, MAX> {
    /// As a `u32`, which `MAX` is to fit in.
    pub fn u32(self) -> u32 {
        u32::try_from(self.0).unwrap_or(u32::MAX)
    }
}

impl<const MIN: u64, const MAX: u64> Value for Int<MIN, MAX> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let expected = Self::shape(&mut Shapes::default()).one;
        let yaml::Shape::Scalar(scalar) = &node.shape else {
            reader.mismatch(node, &expected);
            return None;
        };
        let is_number = scalar.text.parse::<f64>().is_ok();
        match scalar.text.parse::<u64>() {
            Ok(number) if scalar.plain && (MIN..=MAX).contains(&number) => return Some(Int(number)),
            Ok(number) if scalar.plain => {
                let bound = if number < MIN { "too small" } else { "too large" };
                reader.push(Diagnostic::error(node.span, format!("{number} is {bound}")).expected(expected));
            }
            Ok(number) => {
                let error = Diagnostic::error(node.span, format!("{} in quotes is no number", node.describe()));
                reader.push(error.expected(expected).nearest(Some(&number.to_string())));
            }
            Err(_) if scalar.plain && is_number => {
                let why = match scalar.text.as_bytes() {
                    [b'-', ..] => "is too small",
                    digits if digits.iter().all(u8::is_ascii_digit) => "is too large",
                    _ => "is not a whole number",
                };
                let message = format!("{} {why}", scalar.text);
                reader.push(Diagnostic::error(node.span, message).expected(expected));
            }
            Err(_) => reader.mismatch(node, &expected),
        }
        None
    }

    fn shape(_: &mut Shapes) -> Shape {
        let mut schema = serde_json::json!({ "type": "integer", "minimum": MIN });
        let mut one = format!("a whole number from {MIN}");
        if MAX < u64::MAX {
            schema["maximum"] = serde_json::json!(MAX);
            one.push_str(&format!(" to {MAX}"));
        }
        Shape::new(one, "whole numbers", schema)
    }
}

impl<const MIN: u64, const MAX: u64> serde::Serialize for Int<MIN, MAX> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

/// A number of bytes from `MIN` to `MAX`: 4096, "60KiB", "1MiB".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteCount<const MIN: u64, const MAX: u64>(pub u64);

const BYTE_UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl<const MIN: u64, const MAX: u64> ByteCount<MIN, MAX> {
    pub fn u32(self) -> u32 {
        u32::try_from(self.0).unwrap_or(u32::MAX)
    }
}

/// Bytes as they'd be written: the largest unit that leaves a whole number.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = BYTE_UNITS.iter().find(|(_, size)| self.0 >= *size && self.0.is_multiple_of(*size));
        let (name, size) = unit.unwrap_or(&("B", 1));
        write!(f, "{}{name}", self.0 / size)
    }
}

impl<const MIN: u64, const MAX: u64> Value for ByteCount<MIN, MAX> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let expected = Self::shape(&mut Shapes::default()).one;
        let Some(text) = node.text().filter(|_| !node.is_null()) else {
            reader.mismatch(node, &expected);
            return None;
        };
        let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = (&text[..unit_at], text[unit_at..].trim());
        let size = BYTE_UNITS.iter().find(|(name, _)| *name == unit || unit.is_empty() && *name == "B");
        let bytes = number.parse::<u64>().ok().zip(size).map(|(number, (_, size))| number.saturating_mul(*size));
        match bytes {
            Some(bytes) if (MIN..=MAX).contains(&bytes) => return Some(ByteCount(bytes)),
            Some(bytes) => {
                let bound = if bytes < MIN { "too small" } else { "too large" };
                reader.push(Diagnostic::error(node.span, format!("{text} is {bound}")).expected(expected));
            }
            None => {
                let meant = match unit.to_ascii_lowercase().as_str() {
                    "k" | "kb" | "kib" => "KiB",
                    "m" | "mb" | "mib" => "MiB",
                    "g" | "gb" | "gib" => "GiB",
                    "b" | "bytes" => "B",
                    _ => "",
                };
                let error = Diagnostic::error(node.span, format!("{} is no number of bytes", node.describe()));
                let meant = (!meant.is_empty() && !number.is_empty()).then(|| format!("{number}{meant}"));
                reader.push(error.expected(expected).nearest(meant.as_deref()));
            }
        }
        None
    }

    fn shape(_: &mut Shapes) -> Shape {
        let one = format!("a number of bytes such as `60KiB`, from {} to {}", Bytes(MIN), Bytes(MAX));
        let schema = serde_json::json!({ "oneOf": [
            { "type": "integer", "minimum": MIN, "maximum": MAX },
            { "type": "string", "pattern": "^[0-9]+ ?(B|KiB|MiB|GiB)?$" },
        ]});
        Shape::new(one, "numbers of bytes", schema)
    }
}

impl<const MIN: u64, const MAX: u64> serde::Serialize for ByteCount<MIN, MAX> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Bytes(self.0))
    }
}
