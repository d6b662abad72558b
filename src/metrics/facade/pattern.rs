//! Patterns of metric names.

/// Whether a name matches a pattern, in which `*` stands for any text.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut name) = name.strip_prefix(first) else {
        return false;
    };
    let (between, last) = rest.rsplit_once('*').map_or((None, rest), |(a, b)| (Some(a), b));
    for part in between.into_iter().flat_map(|between| between.split('*')) {
        // OK because the first occurrence leaves the most text for the parts after it.
        match name.find(part) {
            Some(at) => name = &name[at + part.len()..],
            None => return false,
        }
    }
    name.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, name) in [
            ("a", "a"),
            ("*", ""),
            ("*", "anything"),
            ("queue_*", "queue_depth"),
            ("*_seconds", "wait_seconds"),
            ("a*b*c", "a1b2b3c"),
            ("a**b", "ab"),
            ("*x*", "axb"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("a", "ab"),
            ("", "a"),
            ("queue_*", "a_queue_depth"),
            ("*_seconds", "wait_seconds_total"),
            ("ab*ba", "aba"),
            ("a*b*c", "acb"),
            ("*x*", "ab"),
        ] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }
}
