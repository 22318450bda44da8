//! Links in the documentation: every relative one leads to a file, and to a heading where it
//! names one.

use std::collections::{BTreeMap, BTreeSet};

use super::report::Violation;
use super::source::Source;

/// Adds the links that lead nowhere, of all Markdown files.
pub(super) fn check(sources: &[Source], found: &mut Vec<Violation>) {
    let mut paths = BTreeSet::new();
    for source in sources {
        // Folders can be linked to as well.
        paths.extend(source.path.match_indices('/').map(|(at, _)| &source.path[..at]));
        paths.insert(source.path.as_str());
    }
    let markdown = || sources.iter().filter(|source| source.is_markdown());
    let anchors: BTreeMap<_, _> =
        markdown().map(|source| (source.path.as_str(), anchors(source))).collect();
    for source in markdown() {
        for (number, link) in links(source) {
            let (target, anchor) = link.split_once('#').unwrap_or((link, ""));
            let path = resolve(&source.path, target);
            let Some(path) = path.filter(|path| paths.contains(path.as_str())) else {
                let message = format!("'{link}' leads to no file of the repository");
                found.push(Violation::new(&source.path, number, message));
                continue;
            };
            let headings = anchors.get(path.as_str());
            if !anchor.is_empty() && headings.is_some_and(|it| !it.contains(anchor)) {
                let message = format!("'{link}': {path} has no heading '#{anchor}'");
                found.push(Violation::new(&source.path, number, message));
            }
        }
    }
}

/// The relative links of a file, with the numbers of their lines.
fn links(source: &Source) -> Vec<(usize, &str)> {
    let mut links = Vec::new();
    for (number, line) in prose(source) {
        let inline = line.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
        let reference = line
            .strip_prefix('[')
            .and_then(|rest| rest.split_once("]: "))
            .and_then(|(_, target)| target.split_whitespace().next());
        for link in inline.chain(reference) {
            if !link.is_empty() && !link.contains(':') {
                links.push((number, link));
            }
        }
    }
    links
}

/// The lines outside of fenced code.
fn prose(source: &Source) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    source.lines().filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// The anchors that the headings of a file get from a renderer.
fn anchors(source: &Source) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for (_, line) in prose(source).filter(|(_, line)| line.starts_with('#')) {
        let base = anchor(line.trim_start_matches('#').trim());
        let mut candidate = base.clone();
        for repetition in 1.. {
            if anchors.insert(candidate) {
                break;
            }
            candidate = format!("{base}-{repetition}");
        }
    }
    anchors
}

fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

/// The path that a link in the file `from` leads to, or nothing where that is outside.
fn resolve(from: &str, target: &str) -> Option<String> {
    if target.is_empty() {
        return Some(from.to_owned());
    }
    let mut parts: Vec<&str> = match target.strip_prefix('/') {
        Some(_) => Vec::new(),
        None => from.split('/').collect(),
    };
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(text: &str) -> Vec<String> {
        let sources = [
            Source::new("README.md", text),
            Source::new("docs/a.md", "# The `a_b` way: it's 1st\n\n## Twice\n\n## Twice\n"),
            Source::new("docs/b.md", "[up](../README.md) [beside](a.md) [root](/docs/a.md)\n"),
        ];
        let mut found = Vec::new();
        check(&sources, &mut found);
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn links_that_lead_somewhere() {
        let text = "# Here\n[a](docs/a.md), [f](docs/), [g](docs), [h](#here),\n\
            [web](https://example.org/x), [one](docs/a.md#the-a_b-way-its-1st),\n\
            [two](docs/a.md#twice-1)\n[ref]: docs/b.md\n```\n[code](nowhere.md)\n```\n";
        assert_eq!(messages(text), [""; 0]);
    }

    #[test]
    fn links_that_lead_nowhere() {
        for text in [
            "[a](docs/nowhere.md)",
            "[a](../docs/a.md)",
            "[a](docs/a.md#nothing)",
            "[a](#nothing)",
            "[a]: nowhere.md",
        ] {
            let found = messages(text);
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert!(found[0].starts_with("README.md:1: '"), "{found:?}");
        }
    }
}
