//! Names of queues and namespaces as arguments: what no server would take is told at once.

/// Reads the name of a queue.
pub(crate) fn queue(text: &str) -> Result<String, String> {
    if text.contains('*') {
        return Err("a queue's name has no \"*\"; patterns are for `longshore work`".to_owned());
    }
    queue_or_all(text)
}

/// Reads the name of a queue, or `*` for all of them.
pub(crate) fn queue_or_all(text: &str) -> Result<String, String> {
    check("a queue", text)
}

/// Reads the name of a schedule.
pub(crate) fn schedule(text: &str) -> Result<String, String> {
    check("a schedule", text)
}

/// Reads the name of a stream.
pub(crate) fn stream(text: &str) -> Result<String, String> {
    check("a stream", text)
}

/// Reads the name of a namespace.
pub(crate) fn namespace(text: &str) -> Result<String, String> {
    if text.contains('*') {
        return Err("a namespace's name has no \"*\"".to_owned());
    }
    check("a namespace", text)
}

/// Reads a queue's name or pattern, for a worker.
pub(crate) fn pattern(text: &str) -> Result<String, String> {
    match text.find('*') {
        Some(at) if at + 1 < text.len() => {
            Err("a pattern is a queue's name, \"*\", or \"prefix*\": \"*\" ends it".to_owned())
        }
        _ => check("a queue", text),
    }
}

fn check(what: &str, text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err(format!("the name of {what} is empty; it has 1 to 255 bytes"));
    }
    if text.len() > 255 {
        return Err(format!("the name of {what} has {} bytes, at most 255 may be", text.len()));
    }
    if text.chars().any(char::is_control) {
        return Err(format!("the name of {what} holds a control character"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_before_anything_is_sent() {
        for name in ["mail", "a/b", "with space", "M\u{fc}nchen"] {
            assert_eq!(queue(name).as_deref(), Ok(name));
        }
        for (read, name, why) in [
            (queue as fn(&str) -> Result<String, String>, "", "is empty"),
            (queue, "a*b", "patterns are for `longshore work`"),
            (queue, "a\nb", "control character"),
            (namespace, "", "a namespace is empty"),
            (namespace, "a*", "no \"*\""),
            (pattern, "a*b", "ends it"),
            (pattern, "", "is empty"),
        ] {
            let said = read(name).unwrap_err();
            assert!(said.contains(why), "{name}: {said}");
        }
        assert!(pattern("a*").is_ok() && pattern("*").is_ok() && queue_or_all("*").is_ok());
        assert!(queue(&"x".repeat(256)).is_err());
    }
}
