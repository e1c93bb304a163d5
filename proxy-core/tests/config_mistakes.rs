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

    fn odd() -> impl Strategy<Value = String> {
        let odd = [
            "0",
            "-1",
            "1",
            "18446744073709551615",
            "18446744073709551616",
            "1e309",
            "0.5",
            "-0.0",
            ".nan",
            "''",
            "'\\0'",
            "~",
            "null",
            "true",
            "[]",
            "{}",
            "[[]]",
            "{a: b}",
            "0s",
            "1ns",
            "1us",
            "584554531y",
            "18446744073709551615s",
            "999999999999999h",
            "1d",
            "1ms",
            "0B",
            "17179869184GiB",
            "1KiB",
            "off",
            "'*'",
            "'**'",
            "'*.a'",
            "a",
            "/",
            "//",
            "/%",
            "'('",
            "'(a{1000}){1000}'",
            "'\\u{e4}'",
            "127.0.0.1:0",
            "'[::]:65535'",
            "'[::1]:65536'",
            "unix:/a",
            "a:b",
            "'127.0.0.1/33'",
            "'::/0'",
            "200",
            "99",
            "600",
            "|",
            ">",
            "&a x",
            "*a",
            "'%'",
            "'%REQ('",
            "'%REQ(a)%:99999999999'",
            "{ prefix: / }",
            "{ exact: '' }",
            "{ regex: '[' }",
            "{ name: a, value: \"\\r\\n\" }",
            "app",
            "GET",
            "0x10",
            "1_000",
        ];
        prop_oneof![
            4 => prop::sample::select(odd.to_vec()).prop_map(str::to_owned),
            1 => any::<i128>().prop_map(|number| number.to_string()),
            1 => (any::<u64>(), "[a-zA-Z]{1,3}").prop_map(|(number, unit)| format!("{number}{unit}")),
            1 => "'[ -&(-~]{0,40}'",
        ]
    }

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

        /// Values of other kinds, or beyond any bound, in the places of good ones.
        #[test]
        fn odd_values_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), odd()), 1..4)) {
            let mut lines: Vec<String> = GOOD.lines().map(str::to_owned).collect();
            for (at, odd) in changes {
                let at = at.index(lines.len());
                if let Some((key, _)) = lines[at].split_once(": ") {
                    lines[at] = format!("{key}: {odd}");
                }
            }
            let text = lines.join("\n");
            match corelane::config::parse("odd.yaml", &text) {
                Err(diagnostics) => {
                    prop_assert!(diagnostics.has_errors() && !diagnostics.to_string().is_empty());
                    let lines = text.lines().count() as u32;
                    prop_assert!(diagnostics.list().all(|diagnostic| diagnostic.span.line <= lines + 1));
                }
                // What is taken can be run.
                Ok(model) => drop(super::common::compiled(&model)),
            }
        }

        #[test]
        fn noise_never_panics(text in "[ -~\n\t&*!|>{}\\[\\]'\":,#-]{0,200}") {
            let _ = corelane::config::parse("noise.yaml", &text).map_err(|diagnostics| diagnostics.to_string());
        }
    }
}
