//! "Did you mean ...?": the nearest of the valid names.

/// The candidate nearest to `name`: at most a third of its letters wrong (swapped neighbours count once), or one of
/// the two starts or ends with the other.
pub(crate) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const NAME_CHARS_MAX: usize = 64;
    let wanted: Vec<char> = normal(name).chars().collect();
    if wanted.is_empty() || wanted.len() > NAME_CHARS_MAX {
        return None;
    }
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let letters: Vec<char> = normal(candidate).chars().collect();
        let allowed = (wanted.len().max(letters.len()) / 3).max(1);
        if letters.is_empty() || letters.len() > NAME_CHARS_MAX {
            continue;
        }
        let mut distance = edit_distance(&wanted, &letters);
        let (short, long) = if wanted.len() < letters.len() { (&wanted, &letters) } else { (&letters, &wanted) };
        if distance > allowed && short.len() >= 4 && (long.starts_with(short) || long.ends_with(short)) {
            distance = allowed;
        }
        if distance <= allowed && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Case and the choice between `-`, `_` and nothing are no difference to a person: `connectTimeout`.
fn normal(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '-' | '_' | ' ')).flat_map(char::to_lowercase).collect()
}

/// Damerau-Levenshtein distance (optimal string alignment), three rows at a time.
fn edit_distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, &from) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i + 1);
        for (j, &to) in b.iter().enumerate() {
            let mut cost = (last[j] + usize::from(from != to)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && from == b[j - 1] && a[i - 1] == to {
                cost = cost.min(before[j - 1] + 1);
            }
            row.push(cost);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let fields = ["prefix", "exact", "regex", "host", "connect_timeout"];
        assert_eq!(nearest("prefixx", fields), Some("prefix"));
        assert_eq!(nearest("perfix", fields), Some("prefix"));
        assert_eq!(nearest("hsot", fields), Some("host"));
        assert_eq!(nearest("connectTimeout", fields), Some("connect_timeout"));
        assert_eq!(nearest("timeout", fields), Some("connect_timeout"));
        assert_eq!(nearest("banana", fields), None);
        assert_eq!(nearest("", fields), None);
    }

    #[test]
    fn the_nearest_of_several_wins() {
        assert_eq!(nearest("app2", ["app10", "app1", "web"]), Some("app1"));
    }
}
