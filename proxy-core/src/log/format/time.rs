//! Times: strftime formats in UTC, compiled once.

use super::parse::Mistake;

const DEFAULT: &str = "%Y-%m-%dT%H:%M:%3SZ";

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// A strftime format. Beyond C's specifiers: `%f` and `%1f` to `%9f` are the fraction of the second, `%E3S` (and
/// `%3S`) seconds with three places, `%s` and `%3s` the time since 1970 in seconds and, with three digits more,
/// milliseconds.
#[derive(Clone, PartialEq, Debug)]
pub(in crate::log) struct TimeFormat(Box<[Part]>);

#[derive(Clone, PartialEq, Debug)]
enum Part {
    Literal(Box<[u8]>),
    Year,
    YearOfCentury,
    Century,
    Month,
    MonthName {
        whole: bool,
    },
    Day {
        pad: u8,
    },
    DayOfYear,
    Weekday {
        monday_is_1: bool,
    },
    WeekdayName {
        whole: bool,
    },
    Hour,
    Hour12,
    HalfOfDay,
    Minute,
    /// Seconds, with places after a point if there are any.
    Second {
        places: u8,
    },
    /// The fraction's first digits.
    Fraction {
        places: u8,
    },
    /// Seconds since 1970, then digits of the fraction without a point.
    Epoch {
        places: u8,
    },
}

impl TimeFormat {
    pub(super) fn parse(format: Option<&str>) -> Result<TimeFormat, Mistake> {
        let mut parts = Vec::new();
        expand(format.filter(|format| !format.is_empty()).unwrap_or(DEFAULT), &mut parts)?;
        Ok(TimeFormat(parts.into()))
    }

    pub(in crate::log) fn append(&self, unix_us: u64, out: &mut Vec<u8>) {
        let date = Date::of(unix_us);
        for part in &self.0 {
            date.append(part, out);
        }
    }
}

fn expand(format: &str, parts: &mut Vec<Part>) -> Result<(), Mistake> {
    let mut letters = format.chars().peekable();
    let literal = |parts: &mut Vec<Part>, letter: char| {
        let bytes = letter.encode_utf8(&mut [0; 4]).as_bytes().to_vec();
        if let Some(Part::Literal(last)) = parts.last_mut() {
            *last = [&last[..], &bytes].concat().into();
        } else {
            parts.push(Part::Literal(bytes.into()));
        }
    };
    while let Some(letter) = letters.next() {
        if letter != '%' {
            literal(parts, letter);
            continue;
        }
        let extended = letters.next_if_eq(&'E').is_some();
        let places = letters.next_if(|digit| matches!(digit, '1'..='9')).map(|digit| digit as u8 - b'0');
        let specifier = letters.next().ok_or_else(|| Mistake::new("a percent sign at the end of the time format"))?;
        let part = match (specifier, places) {
            ('S', places) => Part::Second { places: places.unwrap_or(0) },
            ('f', places) => Part::Fraction { places: places.unwrap_or(9) },
            ('s', places) => Part::Epoch { places: places.unwrap_or(0) },
            (_, Some(_)) => return Err(Mistake::new(format!("digits before `{specifier}` in the time format"))),
            ('z', None) if extended => {
                "+00:00".chars().for_each(|letter| literal(parts, letter));
                continue;
            }
            (specifier, None) => match plain(specifier) {
                Some(part) => part,
                None => {
                    let text = composed(specifier).ok_or_else(|| {
                        Mistake::new(format!("`%{specifier}` in the time format is none of strftime's"))
                    })?;
                    match specifier {
                        'D' | 'F' | 'T' | 'R' | 'r' | 'c' | 'x' | 'X' | 'h' => expand(text, parts)?,
                        _ => text.chars().for_each(|letter| literal(parts, letter)),
                    }
                    continue;
                }
            },
        };
        parts.push(part);
    }
    Ok(())
}

fn plain(specifier: char) -> Option<Part> {
    Some(match specifier {
        'Y' => Part::Year,
        'y' => Part::YearOfCentury,
        'C' => Part::Century,
        'm' => Part::Month,
        'b' => Part::MonthName { whole: false },
        'B' => Part::MonthName { whole: true },
        'd' => Part::Day { pad: b'0' },
        'e' => Part::Day { pad: b' ' },
        'j' => Part::DayOfYear,
        'u' => Part::Weekday { monday_is_1: true },
        'w' => Part::Weekday { monday_is_1: false },
        'a' => Part::WeekdayName { whole: false },
        'A' => Part::WeekdayName { whole: true },
        'H' => Part::Hour,
        'I' => Part::Hour12,
        'p' => Part::HalfOfDay,
        'M' => Part::Minute,
        _ => return None,
    })
}

/// What a specifier stands for: other specifiers, or fixed text.
fn composed(specifier: char) -> Option<&'static str> {
    Some(match specifier {
        'D' | 'x' => "%m/%d/%y",
        'F' => "%Y-%m-%d",
        'T' | 'X' => "%H:%M:%S",
        'R' => "%H:%M",
        'r' => "%I:%M:%S %p",
        'c' => "%a %b %e %H:%M:%S %Y",
        'h' => "%b",
        'z' => "+0000",
        'Z' => "UTC",
        'n' => "\n",
        't' => "\t",
        '%' => "%",
        _ => return None,
    })
}

/// A moment taken apart.
struct Date {
    unix_s: u64,
    nanosecond: u64,
    year: u64,
    month: u64,
    day: u64,
    day_of_year: u64,
    weekday: u64,
    second_of_day: u64,
}

