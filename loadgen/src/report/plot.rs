//! The latency curve as an SVG: percentiles on a scale that gives each further nine the same width, latency in ms.

use hdrhistogram::Histogram;

use super::Report;
use crate::units::{show_count, show_ms};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 540.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 40.0;
const TOP: f64 = 84.0;
const BOTTOM: f64 = 72.0;
/// Points of the curve.
const SAMPLES: usize = 400;
/// Percentiles on the x axis; those beyond what the number of requests can show are left out.
const X_TICKS: [(&str, f64); 8] = [
    ("0 %", 0.0),
    ("50 %", 0.5),
    ("90 %", 0.9),
    ("99 %", 0.99),
    ("99.9 %", 0.999),
    ("99.99 %", 0.9999),
    ("99.999 %", 0.99999),
    ("99.9999 %", 0.999_999),
];
/// Percentiles whose latency is written beside the curve.
const LABELLED: [f64; 5] = [0.5, 0.9, 0.99, 0.999, 0.9999];

const STYLE: &str = "text{font-family:system-ui,sans-serif;font-size:13px;fill:#333}\
.title{font-size:18px;font-weight:600;fill:#111}.axis{stroke:#333;stroke-width:1}\
.grid{stroke:#ddd;stroke-width:1}.curve{fill:none;stroke:#0b62c4;stroke-width:2;stroke-linejoin:round}\
.area{fill:#0b62c4;fill-opacity:.08}.mark{fill:#0b62c4}.value{fill:#0b62c4;font-size:12px}";

/// Maps percentiles and latencies to places in the picture.
struct Scale {
    nines: f64,
    ms_max: f64,
}

impl Scale {
    fn x(&self, quantile: f64) -> f64 {
        let nines = (1.0 / (1.0 - quantile).max(1e-12)).log10().min(self.nines);
        LEFT + nines / self.nines * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, ms: f64) -> f64 {
        HEIGHT - BOTTOM - ms / self.ms_max * (HEIGHT - TOP - BOTTOM)
    }
}

