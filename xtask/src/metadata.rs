//! The workspace's packages as `cargo metadata` lists them: only what the checks need.

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::steps::cargo;

/// A package of the workspace.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// Names of what it depends on directly, also for building and testing.
    pub(crate) dependencies: Vec<String>,
    /// Names of its binaries.
    pub(crate) binaries: Vec<String>,
}

/// Asks cargo for the packages of the workspace. Needs no network.
pub(crate) fn packages() -> Result<Vec<Package>> {
    let mut command = cargo(&["metadata", "--no-deps", "--format-version", "1"]);
    let output = command.output().context("cannot start `cargo metadata`")?;
    if !output.status.success() {
        bail!("`cargo metadata` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    parse(&output.stdout)
}

fn parse(json: &[u8]) -> Result<Vec<Package>> {
    let metadata: Value = serde_json::from_slice(json).context("cargo metadata is not JSON")?;
    list(&metadata, "packages")?.iter().map(package).collect()
}

fn package(value: &Value) -> Result<Package> {
    let dependencies = list(value, "dependencies")?.iter().map(|it| text(it, "name"));
    let targets = list(value, "targets")?.iter();
    let binaries = targets.filter(|it| it["kind"][0] == "bin").map(|it| text(it, "name"));
    Ok(Package {
        name: text(value, "name")?,
        dependencies: dependencies.collect::<Result<_>>()?,
        binaries: binaries.collect::<Result<_>>()?,
    })
}

fn list<'a>(value: &'a Value, key: &str) -> Result<&'a Vec<Value>> {
    value[key].as_array().with_context(|| format!("cargo metadata has no list '{key}'"))
}

fn text(value: &Value, key: &str) -> Result<String> {
    let found = value[key].as_str().with_context(|| format!("cargo metadata has no '{key}'"))?;
    Ok(found.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_dependencies_and_binaries() {
        let json = br#"{"packages": [{"name": "a",
            "dependencies": [{"name": "b", "kind": null}, {"name": "c", "kind": "dev"}],
            "targets": [{"name": "a", "kind": ["lib"]}, {"name": "tool", "kind": ["bin"]}]}]}"#;
        let expected = Package {
            name: "a".into(),
            dependencies: vec!["b".into(), "c".into()],
            binaries: vec!["tool".into()],
        };
        assert_eq!(parse(json).unwrap(), [expected]);
    }

    #[test]
    fn names_what_is_missing() {
        let error = parse(br#"{"packages": [{"name": "a"}]}"#).unwrap_err().to_string();
        assert!(error.contains("dependencies"), "{error}");
    }
}