impl Date {
    /// Gregorian calendar; years are counted from March so that the leap day is a year's last (Howard Hinnant's
    /// `civil_from_days`).
    fn of(unix_us: u64) -> Date {
        let unix_s = unix_us / 1_000_000;
        let days = unix_s / 86_400;
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_from_march = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_from_march + 2) / 153;
        let day = day_from_march - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        let leap = u64::from(year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400));
        let day_of_year = if month > 2 { day_from_march + 60 + leap } else { day_from_march - 305 };
        Date {
            unix_s,
            nanosecond: unix_us % 1_000_000 * 1_000,
            year,
            month,
            day,
            day_of_year,
            weekday: (days + 4) % 7,
            second_of_day: unix_s % 86_400,
        }
    }

    fn append(&self, part: &Part, out: &mut Vec<u8>) {
        let hour = self.second_of_day / 3_600;
        match *part {
            Part::Literal(ref bytes) => out.extend_from_slice(bytes),
            Part::Year => digits(self.year, 4, b'0', out),
            Part::YearOfCentury => digits(self.year % 100, 2, b'0', out),
            Part::Century => digits(self.year / 100, 2, b'0', out),
            Part::Month => digits(self.month, 2, b'0', out),
            Part::MonthName { whole } => name(MONTHS[(self.month as usize - 1) % 12], whole, out),
            Part::Day { pad } => digits(self.day, 2, pad, out),
            Part::DayOfYear => digits(self.day_of_year, 3, b'0', out),
            Part::Weekday { monday_is_1 } => {
                digits(if monday_is_1 && self.weekday == 0 { 7 } else { self.weekday }, 1, b'0', out);
            }
            Part::WeekdayName { whole } => name(WEEKDAYS[self.weekday as usize % 7], whole, out),
            Part::Hour => digits(hour, 2, b'0', out),
            Part::Hour12 => digits((hour + 11) % 12 + 1, 2, b'0', out),
            Part::HalfOfDay => out.extend_from_slice(if hour < 12 { b"AM" } else { b"PM" }),
            Part::Minute => digits(self.second_of_day / 60 % 60, 2, b'0', out),
            Part::Second { places } => {
                digits(self.second_of_day % 60, 2, b'0', out);
                if places > 0 {
                    out.push(b'.');
                    self.fraction(places, out);
                }
            }
            Part::Fraction { places } => self.fraction(places, out),
            Part::Epoch { places } => {
                digits(self.unix_s, 1, b'0', out);
                self.fraction(places, out);
            }
        }
    }

    fn fraction(&self, places: u8, out: &mut Vec<u8>) {
        if places > 0 {
            digits(self.nanosecond / 10u64.pow(9 - u32::from(places.min(9))), usize::from(places), b'0', out);
        }
    }
}

fn name(name: &str, whole: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(if whole { name.as_bytes() } else { &name.as_bytes()[..3] });
}

/// A number with at least `width` digits.
pub(in crate::log) fn digits(mut value: u64, width: usize, pad: u8, out: &mut Vec<u8>) {
    let mut buffer = [pad; 20];
    let mut at = buffer.len();
    loop {
        at -= 1;
        buffer[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&buffer[at.min(buffer.len() - width.min(buffer.len()))..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(format: &str, unix_us: u64) -> String {
        let mut out = Vec::new();
        TimeFormat::parse(Some(format)).map_err(|mistake| mistake.message).expect("format").append(unix_us, &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn dates_over_the_centuries() {
        for (unix_s, expected) in [
            (0, "1970-01-01 001 Thu 4"),
            (951_782_400, "2000-02-29 060 Tue 2"),
            (951_868_800, "2000-03-01 061 Wed 3"),
            (1_709_164_800, "2024-02-29 060 Thu 4"),
            (1_735_603_200, "2024-12-31 366 Tue 2"),
            (1_767_139_200, "2025-12-31 365 Wed 3"),
            (4_107_542_400, "2100-03-01 060 Mon 1"),
            (1_772_323_200, "2026-03-01 060 Sun 7"),
        ] {
            assert_eq!(print("%F %j %a %u", unix_s * 1_000_000), expected, "{unix_s}");
        }
    }

    #[test]
    fn every_specifier() {
        let at = 1_700_000_045_123_456; // 2023-11-14 22:14:05.123456
        assert_eq!(print("", at), "2023-11-14T22:14:05.123Z");
        assert_eq!(print("%Y/%m/%d %H:%M:%S.%3f %6f %f %1f", at), "2023/11/14 22:14:05.123 123456 123456000 1");
        assert_eq!(print("%s %3s %6s %E3S %E6S", at), "1700000045 1700000045123 1700000045123456 05.123 05.123456");
        assert_eq!(print("%d/%b/%Y:%T %z", at), "14/Nov/2023:22:14:05 +0000");
        assert_eq!(print("%c|%r|%R|%D|%Ez|%Z", at), "Tue Nov 14 22:14:05 2023|10:14:05 PM|22:14|11/14/23|+00:00|UTC");
        assert_eq!(print("%y %C %e %A %B %h %w 100%%", at), "23 20 14 Tuesday November Nov 2 100%");
        assert_eq!(print("%I%p %e", 0), "12AM  1");
    }

    #[test]
    fn a_wrong_specifier_is_named() {
        let wrong = |format: &str| TimeFormat::parse(Some(format)).map_err(|mistake| mistake.message).err();
        assert_eq!(wrong("%Q").as_deref(), Some("`%Q` in the time format is none of strftime's"));
        assert_eq!(wrong("%3H").as_deref(), Some("digits before `H` in the time format"));
        assert!(wrong("%Y%").is_some());
    }
}
