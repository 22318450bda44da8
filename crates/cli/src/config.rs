//! `longshore.toml`: what holds where neither a flag nor the environment says otherwise. Unknown
//! keys are errors with a suggestion. The server's sections are the server's to read.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use longshore_server::config::{ServerConfig, Sources};
use serde::Deserialize;

use crate::failure::Failure;
use crate::output::Format;

/// Where the file is looked for unless another is named.
const DEFAULT_PATH: &str = "longshore.toml";

/// The sections that are read here. Every key may be absent.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Config {
    pub(crate) client: ClientConfig,
    pub(crate) work: WorkConfig,
    /// The whole file, for the server.
    #[serde(skip)]
    file: Option<(PathBuf, String)>,
}

/// For every command that asks a server.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ClientConfig {
    pub(crate) server: Option<String>,
    pub(crate) namespace: Option<String>,
    pub(crate) output: Option<Format>,
}

/// For `longshore work`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct WorkConfig {
    pub(crate) queues: Option<Vec<String>>,
    pub(crate) exec: Option<String>,
    pub(crate) concurrency: Option<usize>,
    pub(crate) lease: Option<String>,
    pub(crate) grace: Option<String>,
}

/// Every key that is read here, by its section.
const KEYS: &[(&str, &[&str])] = &[
    ("client", &["server", "namespace", "output"]),
    ("work", &["queues", "exec", "concurrency", "lease", "grace"]),
];

impl Config {
    /// Reads the file that was named, or `longshore.toml` in the current folder if it is there.
    pub(crate) fn load(named: Option<&Path>) -> Result<Self, Failure> {
        let path = named.unwrap_or_else(|| Path::new(DEFAULT_PATH));
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, path),
            Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => {
                Ok(Self::default())
            }
            Err(error) => Err(Failure::usage(format!("cannot read {}: {error}", path.display()))),
        }
    }

    fn parse(text: &str, path: &Path) -> Result<Self, Failure> {
        let at_fault = |message: &str| Failure::usage(format!("{}: {message}", path.display()));
        let mut table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            at_fault(&format!("not TOML: {}", error.message()))
        })?;
        let knobs = ServerConfig::knobs();
        let servers = knobs.iter().filter_map(|knob| knob.key.split('.').next());
        let sections = || KEYS.iter().map(|(name, _)| *name).chain(servers.clone());
        for (section, value) in &table {
            if !sections().any(|known| known == section) {
                return Err(at_fault(&unknown("section", section, sections())));
            }
            let Some((_, keys)) = KEYS.iter().find(|(name, _)| name == section) else { continue };
            let entries = value
                .as_table()
                .ok_or_else(|| at_fault(&format!("{section} has to be a section: [{section}]")))?;
            if let Some(key) = entries.keys().find(|key| !keys.contains(&key.as_str())) {
                let name = format!("{section}.{key}");
                return Err(at_fault(&unknown("key", &name, keys.iter().copied())));
            }
        }
        table.retain(|section, _| KEYS.iter().any(|(name, _)| *name == section));
        let config: Self = table
            .try_into()
            .map_err(|error: toml::de::Error| at_fault(&one_line(&error.to_string())))?;
        let config = Self { file: Some((path.to_owned(), text.to_owned())), ..config };
        // A mistake in the server's sections is told whoever reads the file first.
        config.server(Vec::new(), Vec::new())?;
        Ok(config)
    }

    /// The server's configuration below these variables and flags.
    pub(crate) fn server(
        &self,
        environment: Vec<(String, String)>,
        flags: Vec<(String, String)>,
    ) -> Result<ServerConfig, Failure> {
        let foreign_sections = KEYS.iter().map(|(name, _)| (*name).to_owned()).collect();
        let sources = Sources { file: self.file.clone(), foreign_sections, environment, flags };
        ServerConfig::load(&sources).map_err(|error| Failure::usage(error.to_string()))
    }
}

fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    let last = name.rsplit('.').next().unwrap_or(name);
    let suggestion = match suggest(last, known.clone()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("there are: {}", known.collect::<Vec<_>>().join(", ")),
    };
    format!("unknown {what} \"{name}\"; {suggestion}")
}

