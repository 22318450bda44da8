//! Which package may depend on which. Dependencies point down only, and the deterministic part
//! has no runtime.

use super::report::Violation;
use crate::metadata::Package;

/// One package of the workspace, and what of the workspace it may depend on directly.
struct Layer {
    package: &'static str,
    below: &'static [&'static str],
    /// Whether it may use an asynchronous runtime or HTTP.
    runtime: bool,
}

const AMQP: &str = "longshore-amqp";
const ENGINE: &str = "longshore-engine";
const JOURNAL: &str = "longshore-journal";
const STORE: &str = "longshore-store";
const NODE: &str = "longshore-node";
const SERVER: &str = "longshore-server";
const CLI: &str = "longshore-cli";
const PROTO: &str = "longshore-proto";
const SIM: &str = "longshore-sim";
const BACKUP: &str = "longshore-backup";
const STREAMS: &str = "longshore-streams";
const KAFKA: &str = "longshore-kafka";
const DERIVE: &str = "longshore-derive";
const SDK: &str = "longshore";
const TESTS: &str = "longshore-tests";

/// From the bottom up.
const LAYERS: &[Layer] = &[
    Layer { package: ENGINE, below: &[], runtime: false },
    Layer { package: AMQP, below: &[ENGINE], runtime: false },
    Layer { package: PROTO, below: &[], runtime: true },
    Layer { package: JOURNAL, below: &[ENGINE], runtime: false },
    Layer { package: STORE, below: &[ENGINE], runtime: false },
    Layer { package: STREAMS, below: &[ENGINE, JOURNAL], runtime: false },
    Layer { package: KAFKA, below: &[], runtime: false },
    Layer { package: SIM, below: &[ENGINE, JOURNAL, STORE, STREAMS], runtime: false },
    Layer { package: NODE, below: &[ENGINE, JOURNAL, STORE, STREAMS], runtime: true },
    Layer { package: BACKUP, below: &[ENGINE, JOURNAL, NODE, STORE, STREAMS], runtime: true },
    Layer {
        package: SERVER,
        below: &[AMQP, BACKUP, DERIVE, ENGINE, KAFKA, NODE, PROTO, STREAMS],
        runtime: true,
    },
    Layer { package: DERIVE, below: &[], runtime: false },
    // Itself: its tests turn its features on. The server: for the embedded one. The black-box
    // tests: its own borrow their database.
    Layer { package: SDK, below: &[DERIVE, PROTO, SDK, SERVER, TESTS], runtime: true },
    Layer {
        package: CLI,
        below: &[AMQP, BACKUP, ENGINE, JOURNAL, PROTO, STORE, STREAMS, SERVER, TESTS],
        runtime: true,
    },
    Layer {
        package: "longshore-fuzz",
        below: &[AMQP, ENGINE, JOURNAL, KAFKA, PROTO, STORE, STREAMS, SERVER],
        runtime: false,
    },
    Layer {
        package: TESTS,
        below: &[AMQP, ENGINE, JOURNAL, PROTO, SDK, STORE, SERVER, CLI, SIM],
        runtime: true,
    },
    Layer {
        package: "longshore-benches",
        below: &[AMQP, ENGINE, JOURNAL, PROTO, STORE, SERVER, SDK, CLI],
        runtime: true,
    },
    Layer { package: "xtask", below: &[], runtime: false },
];

/// How the names of runtimes and of what brings them along begin.
const RUNTIMES: &[&str] = &["tokio", "hyper", "http-body", "async-", "smol", "mio", "futures"];

/// The violations of all packages of the workspace.
pub(super) fn check(packages: &[Package]) -> Vec<Violation> {
    let mut found = Vec::new();
    for package in packages {
        let mut say = |message: String| found.push(Violation::new(&package.name, 0, message));
        let Some(layer) = LAYERS.iter().find(|layer| layer.package == package.name) else {
            say(format!("has no layer: give it one in {}", file!()));
            continue;
        };
        for dependency in &package.dependencies {
            let ours = packages.iter().any(|package| package.name == *dependency);
            if ours && !layer.below.contains(&dependency.as_str()) {
                say(format!("may not depend on {dependency}: it is not below it"));
            }
            if !layer.runtime && RUNTIMES.iter().any(|it| dependency.starts_with(it)) {
                say(format!(
                    "may not depend on {dependency}: the engine and what lies on disk have none"
                ));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(packages: &[(&str, &[&str])]) -> Vec<String> {
        let packages: Vec<_> = packages
            .iter()
            .map(|(name, dependencies)| Package {
                name: (*name).to_owned(),
                dependencies: dependencies.iter().map(|it| (*it).to_owned()).collect(),
                binaries: Vec::new(),
            })
            .collect();
        check(&packages).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn down_is_allowed() {
        let packages: &[(&str, &[&str])] = &[
            (ENGINE, &["bytes"]),
            (JOURNAL, &[ENGINE, "rustix"]),
            (SERVER, &[NODE, "tokio"]),
            (NODE, &[JOURNAL]),
        ];
        assert!(messages(packages).is_empty());
    }

    #[test]
    fn up_and_sideways_is_not() {
        let found = messages(&[(ENGINE, &[JOURNAL]), (JOURNAL, &[]), (STORE, &[JOURNAL])]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("longshore-engine: may not depend on longshore-journal"));
    }

    #[test]
    fn a_runtime_below_the_server_is_seen() {
        for runtime in ["tokio", "hyper-util", "http-body-util"] {
            assert_eq!(messages(&[(ENGINE, &[runtime])]).len(), 1, "{runtime}");
        }
    }

    #[test]
    fn a_package_without_a_layer_is_seen() {
        assert!(messages(&[("longshore-common", &[])])[0].contains("has no layer"));
    }
}
