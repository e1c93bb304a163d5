//! `name: value`, as Envoy's `/stats`.

use std::fmt::Write as _;

use super::{Filter, Shown, each, milliseconds};
use crate::stats::histogram::{QUANTILE_NAMES, QUANTILES};
use crate::stats::registry::Registry;

/// A line a metric. A histogram's line has its quantiles in milliseconds, each for the last interval and since the
/// start.
pub fn text(registry: &Registry, filter: &Filter) -> String {
    let mut out = String::new();
    each(registry, filter, |name, shown| {
        out.push_str(name);
        // Writing to a String can't fail.
        let _ = match shown {
            Shown::Value(value) => writeln!(out, ": {value}"),
            Shown::Histogram { total, .. } if total.count() == 0 => writeln!(out, ": No recorded values"),
            Shown::Histogram { interval, total } => {
                out.push(':');
                for (quantile, label) in QUANTILES.into_iter().zip(QUANTILE_NAMES) {
                    let number = |value: Option<f64>| value.map_or("nan".into(), |ms| milliseconds(ms).to_string());
                    let (recent, ever) = (interval.quantile_ms(quantile), total.quantile_ms(quantile));
                    let _ = write!(out, " {label}({},{})", number(recent), number(ever));
                }
                writeln!(out)
            }
        };
    });
    out
}
