//! Permissions of `RabbitMQ` as patterns of names: regular expressions on its side, a name or the
//! beginning of names and `*` on ours. What of them says the same on both sides is taken over,
//! everything else is refused.

use longshore_engine::GRANTS_MAX;

/// Alternatives that one expression may have: as many as an account may have grants, so that what
/// is told of one can be put back.
const ALTERNATIVES_MAX: usize = GRANTS_MAX;

/// What stands for itself in an expression, beside letters and digits.
const PLAIN: &str = "_-:/@#%&=,~!<>";

/// One of the names that an expression means: plain characters, escaped ones, and how it ends.
fn literal(text: &str) -> Result<String, String> {
    let mut name = String::new();
    let mut chars = text.chars();
    while let Some(next) = chars.next() {
        match next {
            '\\' => match chars.next() {
                Some(escaped) if !escaped.is_alphanumeric() && escaped != '*' => {
                    name.push(escaped);
                }
                _ => return Err(format!("{text:?} has an escape that is of no plain character")),
            },
            '.' => return Err(format!("the . in {text:?} stands for any character: write \\.")),
            plain if plain.is_alphanumeric() || PLAIN.contains(plain) => name.push(plain),
            other => return Err(format!("{text:?} has a {other:?}, which is more than a name")),
        }
    }
    Ok(name)
}

/// Whether what comes behind a text is escaped by it.
fn escapes(text: &str) -> bool {
    text.chars().rev().take_while(|it| *it == '\\').count() % 2 == 1
}

/// The pattern of one alternative, without anchors. `open`: nothing says where a name ends.
fn pattern(text: &str, open: bool) -> Result<String, String> {
    let (beginning, any) = match text.strip_suffix(".*") {
        Some(beginning) if !escapes(beginning) => (beginning, true),
        _ => (text, open),
    };
    let name = literal(beginning)?;
    Ok(if any { format!("{name}*") } else { name })
}

/// Parts of an expression between `|` that stand outside of brackets.
fn alternatives(text: &str) -> Vec<&str> {
    let (mut depth, mut escaped, mut begin, mut parts) = (0_usize, false, 0, Vec::new());
    for (at, next) in text.char_indices() {
        match next {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            '|' if depth == 0 => {
                parts.push(text.get(begin..at).unwrap_or_default());
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text.get(begin..).unwrap_or_default());
    parts
}

/// The patterns that mean the same names as a regular expression of `RabbitMQ`; none for one that
/// means no name. Else why there are none.
pub(super) fn patterns_of(expression: &str) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    for part in alternatives(expression) {
        if matches!(part, "" | "^$") {
            continue;
        }
        if matches!(part, ".*" | "^.*" | ".*$" | "^.*$") {
            return Ok(vec!["*".to_owned()]);
        }
        let Some(from) = part.strip_prefix('^') else {
            return Err(format!("{part:?} means names that have it anywhere: begin with ^"));
        };
        let (body, open) = match from.strip_suffix('$') {
            Some(body) if !escapes(body) => (body, false),
            _ => (from, true),
        };
        // One group over all of it, or over all but an end of `.*`.
        let group = body.strip_prefix('(');
        let whole = group.and_then(|rest| rest.strip_suffix(')')).filter(|it| !escapes(it));
        let begun = group.and_then(|rest| rest.strip_suffix(").*"));
        let (inner, end) = match (whole, begun) {
            (Some(inner), _) => (inner, ""),
            (None, Some(inner)) => (inner, ".*"),
            (None, None) => (body, ""),
        };
        for name in alternatives(inner) {
            found.push(pattern(&format!("{name}{end}"), open)?);
        }
    }
    found.sort_unstable();
    found.dedup();
    if found.iter().any(|it| it == "*") {
        return Ok(vec!["*".to_owned()]);
    }
    if found.len() > ALTERNATIVES_MAX {
        return Err(format!("it means more than {ALTERNATIVES_MAX} patterns of names"));
    }
    Ok(found)
}

/// The expression that means the same names as patterns.
pub(super) fn expression_of<'p>(patterns: impl IntoIterator<Item = &'p str>) -> String {
    let mut parts: Vec<String> = Vec::new();
    for pattern in patterns {
        let (name, any) = match pattern.strip_suffix('*') {
            Some("") => return ".*".to_owned(),
            Some(name) => (name, ".*"),
            None => (pattern, ""),
        };
        let mut part = String::new();
        for next in name.chars() {
            if !next.is_alphanumeric() && !PLAIN.contains(next) {
                part.push('\\');
            }
            part.push(next);
        }
        parts.push(part + any);
    }
    parts.sort_unstable();
    parts.dedup();
    match parts.as_slice() {
        [] => "^$".to_owned(),
        [one] => format!("^{one}$"),
        all => format!("^({})$", all.join("|")),
    }
}