/// The known name that is nearest to `name`, where one is near.
pub(crate) fn suggest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, known)| known)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Variables that commands read, besides those of the server.
const VARIABLES: &[&str] = &[
    "LONGSHORE_CONFIG",
    "LONGSHORE_SERVER",
    "LONGSHORE_NAMESPACE",
    "LONGSHORE_OUTPUT",
    "LONGSHORE_QUEUES",
    "LONGSHORE_EXEC",
    "LONGSHORE_CONCURRENCY",
    "LONGSHORE_LEASE",
    "LONGSHORE_GRACE",
    "LONGSHORE_LOG",
];

/// Variables that workers set for what they run, and that this binary sets for itself.
const SET_BY_US: &[&str] = &[
    "LONGSHORE_JOB_ID",
    "LONGSHORE_QUEUE",
    "LONGSHORE_KIND",
    "LONGSHORE_ATTEMPT",
    "LONGSHORE_MAX_ATTEMPTS",
    "LONGSHORE_TOKEN",
    "LONGSHORE_PARENT",
];

/// Notes about variables whose names look mistyped. They are no errors: containers put variables
/// of their own making into the environment.
pub(crate) fn mistyped_variables(names: impl Iterator<Item = String>) -> Vec<String> {
    let ours: Vec<_> = names.filter(|name| name.starts_with("LONGSHORE_")).collect();
    if ours.is_empty() {
        return Vec::new();
    }
    let mut known: Vec<_> = ServerConfig::knobs().into_iter().map(|knob| knob.variable).collect();
    known.extend(VARIABLES.iter().map(|name| (*name).to_owned()));
    ours.iter()
        .filter(|name| !known.contains(name) && !SET_BY_US.contains(&name.as_str()))
        .filter_map(|name| {
            let near = known.iter().find(|known| strsim::damerau_levenshtein(known, name) <= 2);
            near.map(|near| format!("{name} is set, but means nothing; did you mean {near}?"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        Config::parse(text, Path::new("longshore.toml")).unwrap_err().message
    }

    #[test]
    fn every_key_is_read() {
        let config = Config::parse(
            "[client]\nserver = 'http://127.0.0.1:1'\nnamespace = 'shop'\noutput = 'json'\n\
             [serve]\nlisten = '127.0.0.1:1'\ndata = 'd'\nshards = 3\n\
             [work]\nqueues = ['a', 'b*']\nexec = 'x'\nconcurrency = 2\nlease = '1m'\ngrace = '5s'",
            Path::new("x"),
        )
        .unwrap();
        assert_eq!(config.client.output, Some(Format::Json));
        assert_eq!(config.server(Vec::new(), Vec::new()).unwrap().node.shards, 3);
        assert_eq!(config.work.queues.unwrap(), ["a", "b*"]);
    }

    #[test]
    fn unknown_keys_come_with_a_suggestion() {
        let said = message("[serve]\nlistne = 'x'");
        assert!(said.contains("serve.listne") && said.contains("serve.listen"), "{said}");
        assert_eq!(
            message("[server]\n"),
            "longshore.toml: unknown section \"server\"; did you mean \"serve\"?"
        );
        assert_eq!(
            message("[work]\nzzz = 1"),
            "longshore.toml: unknown key \"work.zzz\"; there are: queues, exec, concurrency, \
             lease, grace"
        );
        assert!(message("work = 1").contains("work has to be a section"));
        assert!(message("[serve]\nshards = 'many'").contains("shards"));
        assert!(message("[serve").contains("not TOML"));
    }

    #[test]
    fn a_named_file_has_to_be_there() {
        assert!(Config::load(Some(Path::new("absent/longshore.toml"))).is_err());
    }

    #[test]
    fn mistyped_variables_are_noticed() {
        let names = ["LONGSHORE_SEVER", "LONGSHORE_JOB_ID", "LONGSHORE_PORT_7077_TCP", "PATH"];
        let notes = mistyped_variables(names.iter().map(ToString::to_string));
        assert_eq!(notes.len(), 1, "{notes:?}");
        assert!(notes[0].ends_with("did you mean LONGSHORE_SERVER?"));
    }
}