pub(super) fn svg(report: &Report, latency_us: &Histogram<u64>) -> String {
    let count = latency_us.len().max(1);
    let (step, ms_max) = y_ticks(latency_us.max() as f64 / 1e3);
    let scale = Scale { nines: (count as f64).log10().clamp(1.0, 6.0), ms_max };
    let mut parts = vec![
        format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="title">"#
        ),
        format!("<style>{STYLE}</style>"),
        format!(r##"<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>"##),
        format!(r#"<text id="title" class="title" x="{LEFT}" y="32">Latency of {}</text>"#, escape(&report.url)),
        format!(r#"<text x="{LEFT}" y="54">{}</text>"#, escape(&subtitle(report))),
    ];
    y_axis(&mut parts, &scale, step);
    x_axis(&mut parts, &scale);
    if latency_us.is_empty() {
        let (x, y) = (WIDTH / 2.0, HEIGHT / 2.0);
        parts.push(format!(r#"<text x="{x}" y="{y}" text-anchor="middle">no request was answered</text>"#));
    } else {
        curve(&mut parts, &scale, latency_us);
        labels(&mut parts, &scale, latency_us);
    }
    parts.push("</svg>\n".to_owned());
    parts.join("\n")
}

fn subtitle(report: &Report) -> String {
    let asked = report.target_rate.map(|rate| format!(" (asked for {rate})")).unwrap_or_default();
    let max = report.latency_ms.as_ref().map(|latency| format!(", max {}", show_ms(latency.max))).unwrap_or_default();
    format!(
        "{} responses, {:.0}/s{asked}, {} failed, {} connections, {} loop, {:.1} s{max}",
        show_count(report.responses),
        report.rate,
        show_count(report.failed),
        report.connections,
        report.mode,
        report.seconds
    )
}

/// A round distance between ticks, and the end of the axis: four to nine ticks up to the highest latency.
fn y_ticks(ms: f64) -> (f64, f64) {
    let ms = ms.max(0.001);
    let magnitude = 10f64.powf((ms / 5.0).log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * magnitude).into_iter().find(|step| ms / step <= 8.0);
    let step = step.unwrap_or(10.0 * magnitude);
    (step, (ms / step).ceil() * step)
}

fn y_axis(parts: &mut Vec<String>, scale: &Scale, step: f64) {
    let decimals = (-step.log10().floor()).max(0.0) as usize;
    let right = WIDTH - RIGHT;
    for tick in 0..=(scale.ms_max / step).round() as u32 {
        let ms = f64::from(tick) * step;
        let y = scale.y(ms);
        parts.push(format!(r#"<line class="grid" x1="{LEFT}" y1="{y:.1}" x2="{right}" y2="{y:.1}"/>"#));
        let (x, y) = (LEFT - 8.0, y + 4.0);
        parts.push(format!(r#"<text x="{x}" y="{y:.1}" text-anchor="end">{ms:.decimals$}</text>"#));
    }
    let bottom = HEIGHT - BOTTOM;
    parts.push(format!(r#"<line class="axis" x1="{LEFT}" y1="{TOP}" x2="{LEFT}" y2="{bottom}"/>"#));
    let middle = (TOP + bottom) / 2.0;
    parts.push(format!(
        r#"<text x="24" y="{middle}" text-anchor="middle" transform="rotate(-90 24 {middle})">Latency (ms)</text>"#
    ));
}

fn x_axis(parts: &mut Vec<String>, scale: &Scale) {
    let bottom = HEIGHT - BOTTOM;
    for (name, quantile) in X_TICKS {
        if (1.0 / (1.0 - quantile)).log10() > scale.nines + 1e-9 {
            break;
        }
        let x = scale.x(quantile);
        parts.push(format!(r#"<line class="grid" x1="{x:.1}" y1="{TOP}" x2="{x:.1}" y2="{bottom}"/>"#));
        let y = bottom + 20.0;
        parts.push(format!(r#"<text x="{x:.1}" y="{y}" text-anchor="middle">{name}</text>"#));
    }
    let right = WIDTH - RIGHT;
    parts.push(format!(r#"<line class="axis" x1="{LEFT}" y1="{bottom}" x2="{right}" y2="{bottom}"/>"#));
    let (x, y) = ((LEFT + right) / 2.0, HEIGHT - 22.0);
    parts.push(format!(r#"<text x="{x}" y="{y}" text-anchor="middle">Share of requests (percentile)</text>"#));
}

fn curve(parts: &mut Vec<String>, scale: &Scale, latency_us: &Histogram<u64>) {
    let points: Vec<String> = (0..=SAMPLES)
        .map(|sample| {
            let quantile = 1.0 - 10f64.powf(-scale.nines * sample as f64 / SAMPLES as f64);
            let ms = latency_us.value_at_quantile(quantile) as f64 / 1e3;
            format!("{:.1},{:.1}", scale.x(quantile), scale.y(ms.min(scale.ms_max)))
        })
        .collect();
    let points = points.join(" ");
    let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    parts.push(format!(r#"<polygon class="area" points="{LEFT},{bottom} {points} {right},{bottom}"/>"#));
    parts.push(format!(r#"<polyline class="curve" points="{points}"/>"#));
}

fn labels(parts: &mut Vec<String>, scale: &Scale, latency_us: &Histogram<u64>) {
    for quantile in LABELLED {
        if (1.0 / (1.0 - quantile)).log10() > scale.nines + 1e-9 {
            break;
        }
        let ms = latency_us.value_at_quantile(quantile) as f64 / 1e3;
        let (x, y) = (scale.x(quantile), scale.y(ms.min(scale.ms_max)));
        parts.push(format!(r#"<circle class="mark" cx="{x:.1}" cy="{y:.1}" r="3.5"/>"#));
        let text_y = (y - 10.0).max(TOP - 6.0);
        let text_x = x - 6.0;
        let value = show_ms(ms);
        parts.push(format!(r#"<text class="value" x="{text_x:.1}" y="{text_y:.1}" text-anchor="end">{value}</text>"#));
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_cover_the_highest_value() {
        for (ms, step, end) in [(1.0, 0.2, 1.0), (0.93, 0.2, 1.0), (47.0, 10.0, 50.0), (81.0, 20.0, 100.0)] {
            let (got_step, got_end) = y_ticks(ms);
            assert!((got_step - step).abs() < 1e-9 && (got_end - end).abs() < 1e-9, "{ms}: {got_step} {got_end}");
        }
        for ms in [0.0, 0.0012, 0.7, 3.3, 999.0, 3_600_000.0] {
            let (step, end) = y_ticks(ms);
            assert!(end >= ms && (1.0..=9.0).contains(&(end / step).round()), "{ms}: {step} {end}");
        }
    }

    #[test]
    fn each_further_nine_takes_the_same_width() {
        let scale = Scale { nines: 3.0, ms_max: 1.0 };
        let width = scale.x(0.9) - scale.x(0.0);
        assert!((scale.x(0.99) - scale.x(0.9) - width).abs() < 1e-6);
        assert!((scale.x(0.9999) - (WIDTH - RIGHT)).abs() < 1e-6);
    }
}
