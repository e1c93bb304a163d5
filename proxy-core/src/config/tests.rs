//! Tests that need the inside: the table of fields is sound in itself.

use super::record::{Presence, Record};
use super::*;

/// Reads a default as its field would.
fn every_field(mut visit: impl FnMut(&'static Record, &'static record::Field)) {
    for record in model::records() {
        record.fields.iter().for_each(|field| visit(record, field));
    }
}

#[test]
fn every_default_is_yaml_and_every_field_is_documented() {
    every_field(|record, field| {
        if let Presence::Default(text) = field.presence {
            assert!(reader::default_node(text).is_some(), "{}.{}: {text}", record.name, field.name);
        }
        assert!(field.docs.trim().ends_with('.'), "{}.{}: {}", record.name, field.name, field.docs);
    });
}

#[test]
fn every_record_that_needs_nothing_reads_from_nothing() {
    let mut diagnostics = Diagnostics::new(Source::new("test", ""));
    let mut reader = Reader { diagnostics: &mut diagnostics, clusters: Default::default() };
    let node = reader::default_node("{}").unwrap();
    assert!(model::Admin::read(&node, &mut reader).is_some());
    assert!(model::HttpTimeouts::read(&node, &mut reader).is_some());
    assert!(model::HttpLimits::read(&node, &mut reader).is_some());
    assert!(model::Forwarding::read(&node, &mut reader).is_some());
    assert!(model::BreakerBounds::read(&node, &mut reader).is_some());
    assert!(model::ResponseLimits::read(&node, &mut reader).is_some());
    assert!(model::RouteMatch::read(&node, &mut reader).is_some());
    assert!(model::HeaderEdits::read(&node, &mut reader).is_some());
    assert!(diagnostics.is_empty(), "{diagnostics}");
}

#[test]
fn names_from_other_proxies_lead_to_fields_that_exist() {
    for foreign in ["lb_policy", "upstream", "backends", "servers", "listen", "domains", "direct_response", "maxconn"] {
        let ours = record::name_elsewhere(foreign).unwrap();
        assert!(model::records().iter().any(|record| record.field(ours).is_some()), "{foreign} → {ours}");
    }
}

#[test]
fn a_laughing_file_is_refused_before_it_grows() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..9 {
        let items = vec![format!("*a{}", level - 1); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{items}]\n"));
    }
    let error = parse("laughs.yaml", &text).unwrap_err().to_string();
    assert!(error.contains("too large"), "{error}");
}

#[test]
fn aliases_cannot_nest_deeper_than_the_file_itself_could() {
    let mut text = String::from("a0: &a0 [x]\n");
    for level in 1..200 {
        text.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
    }
    let error = parse("deep.yaml", &text).unwrap_err().to_string();
    assert!(error.contains("nested too deeply"), "{error}");
    let brackets = format!("listeners: {}{}", "[".repeat(500), "]".repeat(500));
    let error = parse("deep.yaml", &brackets).unwrap_err().to_string();
    assert!(error.contains("recursion limit") || error.contains("nested"), "{error}");
}

#[test]
fn more_mistakes_than_are_kept_are_counted() {
    let mut text = String::from("listeners: []\n");
    for n in 0..diagnostics::DIAGNOSTICS_MAX + 10 {
        text.push_str(&format!("field_{n}: 1\n"));
    }
    let report = parse("many.yaml", &text).unwrap_err().to_string();
    assert!(report.contains("that aren't shown"), "{}", &report[report.len() - 200..]);
    assert!(report.ends_with("many.yaml: 1011 errors\n"), "{}", &report[report.len() - 200..]);
}

#[test]
fn a_file_that_is_not_there_or_not_text_is_told_of() {
    let missing = load(Path::new("/nonexistent/corelane.yaml")).unwrap_err().to_string();
    assert!(missing.starts_with("error: can't read it: "), "{missing}");
    let path = std::env::temp_dir().join(format!("corelane-config-{}.yaml", std::process::id()));
    std::fs::write(&path, b"listeners: []\nclusters: \xff\n").unwrap();
    let binary = load(&path).unwrap_err();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(binary.list().next().unwrap().span, Span { line: 2, column: 11, width: 1 });
}

#[test]
fn line_endings_and_a_byte_order_mark_make_no_difference() {
    let plain = parse("default.yaml", DEFAULT).unwrap();
    let crlf = parse("default.yaml", &DEFAULT.replace('\n', "\r\n")).unwrap_or_else(|error| panic!("{error}"));
    let marked = parse("default.yaml", &format!("\u{feff}{DEFAULT}")).unwrap_or_else(|error| panic!("{error}"));
    assert!(crlf.file == plain.file && marked.file == plain.file);
    let broken = parse("x.yaml", "listeners: []\r\nclusterz: []\r\n").unwrap_err().to_string();
    assert!(broken.contains("2 | clusterz: []\n  | ^^^^^^^^\n"), "{broken}");
}

#[test]
fn a_listener_may_leave_the_choice_of_its_port_to_the_kernel() {
    let listener = |name| {
        format!(
            "  - {{ name: {name}, address: '127.0.0.1:0', http: {{ routes: [{{ match: {{}}, respond: {{ status: 200 }} }}] }} }}\n"
        )
    };
    let text = format!("admin: {{ address: '127.0.0.1:0' }}\nlisteners:\n{}{}", listener("a"), listener("b"));
    assert!(parse("x.yaml", &text).is_ok_and(|model| model.warnings().is_empty()));
}