/// Whether every name that one of `inner` means is one that `outer` mean.
pub(super) fn are_within(inner: &[String], outer: &[String]) -> bool {
    let is_within = |it: &String| {
        outer.iter().any(|outer| match (it.strip_suffix('*'), outer.strip_suffix('*')) {
            (Some(it), Some(outer)) => it.starts_with(outer),
            (None, Some(outer)) => it.starts_with(outer),
            (Some(_), None) => false,
            (None, None) => it == outer,
        })
    };
    inner.iter().all(is_within)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_that_name_names_are_patterns_and_back() {
        let cases: [(&str, &[&str], &str); 13] = [
            (".*", &["*"], ".*"),
            ("", &[], "^$"),
            ("^$", &[], "^$"),
            ("^mail$", &["mail"], "^mail$"),
            ("^mail", &["mail*"], "^mail.*$"),
            ("^mail.*", &["mail*"], "^mail.*$"),
            ("^mail\\..*$", &["mail.*"], "^mail\\..*$"),
            ("^(a|b\\.c)$", &["a", "b.c"], "^(a|b\\.c)$"),
            ("^(a|b.*)$", &["a", "b*"], "^(a|b.*)$"),
            ("^(a|b).*$", &["a*", "b*"], "^(a.*|b.*)$"),
            ("^a$|^b.*", &["a", "b*"], "^(a|b.*)$"),
            ("^(a|.*)$", &["*"], ".*"),
            ("^amq\\.gen-.*", &["amq.gen-*"], "^amq\\.gen-.*$"),
        ];
        for (expression, patterns, back) in cases {
            assert_eq!(patterns_of(expression).unwrap(), patterns, "{expression}");
            assert_eq!(expression_of(patterns.iter().copied()), back, "{expression}");
            assert_eq!(patterns_of(back).unwrap(), patterns, "{back}");
        }
    }

    #[test]
    fn whatever_names_something_is_told_and_taken_back() {
        let odd = [
            "a b",
            "a.b",
            "a|b",
            "(a",
            "a)",
            "(a|b)",
            "a\\",
            "\\",
            "$",
            "a$",
            "^a",
            "[a]",
            "a{2}",
            "a+?",
            "gr\u{fc}n",
            "\u{65e5}\u{672c}",
            "a\u{b7}b",
            "e\u{301}",
            "\u{1f600}",
            "'\"`;",
            ".",
            ".a",
            "a,b",
            "<a>",
            "\u{a0}",
        ];
        for name in odd {
            for patterns in [vec![name.to_owned()], vec![format!("{name}*")], {
                vec![format!("{name}*"), format!("x{name}"), "z".to_owned()]
            }] {
                let told = expression_of(patterns.iter().map(String::as_str));
                let mut expected = patterns.clone();
                expected.sort_unstable();
                assert_eq!(patterns_of(&told), Ok(expected), "{told}");
            }
        }
        let many: Vec<_> = (0..GRANTS_MAX).map(|n| format!("n{n:02}")).collect();
        assert_eq!(patterns_of(&expression_of(many.iter().map(String::as_str))), Ok(many));
    }

    #[test]
    fn what_no_pattern_says_is_refused_with_a_reason() {
        for expression in [
            "mail",
            "mail$",
            "^mail.eu$",
            "^[ab]$",
            "^a+$",
            "^a?$",
            "^(a|b)c$",
            "^(?!x)",
            "^a\\d$",
            "^a*$",
            "^a\\*$",
            "^(a",
            "^((a|b)|c)$",
            "^a.*b$",
            ".+",
            "^a$b",
        ] {
            assert!(patterns_of(expression).is_err(), "{expression}");
        }
        let many: Vec<_> = (0..65).map(|n| format!("n{n}")).collect();
        assert!(patterns_of(&format!("^({})$", many.join("|"))).is_err());
    }

    #[test]
    fn patterns_lie_within_others() {
        let all = |of: &[&str]| of.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        assert!(are_within(&all(&["ab*", "c"]), &all(&["a*", "c"])));
        assert!(are_within(&all(&[]), &all(&[])) && are_within(&all(&["a"]), &all(&["*"])));
        assert!(!are_within(&all(&["a*"]), &all(&["ab*"])));
        assert!(!are_within(&all(&["a*"]), &all(&["a"])));
    }
}
