//! Broken config files and what is said about them. Each `tests/config/NAME.yaml` has its whole report in `NAME.txt`;
//! `UPDATE_GOLDENS=1 cargo test -p corelane --test config_mistakes` rewrites the reports.

#[allow(unreachable_pub, reason = "shared by several test binaries")]
mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use corelane::config::{self, Diagnostics};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config")
}

fn names(extension: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let wanted = entries.filter(|path| path.extension().is_some_and(|e| e == extension));
    wanted.map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect()
}

fn diagnostics(name: &str) -> Diagnostics {
    let text = std::fs::read_to_string(folder().join(format!("{name}.yaml"))).unwrap();
    match config::parse(&format!("{name}.yaml"), &text) {
        Ok(model) => model.warnings().clone(),
        Err(diagnostics) => diagnostics,
    }
}

#[test]
fn every_broken_file_has_its_report() {
    let files = names("yaml");
    assert!(files.len() >= 30, "only {} broken files", files.len());
    for name in &files {
        let diagnostics = diagnostics(name);
        assert!(!diagnostics.is_empty(), "{name}.yaml has no mistake");
        assert_eq!(diagnostics.has_errors(), !name.starts_with("warn_"), "{name}: {diagnostics}");
        common::golden(&folder().join(format!("{name}.txt")), &diagnostics.to_string());
    }
    assert_eq!(names("txt"), files, "reports without a file");
}

/// A `# mistakes: 3` line in a broken file says how many there are; the report must have as many.
#[test]
fn every_mistake_of_a_file_is_reported() {
    let mut counted = 0;
    for name in names("yaml") {
        let text = std::fs::read_to_string(folder().join(format!("{name}.yaml"))).unwrap();
        let Some(count) = text.lines().find_map(|line| line.strip_prefix("# mistakes: ")) else { continue };
        let diagnostics = diagnostics(&name);
        assert_eq!(diagnostics.list().count().to_string(), count, "{name}: {diagnostics}");
        counted += 1;
    }
    assert!(counted >= 5, "only {counted} files with several mistakes");
}

/// Every report points into the file: a line that exists, a column within it.
#[test]
fn positions_lie_in_the_file() {
    for name in names("yaml") {
        let text = std::fs::read_to_string(folder().join(format!("{name}.yaml"))).unwrap();
        for diagnostic in diagnostics(&name).list().filter(|diagnostic| diagnostic.span.line > 0) {
            let line = text.lines().nth(diagnostic.span.line as usize - 1);
            let length = line.map(|line| line.chars().count() as u32);
            assert!(length.is_some_and(|length| diagnostic.span.column <= length + 1), "{name}: {diagnostic:?}");
        }
    }
}

/// Breaks a good file at random places: whatever comes of it is a model or a report, never a panic, and the report
/// points into the file.
mod random {
    use proptest::prelude::*;

    const GOOD: &str = include_str!("../../configs/all.yaml");

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
        #[test]
        fn damage_never_panics(cuts in prop::collection::vec((0..GOOD.len(), 0..12usize, "[ -~\n]{0,4}"), 1..5)) {
            let mut text = GOOD.to_string();
            for (at, length, insert) in cuts {
                let at = at.min(text.len());
                let end = (at + length).min(text.len());
                text.replace_range(at..end, &insert);
            }
            if let Err(diagnostics) = corelane::config::parse("damaged.yaml", &text) {
                prop_assert!(diagnostics.has_errors() && !diagnostics.to_string().is_empty());
                let lines = text.lines().count() as u32;
                prop_assert!(diagnostics.list().all(|diagnostic| diagnostic.span.line <= lines + 1));
            }
        }

        #[test]
        fn noise_never_panics(text in "[ -~\n\t&*!|>{}\\[\\]'\":,#-]{0,200}") {
            let _ = corelane::config::parse("noise.yaml", &text).map_err(|diagnostics| diagnostics.to_string());
        }
    }
}
