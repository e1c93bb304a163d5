//! The examples of configs/ and the reference in docs/: read, compiled, and in step with the schema.

#[allow(unreachable_pub, reason = "shared by several test binaries")]
mod common;

use std::path::{Path, PathBuf};

use common::{compiled, repository};
use corelane::config;
use corelane::snapshot::{Action, Serve};
use serde_json::Value as Json;

fn examples() -> Vec<PathBuf> {
    let list = std::fs::read_dir(repository().join("configs")).unwrap().map(|entry| entry.unwrap().path());
    let mut list: Vec<PathBuf> = list.filter(|path| path.extension().is_some_and(|e| e == "yaml")).collect();
    list.sort();
    assert!(list.len() >= 4, "{list:?}");
    list
}

fn loaded(path: &Path) -> config::Model {
    config::load(path).unwrap_or_else(|diagnostics| panic!("{diagnostics}"))
}

#[test]
fn every_example_is_accepted_without_a_warning_and_compiles() {
    for path in examples() {
        let model = loaded(&path);
        assert!(model.warnings().is_empty(), "{}", model.warnings());
        let snapshot = compiled(&model);
        assert_eq!(snapshot.listeners.len(), model.listeners.len());
    }
}

#[test]
fn every_example_passes_the_schema() {
    let schema = config::schema();
    for path in examples() {
        let text = std::fs::read_to_string(&path).unwrap();
        let value: Json = serde_saphyr::from_str(&text).unwrap();
        common::schema::check(&schema, &value).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

#[test]
fn the_schema_refuses_what_the_reader_refuses() {
    let schema = config::schema();
    let listener = "name: a, address: '0.0.0.0:1'";
    for (text, place) in [
        ("{ listeners: [], clusterz: [] }".to_string(), "clusterz"),
        ("{ clusters: [] }".to_string(), "listeners"),
        (format!("{{ listeners: [{{ {listener} }}] }}"), "/listeners/0"),
        (format!("{{ listeners: [{{ {listener}, tcp: {{ cluster: x }}, http: {{ routes: [] }} }}] }}"), "/listeners/0"),
        (format!("{{ listeners: [{{ {listener}, tcp: {{ cluster: x }}, backlog: 0 }}] }}"), "backlog"),
        ("{ listeners: [], clusters: [{ name: a, endpoints: ['h:1'], balance: fastest }] }".to_string(), "balance"),
        ("{ listeners: [], clusters: [{ name: a, endpoints: [{ weight: 1 }] }] }".to_string(), "endpoints"),
        ("{ listeners: [], drain_timeout: 15 }".to_string(), "drain_timeout"),
        ("{ listeners: [], drain_timeout: 15 seconds }".to_string(), "drain_timeout"),
    ] {
        let value: Json = serde_saphyr::from_str(&text).unwrap();
        let error = common::schema::check(&schema, &value).expect_err(&text);
        assert!(error.contains(place), "{text}: {error}");
        assert!(config::parse("test.yaml", &text).is_err(), "{text}");
    }
}

#[test]
fn a_dump_is_a_config_that_means_the_same() {
    for path in examples() {
        let model = loaded(&path);
        let dump = serde_json::to_string(&model).unwrap();
        let beside = path.with_file_name("dump.json");
        let again =
            config::parse(&beside.display().to_string(), &dump).unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
        assert_eq!(model.file, again.file);
    }
}

#[test]
fn the_full_example_gives_every_field() {
    let text = std::fs::read_to_string(repository().join("configs/all.yaml")).unwrap();
    let schema = config::schema();
    for (record, definition) in schema["$defs"].as_object().unwrap() {
        for name in definition["properties"].as_object().unwrap().keys() {
            // `exact:` also stands in a flow mapping: `{ name: x, exact: y }`.
            let given = text.match_indices(&format!("{name}:")).any(|(at, _)| {
                let before = text[..at].chars().next_back().unwrap_or(' ');
                !before.is_alphanumeric() && before != '_'
            });
            assert!(given, "all.yaml doesn't show `{name}` of {record}");
        }
    }
}

#[test]
fn the_reference_is_in_step_with_the_fields() {
    common::in_step(
        &repository().join("docs/configuration.md"),
        "<!-- generated from the field tables: UPDATE_GOLDENS=1 cargo test -p corelane --test config_examples -->\n",
        "<!-- end of the generated part -->\n",
        &config::markdown(),
    );
}

#[test]
fn the_embedded_default_balances_over_two_origins_of_its_own() {
    let model = config::parse("default", config::DEFAULT).unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
    assert_eq!(model.admin.address.0.to_string(), "127.0.0.1:9901");
    let snapshot = compiled(&model);
    assert!(snapshot.listeners.iter().all(|listener| listener.address.ip().is_loopback()));
    assert_eq!(snapshot.listeners[0].address.to_string(), "127.0.0.1:8080");
    let endpoints: Vec<String> = snapshot.clusters[0].endpoints.iter().map(|e| e.address.to_string()).collect();
    let origins: Vec<String> = snapshot.listeners[1..].iter().map(|l| l.address.to_string()).collect();
    assert_eq!(endpoints, origins);
    for listener in &snapshot.listeners[1..] {
        let Serve::Http(http) = &listener.serve else { panic!("{} isn't HTTP", listener.name) };
        let Action::Direct(direct) = &http.routes.routes[0].action else { panic!("{} forwards", listener.name) };
        assert!(String::from_utf8_lossy(&direct.body).contains(&listener.name));
    }
}
