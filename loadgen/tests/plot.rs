//! `--plot`: the picture is well-formed, and the curve is the latency's.

mod common;

use common::{Origin, run};

/// Checks that tags nest and attributes are quoted, and returns each element's tag with its attributes.
fn elements(svg: &str) -> Vec<String> {
    let mut open = Vec::new();
    let mut found = Vec::new();
    let mut rest = svg;
    while let Some(start) = rest.find('<') {
        assert!(!rest[..start].contains('>'), "a stray > in {:?}", &rest[..start]);
        let end = start + rest[start..].find('>').expect("a tag ends");
        let tag = &rest[start + 1..end];
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "tags nest");
        } else {
            found.push(tag.to_owned());
            if !tag.ends_with('/') {
                open.push(tag.split(' ').next().expect("a name"));
            }
        }
        rest = &rest[end + 1..];
    }
    assert!(open.is_empty() && rest.trim().is_empty(), "unclosed: {open:?}");
    found
}

#[test]
fn the_curve_rises_from_the_fastest_request_to_the_slowest() {
    let origin = Origin::start(&["--cores", "1"]);
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let file = folder.join(format!("curve-{}.svg", std::process::id()));
    let url = origin.url("/?delay_ms=2&other=<x>");
    let url = url.replace('<', "%3C").replace('>', "%3E");
    let output = run(&["http", &url, "-n", "2000", "-c", "8", "--plot", file.to_str().expect("a path")]);
    assert!(output.status.success());
    let svg = std::fs::read_to_string(&file).expect("the file was written");
    std::fs::remove_file(&file).expect("the file is ours");
    let elements = elements(&svg);
    assert!(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\""));
    assert!(svg.contains("&amp;other=%3Cx%3E"), "the title has the URL, escaped");
    for text in ["Latency (ms)", "percentile", ">50 %<", ">99.9 %<", "2,000 responses"] {
        assert!(svg.contains(text), "no {text:?}");
    }
    let curve = elements.iter().find(|tag| tag.starts_with("polyline class=\"curve\"")).expect("a curve");
    let points: Vec<(f64, f64)> = curve
        .split('"')
        .nth(3)
        .expect("points")
        .split(' ')
        .map(|point| point.split_once(',').expect("a pair"))
        .map(|(x, y)| (x.parse().expect("a number"), y.parse().expect("a number")))
        .collect();
    assert!(points.len() > 100);
    assert!(points.windows(2).all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 >= pair[1].1), "{points:?}");
    let (first, last) = (points[0], points[points.len() - 1]);
    assert!(last.0 - first.0 > 800.0 && first.1 > last.1, "{first:?} {last:?}");
}
