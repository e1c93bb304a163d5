use proptest::prelude::*;

use super::*;

const NORMALIZE: PathRules = PathRules {
    normalize: true,
    merge_slashes: false,
    escaped_slashes: EscapedSlashes::Keep,
    refuse_parameters: false,
};
const EDGE: PathRules = PathRules { merge_slashes: true, escaped_slashes: EscapedSlashes::Redirect, ..NORMALIZE };
const MERGE: PathRules = PathRules { normalize: false, merge_slashes: true, ..NORMALIZE };

fn with(escaped_slashes: EscapedSlashes) -> PathRules {
    PathRules { escaped_slashes, ..NORMALIZE }
}

/// What a path becomes, and whether the client is sent there.
fn apply(rules: PathRules, path: &str) -> Result<(String, bool), PathError> {
    let mut out = b"left over".to_vec();
    let result = rules.apply(path.as_bytes(), &mut out).map(|redirect| {
        assert!(out.len() <= path.len(), "{path}");
        (String::from_utf8(out).expect("text"), redirect)
    });
    let same = result.as_ref().is_ok_and(|(new, redirect)| new == path && !redirect);
    assert!(same || !rules.leave(path.as_bytes()), "{path} is left as it is");
    result
}

fn becomes(rules: PathRules, rows: &[(&str, &str)]) {
    for (path, wanted) in rows {
        assert_eq!(apply(rules, path), Ok((wanted.to_string(), false)), "{path}");
    }
}

fn refused(rules: PathRules, rows: &[(&str, PathError)]) {
    for (path, error) in rows {
        assert_eq!(apply(rules, path), Err(*error), "{path}");
    }
}

#[test]
fn paths_that_need_nothing_are_left() {
    for path in
        ["/", "/a", "/a/b/", "/index.html", "/a;x=y", "/a.b/c..", "/~u/-_", "/$batch", "/a|b\"[]{}^`<>", "*", ""]
    {
        assert!(EDGE.leave(path.as_bytes()), "{path}");
    }
    // Looked at, and nothing found.
    for path in ["/.well-known/x", "/...", "/a/..b", "/%C3%A4", "/a%20b", "/a%25"] {
        assert!(!EDGE.leave(path.as_bytes()), "{path}");
        assert_eq!(apply(EDGE, path), Ok((path.to_string(), false)));
    }
    for path in ["/a/../b", "/%", "//", "/\\", "/%00", "/..;/"] {
        assert!(PathRules::default().leave(path.as_bytes()), "{path}");
    }
}

