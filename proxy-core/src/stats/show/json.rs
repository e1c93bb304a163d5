//! `{"stats": […]}`, as Envoy's `/stats?format=json`.

use serde_json::{Value, json};

use super::{Filter, Shown, each, milliseconds};
use crate::stats::histogram::QUANTILES;
use crate::stats::registry::Registry;

/// An object with `name` and `value` for each counter and gauge, and last one with all `histograms`.
pub fn json(registry: &Registry, filter: &Filter) -> String {
    let mut stats = Vec::new();
    let mut computed = Vec::new();
    each(registry, filter, |name, shown| match shown {
        Shown::Value(value) => stats.push(json!({ "name": name, "value": value })),
        Shown::Histogram { interval, total } => {
            let number = |value: Option<f64>| value.map_or(Value::Null, |ms| json!(milliseconds(ms)));
            let values: Vec<Value> = QUANTILES
                .into_iter()
                .map(|quantile| {
                    let (recent, ever) = (interval.quantile_ms(quantile), total.quantile_ms(quantile));
                    json!({ "interval": number(recent), "cumulative": number(ever) })
                })
                .collect();
            computed.push(json!({ "name": name, "values": values }));
        }
    });
    if !computed.is_empty() {
        let supported: Vec<f64> = QUANTILES.iter().map(|quantile| quantile * 100.0).collect();
        stats.push(json!({ "histograms": { "supported_quantiles": supported, "computed_quantiles": computed } }));
    }
    json!({ "stats": stats }).to_string()
}
