//! What the config tests share.
#![allow(dead_code, reason = "each test binary uses its part")]

pub mod schema;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use corelane::config::{self, Inputs, Model};
use corelane::snapshot::Snapshot;

pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Compiles with no name resolved, as version 7.
pub fn compiled(model: &Model) -> Snapshot {
    compiled_with(model, &HashMap::new())
}

pub fn compiled_with(model: &Model, resolved: &HashMap<String, Vec<SocketAddr>>) -> Snapshot {
    let registry = corelane::stats::Registry::new(2);
    let inputs = Inputs { registry: &registry, resolved, version: 7 };
    config::compile(model, &inputs).unwrap_or_else(|diagnostics| panic!("{diagnostics}"))
}

fn updating() -> bool {
    std::env::var_os("UPDATE_GOLDENS").is_some()
}

/// Compares with a file, or rewrites it where `UPDATE_GOLDENS` is set.
pub fn golden(path: &Path, text: &str) {
    if updating() {
        std::fs::write(path, text).unwrap();
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(expected, text, "{} differs; UPDATE_GOLDENS=1 rewrites it", path.display());
}

/// Compares the part of a file between two marker lines, or rewrites it.
pub fn in_step(path: &Path, start: &str, end: &str, text: &str) {
    let file = std::fs::read_to_string(path).unwrap();
    let (before, rest) = file.split_once(start).unwrap_or_else(|| panic!("no start marker in {}", path.display()));
    let (_, after) = rest.split_once(end).unwrap_or_else(|| panic!("no end marker in {}", path.display()));
    golden(path, &format!("{before}{start}\n{text}{end}{after}"));
}
