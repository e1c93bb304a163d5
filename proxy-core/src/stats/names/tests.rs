use std::collections::BTreeSet;

use super::*;

/// `upstream_cx_total` → `UpstreamCxTotal`; `circuit_breakers.default.cx_open` → `CircuitBreakersDefaultCxOpen`.
fn camel(name: &str) -> String {
    name.split(['.', '_', '-'])
        .map(|part| {
            let mut letters = part.chars();
            letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
        })
        .collect()
}

fn variants_match<S: Stat + std::fmt::Debug>(all: &[S], rows: &[Row]) {
    assert_eq!(all.len(), rows.len());
    let mut cell = 0;
    for (stat, row) in all.iter().zip(rows) {
        assert_eq!(format!("{stat:?}"), camel(row.name));
        assert_eq!(stat.cell(), cell, "{stat:?}");
        cell += row.kind.width();
    }
}

#[test]
fn a_variant_is_its_dotted_name_and_cells_follow_each_other() {
    variants_match(ClusterStat::ALL, ClusterStat::ROWS);
    variants_match(EndpointStat::ALL, EndpointStat::ROWS);
    variants_match(HttpStat::ALL, HttpStat::ROWS);
    variants_match(ListenerStat::ALL, ListenerStat::ROWS);
    variants_match(OverloadStat::ALL, OverloadStat::ROWS);
    variants_match(ServerStat::ALL, ServerStat::ROWS);
    variants_match(TcpStat::ALL, TcpStat::ROWS);
}

#[test]
fn entries_are_unique_sorted_and_cover_every_cell_once() {
    for scope in Scope::ALL {
        let entries = scope.entries();
        assert!(entries.windows(2).all(|pair| pair[0].name < pair[1].name), "{scope:?}");
        let cells: BTreeSet<usize> =
            entries.iter().flat_map(|entry| entry.cell..entry.cell + entry.kind.width()).collect();
        assert_eq!(cells, (0..scope.cells()).collect(), "{scope:?}");
    }
}

#[test]
fn help_is_one_sentence_and_names_are_plain() {
    for scope in Scope::ALL {
        for row in scope.rows() {
            assert!(row.help.ends_with('.') && !row.help.contains('\n'), "{}", row.name);
            assert!(
                row.name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-')),
                "{}",
                row.name
            );
        }
    }
}

#[test]
fn one_prometheus_family_has_one_kind_and_one_help() {
    let mut families = std::collections::HashMap::new();
    for scope in Scope::ALL {
        for entry in scope.entries() {
            let seen = families.insert(&entry.family, (entry.kind, entry.help));
            assert!(seen.is_none_or(|seen| seen == (entry.kind, entry.help)), "{}", entry.family);
            assert!(seen.is_none() || entry.label.is_some(), "{} needs a label", entry.family);
        }
    }
}

#[test]
fn statuses_are_named_as_envoy_names_them() {
    let find = |scope: Scope, name: &str| scope.entries().iter().find(|entry| entry.name == name);
    let class = find(Scope::Cluster, "upstream_rq_5xx").expect("class");
    assert_eq!(class.family, "envoy_cluster_upstream_rq_xx");
    assert_eq!(class.label.as_deref(), Some("envoy_response_code_class=\"5\""));
    let code = find(Scope::Cluster, "upstream_rq_503").expect("code");
    assert_eq!(code.family, "envoy_cluster_upstream_rq");
    assert_eq!(code.label.as_deref(), Some("envoy_response_code=\"503\""));
    assert!(find(Scope::Http, "downstream_rq_2xx").is_some());
    assert!(find(Scope::Http, "downstream_rq_200").is_none());
}
