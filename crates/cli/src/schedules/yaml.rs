//! A YAML file as a tree whose nodes know their lines. What a schedule has no use for (anchors,
//! tags, several documents) is refused, and so is what is nested deep.

use saphyr_parser::{Event, Parser, ScalarStyle};

/// How deep a file may be nested.
const DEPTH_MAX: usize = 32;

/// A place that is at fault.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Fault {
    /// From 1.
    pub(super) line: usize,
    pub(super) why: String,
}

/// A node, and where it begins.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    /// From 1.
    pub(super) line: usize,
    pub(super) value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// A text, and whether it stands there without quotes.
    Scalar(String, bool),
    List(Vec<Node>),
    /// In the order of the file.
    Map(Vec<(Node, Node)>),
}

impl Node {
    /// The text of a scalar that is not `null`.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(text, _) if !self.is_null() => Some(text),
            _ => None,
        }
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(text, true) if matches!(&**text, "" | "~" | "null"))
    }

    /// As JSON, by the core schema of YAML 1.2.
    pub(super) fn json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Scalar(text, plain) => scalar(text, *plain),
            Value::List(items) => Json::Array(items.iter().map(Self::json).collect()),
            Value::Map(entries) => {
                let member = |(key, value): &(Self, Self)| {
                    (key.text().unwrap_or_default().to_owned(), value.json())
                };
                Json::Object(entries.iter().map(member).collect())
            }
        }
    }
}

fn scalar(text: &str, plain: bool) -> serde_json::Value {
    use serde_json::Value as Json;
    if !plain {
        return Json::String(text.to_owned());
    }
    match text {
        "" | "~" | "null" => Json::Null,
        "true" | "True" | "TRUE" => Json::Bool(true),
        "false" | "False" | "FALSE" => Json::Bool(false),
        _ => {
            let number = text.parse::<i64>().map(Json::from).ok();
            let looks = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+'));
            let float = || {
                let float = text.parse::<f64>().ok().filter(|_| looks)?;
                serde_json::Number::from_f64(float).map(Json::Number)
            };
            number.or_else(float).unwrap_or_else(|| Json::String(text.to_owned()))
        }
    }
}

/// Something that has begun and not ended.
enum Open {
    List(usize, Vec<Node>),
    Map(usize, Vec<(Node, Node)>, Option<Node>),
}

/// Reads a file; `None` where there is nothing in it.
pub(super) fn parse(text: &str) -> Result<Option<Node>, Fault> {
    let (mut open, mut root): (Vec<Open>, Option<Node>) = (Vec::new(), None);
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| Fault {
            line: error.marker().line(),
            why: format!("this is no YAML: {}", error.info()),
        })?;
        let line = span.start.line();
        let refused = |why: &str| Err(Fault { line, why: why.to_owned() });
        let done = match event {
            Event::Scalar(_, _, anchor, tag) if anchor > 0 || tag.is_some() => {
                return refused("anchors and tags are not read");
            }
            Event::Scalar(text, style, ..) => {
                let plain = matches!(style, ScalarStyle::Plain);
                Some(Node { line, value: Value::Scalar(text.into_owned(), plain) })
            }
            Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag)
                if anchor > 0 || tag.is_some() =>
            {
                return refused("anchors and tags are not read");
            }
            Event::SequenceStart(..) | Event::MappingStart(..) if open.len() >= DEPTH_MAX => {
                return refused("this is nested too deep");
            }
            Event::SequenceStart(..) => {
                open.push(Open::List(line, Vec::new()));
                None
            }
            Event::MappingStart(..) => {
                open.push(Open::Map(line, Vec::new(), None));
                None
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open::List(line, items)) => Some(Node { line, value: Value::List(items) }),
                Some(Open::Map(line, entries, _)) => {
                    Some(Node { line, value: Value::Map(entries) })
                }
                None => None,
            },
            Event::Alias(_) => return refused("aliases are not read"),
            Event::DocumentStart(_) if root.is_some() => {
                return refused("a second document: only one is read");
            }
            _ => None,
        };
        let Some(node) = done else { continue };
        match open.last_mut() {
            None => root = Some(node),
            Some(Open::List(_, items)) => items.push(node),
            Some(Open::Map(_, entries, key)) => match key.take() {
                None => {
                    let again = |(known, _): &(Node, Node)| known.text() == node.text();
                    if entries.iter().any(again) {
                        let name = node.text().unwrap_or_default();
                        return Err(Fault {
                            line: node.line,
                            why: format!("\"{name}\" stands there twice"),
                        });
                    }
                    *key = Some(node);
                }
                Some(name) => entries.push((name, node)),
            },
        }
    }
    Ok(root.filter(|root| !root.is_null()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_know_their_lines_and_types() {
        let text = "a:\n  b: [1, \"1\", ~, true, 1.5, x]\n";
        let root = parse(text).unwrap().unwrap();
        let Value::Map(entries) = &root.value else { panic!() };
        let (name, value) = &entries[0];
        assert_eq!((name.text(), name.line, value.line), (Some("a"), 1, 2));
        assert_eq!(value.json().to_string(), r#"{"b":[1,"1",null,true,1.5,"x"]}"#);
        assert_eq!(parse("# nothing\n").unwrap(), None);
    }

    #[test]
    fn what_is_odd_is_refused_with_its_line() {
        let line = |text: &str| parse(text).unwrap_err().line;
        assert_eq!(line("a: 1\nb: &x 2\n"), 2);
        assert_eq!(line("a: 1\na: 2\n"), 2);
        assert_eq!(line("a: 1\nb: [\n"), 3);
        assert_eq!(line("---\na: 1\n---\nb: 1\n"), 3);
        assert!(parse(&"[".repeat(100_000)).is_err());
    }
}