#[test]
fn dot_segments_are_resolved() {
    // The examples of RFC 3986 5.4 that stay below the root, and what their segments look like escaped.
    becomes(
        NORMALIZE,
        &[
            ("/b/c/./g", "/b/c/g"),
            ("/b/c/.", "/b/c/"),
            ("/b/c/./", "/b/c/"),
            ("/b/c/..", "/b/"),
            ("/b/c/../", "/b/"),
            ("/b/c/../g", "/b/g"),
            ("/b/c/../..", "/"),
            ("/b/c/../../g", "/g"),
            ("/b/c/g.", "/b/c/g."),
            ("/b/c/..g", "/b/c/..g"),
            ("/b/c/./g/.", "/b/c/g/"),
            ("/b/c/g/../h", "/b/c/h"),
            ("/b/c/g;x=1/./y", "/b/c/g;x=1/y"),
            ("/b/c/g;x=1/../y", "/b/c/y"),
            ("/.", "/"),
            ("/./", "/"),
            ("/a/..", "/"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/.%2e/b", "/b"),
            ("/a/%2E./b", "/b"),
            ("/%2e/b", "/b"),
            ("/a\\..\\b", "/b"),
            ("/a/..\\b", "/b"),
            ("/\\b", "//b"),
            ("/a//../b", "/a/b"),
            ("//..", "/"),
            ("/a/...", "/a/..."),
            ("/a/%2e%2e%2e", "/a/..."),
        ],
    );
}

#[test]
fn escapes_are_written_in_one_way() {
    becomes(
        NORMALIZE,
        &[
            ("/%61%7A%41%5a%30%39%2d%5f%7e", "/azAZ09-_~"),
            ("/%c3%a4", "/%C3%A4"),
            ("/%3a%40%24%3b", "/%3A%40%24%3B"),
            ("/%252e%252e/a", "/%252e%252e/a"),
            ("/%25%32%65", "/%252e"),
            ("/a%3f%23", "/a%3F%23"),
            ("/%0d%0a", "/%0D%0A"),
            ("/%e2%82%ac", "/%E2%82%AC"),
            ("/%c0a", "/%C0a"),
        ],
    );
}

#[test]
fn what_has_no_single_meaning_is_refused() {
    use PathError::*;
    refused(
        NORMALIZE,
        &[
            ("/..", AboveRoot),
            ("/../a", AboveRoot),
            ("/a/../../b", AboveRoot),
            ("/a/%2e%2e/%2e%2e/b", AboveRoot),
            ("/\\..\\..", AboveRoot),
            ("/%", BadEscape),
            ("/%2", BadEscape),
            ("/%zz", BadEscape),
            ("/%u002e", BadEscape),
            ("/%%32e", BadEscape),
            ("/%+1", BadEscape),
            ("/%00", Nul),
            ("/%c0%ae%c0%ae/", OverlongUtf8),
            ("/%C1%9c", OverlongUtf8),
            ("/%e0%80%af", OverlongUtf8),
            ("/%f0%80%80%af", OverlongUtf8),
            ("/%f8%80%80%80%af", OverlongUtf8),
            ("/%fc%80%80%80%80%af", OverlongUtf8),
            ("/a/..;/b", DotSegmentParameters),
            ("/a/..;x=y/b", DotSegmentParameters),
            ("/a/.;/b", DotSegmentParameters),
            ("/a/%2e.;/b", DotSegmentParameters),
            ("/a/..%3b/b", DotSegmentParameters),
            ("/..;", DotSegmentParameters),
            ("/a/..%2fb", HiddenDotSegment),
            ("/a%2f..", HiddenDotSegment),
            ("/a%5c..%5Cb", HiddenDotSegment),
            ("/a%2f%2e%2fb", HiddenDotSegment),
            ("/a%2f..;%2fb", HiddenDotSegment),
        ],
    );
}

#[test]
fn slashes_are_merged() {
    becomes(EDGE, &[("//", "/"), ("//a///b//", "/a/b/"), ("/a//../b", "/a/b"), ("/\\a", "/a"), ("/.//a", "/a")]);
    becomes(MERGE, &[("//a/../%2e/%", "/a/../%2e/%"), ("/\\a", "/\\a"), ("/%2fa", "/%2fa")]);
}

#[test]
fn escaped_slashes_are_what_the_rules_say() {
    becomes(with(EscapedSlashes::Keep), &[("/a%2fb%5cc", "/a%2Fb%5Cc"), ("/%2f", "/%2F")]);
    refused(with(EscapedSlashes::Refuse), &[("/a%2fb", PathError::EscapedSlash), ("/%5C", PathError::EscapedSlash)]);
    becomes(
        with(EscapedSlashes::Decode),
        &[("/a%2fb", "/a/b"), ("/a%5Cb", "/a/b"), ("/a/..%2fb", "/b"), ("/a%252fb", "/a%252fb"), ("/%2f%2f", "///")],
    );
    refused(with(EscapedSlashes::Decode), &[("/..%2f", PathError::AboveRoot)]);
    for (path, wanted, redirect) in [
        ("/a%2fb", "/a/b", true),
        ("/%2F%2Fevil", "/evil", true),
        ("/a/../b", "/b", false),
        ("/a%252f", "/a%252f", false),
    ] {
        assert_eq!(apply(EDGE, path), Ok((wanted.to_string(), redirect)), "{path}");
    }
    // Without the rest nothing else changes.
    let alone = PathRules { escaped_slashes: EscapedSlashes::Decode, ..PathRules::default() };
    becomes(alone, &[("/a%2f..%5c%2e%zz%00", "/a/..\\%2e%zz%00")]);
}

#[test]
fn parameters_are_refused_where_that_is_asked_for() {
    let rules = PathRules { refuse_parameters: true, ..NORMALIZE };
    refused(rules, &[("/a;b", PathError::Parameters), ("/;", PathError::Parameters)]);
    becomes(rules, &[("/a%3bb", "/a%3Bb")]);
}

#[test]
fn dot_segments_are_found() {
    for path in ["/a/../b", "/..", "/.", "/a/./", "/a/..;x"] {
        assert!(has_dot_segment(path.as_bytes()), "{path}");
    }
    for path in ["/", "/a..b/...", "/.a"] {
        assert!(!has_dot_segment(path.as_bytes()), "{path}");
    }
}

/// The same rules, told by lists of characters and segments; `None` is a refusal.
fn reference(rules: PathRules, path: &str) -> Option<String> {
    let mut rest: Vec<char> = path.chars().rev().collect();
    let mut characters: Vec<String> = Vec::new();
    let mut values: Vec<u32> = Vec::new();
    while let Some(c) = rest.pop() {
        if c != '%' {
            characters.push(if c == '\\' { '/' } else { c }.into());
            values.push(0);
            continue;
        }
        let digits: String = [rest.pop()?, rest.pop()?].iter().collect();
        if !digits.chars().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        let value = u32::from_str_radix(&digits, 16).ok()?;
        values.push(value);
        characters.push(match char::from_u32(value)? {
            '\0' => return None,
            '/' | '\\' => match rules.escaped_slashes {
                EscapedSlashes::Keep => format!("%{value:02X}"),
                EscapedSlashes::Refuse => return None,
                EscapedSlashes::Decode | EscapedSlashes::Redirect => "/".into(),
            },
            c if c.is_ascii_alphanumeric() || "-._~".contains(c) => c.into(),
            _ => format!("%{value:02X}"),
        });
    }
    let smallest = |lead| match lead {
        0xc0 | 0xc1 => 0xc0,
        0xe0 => 0xa0,
        0xf0 => 0x90,
        0xf8 => 0x88,
        0xfc => 0x84,
        _ => 0,
    };
    if values.windows(2).any(|two| (0x80..0xc0).contains(&two[1]) && two[1] < smallest(two[0])) {
        return None;
    }
    let text = characters.concat();
    let mut segments: Vec<&str> = Vec::new();
    for segment in text[1..].split('/') {
        // What those make of it who take off parameters and decode slashes.
        let parts: Vec<&str> = segment.split("%2F").flat_map(|part| part.split("%5C")).collect();
        let named = |part: &str| part.split(';').flat_map(|part| part.split("%3B")).next().map(str::to_string);
        let doubtful = parts.iter().any(|part| matches!(named(part).as_deref(), Some("." | "..")));
        // At the end it says that a slash stands there.
        segments.retain(|segment| *segment != ".");
        match segment {
            "." => segments.push("."),
            ".." => {
                segments.pop()?;
                segments.push(".");
            }
            _ if doubtful => return None,
            name => segments.push(name),
        }
    }
    if let Some(last @ &mut ".") = segments.last_mut() {
        *last = "";
    }
    let mut path = format!("/{}", segments.join("/"));
    while rules.merge_slashes && path.contains("//") {
        path = path.replace("//", "/");
    }
    Some(path)
}

fn paths() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        8 => proptest::sample::select(vec![
            "/", "/", ".", "..", "a", "b", "%2e", "%2E", "%2f", "%2F", "%5c", "\\", ";", "%3b", "%", "%25", "%41", "%c3",
            "%a4", "%c0", "%ae", "%e0", "%80", "%00", "2", "e", "/../", "/./", "//", "~", "%7e", "%2", "+"
        ]).prop_map(str::to_string),
        1 => "[!-~]".prop_filter("not in a path", |c| !"?#".contains(c)),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
}

