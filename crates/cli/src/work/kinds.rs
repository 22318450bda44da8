//! Kinds and versions of them, as `longshore work --kind` names them.

use std::str::FromStr;

use longshore_server::api::KindVersions;

/// A kind, or some of its versions: `invoice`, `invoice@4`, `invoice@2..3`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Named {
    kind: String,
    /// The first and the last; `None` for jobs without a version.
    versions: Option<(u32, u32)>,
}

/// The versions that a text names; none where it names no numbers.
fn versions(text: &str) -> Option<(u32, u32)> {
    match text.split_once("..") {
        Some((from, to)) => Some((from.parse().ok()?, to.parse().ok()?)),
        None => text.parse().ok().map(|version| (version, version)),
    }
}

impl FromStr for Named {
    type Err = String;

    /// What stands behind the last `@` is a part of the name where it names no numbers.
    fn from_str(text: &str) -> Result<Self, String> {
        let found = text.rsplit_once('@');
        let Some((kind, range)) = found.and_then(|(kind, of)| Some((kind, versions(of)?))) else {
            return Ok(Self { kind: text.to_owned(), versions: None });
        };
        if range.0 > range.1 {
            return Err(format!("{}..{}: the first version comes first", range.0, range.1));
        }
        Ok(Self { kind: kind.to_owned(), versions: Some(range) })
    }
}

/// The kinds that are named without versions; none where there are no such ones.
pub(super) fn without_version(named: &[Named]) -> Option<Vec<String>> {
    let plain = named.iter().filter(|it| it.versions.is_none());
    let plain: Vec<String> = plain.map(|it| it.kind.clone()).collect();
    (!plain.is_empty()).then_some(plain)
}

/// The versions that are named.
pub(super) fn with_versions(named: &[Named]) -> Vec<KindVersions> {
    let range = |it: &Named| {
        let (from, to) = it.versions?;
        Some(KindVersions { kind: it.kind.clone(), from, to })
    };
    named.iter().filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbers_behind_an_at() {
        let named = |text: &str| text.parse::<Named>().map(|it| (it.kind, it.versions));
        let is = |kind: &str, versions| Ok((kind.to_owned(), versions));
        assert_eq!(named("invoice"), is("invoice", None));
        assert_eq!(named("invoice@4"), is("invoice", Some((4, 4))));
        assert_eq!(named("invoice@0..3"), is("invoice", Some((0, 3))));
        assert_eq!(named("mail@shop"), is("mail@shop", None));
        assert_eq!(named("mail@shop@2"), is("mail@shop", Some((2, 2))));
        assert!(named("invoice@3..2").is_err());
    }
}
