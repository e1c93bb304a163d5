//! The parts of docs/ that come from tables in the source are in step with them.

#[allow(unreachable_pub, reason = "shared by several test binaries")]
mod common;

use common::repository;
use corelane::{log, stats};

#[test]
fn every_metric_is_documented() {
    common::in_step(
        &repository().join("docs/stats.md"),
        "<!-- generated from stats/names: UPDATE_GOLDENS=1 cargo test -p corelane --test reference_pages -->\n",
        "<!-- end of the generated part -->\n",
        &stats::names::markdown(),
    );
}

#[test]
fn every_response_flag_is_documented() {
    common::in_step(
        &repository().join("docs/access-log.md"),
        "<!-- generated from log/flag.rs: UPDATE_GOLDENS=1 cargo test -p corelane --test reference_pages -->\n",
        "<!-- end of the generated part -->\n",
        &log::flag::markdown(),
    );
}

#[test]
fn every_operator_is_documented() {
    let page = std::fs::read_to_string(repository().join("docs/access-log.md")).expect("page");
    for operator in log::operators() {
        let named = [format!("`{operator}`"), format!("`{operator}("), format!(" {operator}(")];
        assert!(named.iter().any(|name| page.contains(name)), "{operator}");
    }
    assert!(page.contains(log::TEXT_DEFAULT) && page.contains(log::TEXT_DEFAULT_TCP));
}