fn rules() -> impl Strategy<Value = PathRules> {
    let escaped = proptest::sample::select(vec![
        EscapedSlashes::Keep,
        EscapedSlashes::Refuse,
        EscapedSlashes::Decode,
        EscapedSlashes::Redirect,
    ]);
    (any::<bool>(), escaped).prop_map(|(merge_slashes, escaped_slashes)| PathRules {
        merge_slashes,
        escaped_slashes,
        ..NORMALIZE
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn agrees_with_the_reference(rules in rules(), path in paths()) {
        let ours = apply(rules, &path).ok().map(|(path, _)| path);
        prop_assert_eq!(ours, reference(rules, &path));
    }

    #[test]
    fn what_was_normalized_stays(rules in rules(), path in paths()) {
        if let Ok((once, _)) = apply(rules, &path) {
            prop_assert_eq!(apply(rules, &once), Ok((once.clone(), false)), "from {}", path);
        }
    }

    /// Browsers read dots and backslashes as we do, but for what climbs above the root: they stay there.
    #[test]
    fn agrees_with_browsers(path in "/([/.a]|%2e|%2E|\\\\|\\.\\.){0,12}") {
        match apply(NORMALIZE, &path) {
            Ok((ours, _)) => {
                let url = url::Url::parse(&format!("http://a{path}")).expect("a URL");
                // They leave escapes that aren't dot segments.
                prop_assert_eq!(ours, url.path().replace("%2e", ".").replace("%2E", "."));
            }
            Err(error) => prop_assert_eq!(error, PathError::AboveRoot),
        }
    }
}
