//! Who sees the fields of what the engine's `State` holds: the module that owns them, and no other.
//! Others go by methods.

use super::report::Violation;
use super::source::Source;

/// Where `State` is declared, and below which folder its parts are.
const STATE: &str = "crates/engine/src/state.rs";
const ENGINE: &str = "crates/engine/src/";

/// What its parts hold one of for each queue, namespace or lease, and lend to others.
const LENT: &[&str] = &["LiveLease", "NamespaceSlot", "Shelf"];

/// Adds a violation for each field of a part of `State` that the whole crate sees.
pub(super) fn check(sources: &[Source], found: &mut Vec<Violation>) {
    let Some(state) = sources.iter().find(|source| source.path == STATE) else { return };
    let fields = body_of(&state.text, "State");
    let types = fields.iter().filter_map(|(_, line)| line.split_once(": "));
    let types = types.map(|(_, of)| of.trim_end_matches(',').rsplit("::").next().unwrap_or(of));
    let parts: Vec<_> = types.chain(LENT.iter().copied()).collect();
    for source in sources.iter().filter(|source| source.path.starts_with(ENGINE)) {
        for part in &parts {
            let tuple = format!("pub(crate) struct {part}(");
            let tuples = source.text.lines().enumerate().filter_map(|(index, line)| {
                line.strip_prefix(&*tuple).map(|fields| (index + 1, fields))
            });
            for (number, line) in body_of(&source.text, part).into_iter().chain(tuples) {
                if line.starts_with("pub(crate) ") || line.starts_with("pub ") {
                    let message = format!(
                        "a field of `{part}`, which `State` holds: only the module that owns it \
                         sees it"
                    );
                    found.push(Violation::new(&source.path, number, message));
                }
            }
        }
    }
}

/// The lines between the braces of a type of the crate, with their numbers.
fn body_of<'a>(text: &'a str, name: &str) -> Vec<(usize, &'a str)> {
    let first = format!("pub(crate) struct {name} {{");
    let lines = text.lines().enumerate().skip_while(|(_, line)| *line != first).skip(1);
    let body = lines.take_while(|(_, line)| *line != "}");
    body.map(|(index, line)| (index + 1, line.trim())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found_in(part: &str) -> Vec<String> {
        let state =
            "//! A.\npub(crate) struct State {\n    pub(crate) parts: crate::a::Parts,\n}\n";
        let sources = [Source::new(STATE, state), Source::new("crates/engine/src/a.rs", part)];
        let mut found = Vec::new();
        check(&sources, &mut found);
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_field_that_its_module_alone_sees() {
        let part = "pub(crate) struct Parts {\n    a: u8,\n    pub(super) b: u8,\n}\n";
        assert!(found_in(part).is_empty());
        assert!(found_in("pub(crate) struct Other {\n    pub(crate) a: u8,\n}\n").is_empty());
    }

    #[test]
    fn a_field_that_the_crate_sees() {
        let found = found_in("pub(crate) struct Parts {\n    a: u8,\n    pub(crate) b: u8,\n}\n");
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("crates/engine/src/a.rs:3: a field of `Parts`"), "{found:?}");
        let tuple = found_in("pub(crate) struct Parts(pub(crate) u8);\n");
        assert_eq!(tuple.len(), 1);
        let lent = found_in("pub(crate) struct Shelf {\n    pub(crate) a: u8,\n}\n");
        assert_eq!(lent.len(), 1);
    }
}
