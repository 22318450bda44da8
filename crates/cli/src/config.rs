//! `longshore.toml`: what holds where neither a flag nor the environment says otherwise. Unknown
//! keys are errors with a suggestion. The server's sections are the server's to read.

use std::ffi::{OsStr, OsString};
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
    pub(crate) ca: Option<PathBuf>,
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
    ("client", &["server", "namespace", "ca", "output"]),
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
        environment: Vec<(String, OsString)>,
        flags: Vec<(String, OsString)>,
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

/// A path; the others are texts.
const CONFIG: &str = "LONGSHORE_CONFIG";

/// Variables that commands read, besides those of the server.
const VARIABLES: &[&str] = &[
    CONFIG,
    "LONGSHORE_SERVER",
    "LONGSHORE_NAMESPACE",
    "LONGSHORE_CA",
    "LONGSHORE_TOKEN",
    "LONGSHORE_TOKEN_FILE",
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
    "LONGSHORE_CURSOR",
    "LONGSHORE_INTERRUPT",
    "LONGSHORE_NEXT",
    "LONGSHORE_KIND_VERSION",
    "LONGSHORE_ATTEMPT",
    "LONGSHORE_MAX_ATTEMPTS",
    "LONGSHORE_LEASE_TOKEN",
    "LONGSHORE_PARENT",
];

/// Variables of the tests and of `cargo xtask`, which may start this binary below them.
const OF_TESTS: &[&str] = &[
    "LONGSHORE_BIN",
    "LONGSHORE_BLESS",
    "LONGSHORE_FULL",
    "LONGSHORE_MAY_SKIP",
    "LONGSHORE_SEED",
    "LONGSHORE_SEEDS",
    "LONGSHORE_SKIPPED",
    "LONGSHORE_STEPS",
    "LONGSHORE_STORE_FLIPS_IN",
    "LONGSHORE_STORE_KILLED_IN",
    "LONGSHORE_TEST_FAILING_JOURNAL",
];

/// Whether Kubernetes made the variable: it tells every container of every service in its
/// namespace, and one may be called `longshore`.
fn is_of_kubernetes(name: &str, value: &str) -> bool {
    let is_address = ["tcp://", "udp://", "sctp://"].iter().any(|it| value.starts_with(it));
    let is_part = ["_TCP", "_UDP", "_SCTP"].iter().any(|it| name.contains(it));
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || (name.contains("_PORT_") && is_part)
        || (name.ends_with("_PORT") && is_address)
}

/// Variables that begin as ours do. A name that is not UTF-8 is none that we know.
pub(crate) fn variables() -> impl Iterator<Item = (String, OsString)> {
    let variables = std::env::vars_os();
    let named = variables.map(|(name, value)| (name.to_string_lossy().into_owned(), value));
    named.filter(|(name, _)| name.starts_with(PREFIX))
}

/// Refuses variables that begin as ours do and mean nothing, since whoever sets one believes that
/// it does something, and texts that are none.
pub(crate) fn check_variables(
    variables: impl Iterator<Item = (String, OsString)>,
) -> Result<(), Failure> {
    let mut ours = variables.filter(|(name, _)| name.starts_with(PREFIX)).peekable();
    if ours.peek().is_none() {
        return Ok(());
    }
    let (mut known, mut paths) = (Vec::new(), vec![CONFIG.to_owned(), "LONGSHORE_CA".to_owned()]);
    for knob in ServerConfig::knobs() {
        if knob.is_path {
            paths.push(knob.variable.clone());
        }
        known.push(knob.variable);
    }
    known.extend(VARIABLES.iter().map(|name| (*name).to_owned()));
    let is_text = |name: &String| {
        let is_ours = known.contains(name) || SET_BY_US.contains(&name.as_str());
        is_ours && !paths.contains(name)
    };
    let unknown = |name: &String, value: &OsStr| {
        let is_known = known.contains(name)
            || SET_BY_US.contains(&name.as_str())
            || OF_TESTS.contains(&name.as_str());
        !is_known && !is_of_kubernetes(name, &value.to_string_lossy())
    };
    let at_fault = ours
        .find(|(name, value)| unknown(name, value) || (is_text(name) && value.to_str().is_none()));
    let Some((name, value)) = at_fault else { return Ok(()) };
    if is_text(&name) {
        let given = value.to_string_lossy();
        return Err(Failure::usage(format!("the variable {name} is \"{given}\": not UTF-8")));
    }
    // Without what all of them have in common, which would make any two alike.
    let rest = |name: &str| name.strip_prefix(PREFIX).unwrap_or(name).to_owned();
    let rests: Vec<_> = known.iter().map(|name| rest(name)).collect();
    let meant = suggest(&rest(&name), rests.iter().map(String::as_str));
    let failure = Failure::usage(format!("the variable {name} is set, but means nothing"));
    Err(match meant {
        Some(meant) => failure.hint(format!("did you mean {PREFIX}{meant}?")),
        None => failure.hint("docs/configuration.md and docs/cli.md list the variables; unset it"),
    })
}

/// How every variable of ours begins.
const PREFIX: &str = "LONGSHORE_";

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        Config::parse(text, Path::new("longshore.toml")).unwrap_err().message
    }

    #[test]
    fn every_key_is_read() {
        let config = Config::parse(
            "[client]\nserver = 'http://127.0.0.1:1'\nnamespace = 'shop'\nca = 'c'\noutput = 'json'\n\
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

    fn check(name: &str, value: &str) -> Result<(), Failure> {
        check_variables([(name.to_owned(), value.into())].into_iter())
    }

    #[test]
    fn variables_that_mean_nothing_are_errors_with_a_suggestion() {
        for (name, meant) in [
            ("LONGSHORE_SEVER", Some("LONGSHORE_SERVER")),
            ("LONGSHORE_HTTP_BODY_BYTE_MAX", Some("LONGSHORE_HTTP_BODY_BYTES_MAX")),
            ("LONGSHORE_LISTEN_ADDRESS", Some("LONGSHORE_LISTEN")),
            ("LONGSHORE_ZZZ", None),
        ] {
            let failure = check(name, "7").unwrap_err();
            assert!(failure.message.contains(name) && failure.kind.code() == 2, "{failure}");
            let hint = failure.hint.unwrap();
            match meant {
                Some(meant) => assert_eq!(hint, format!("did you mean {meant}?")),
                None => assert!(hint.contains("docs/configuration.md"), "{hint}"),
            }
        }
        assert!(check("LONGSHORE_PORT", "8080").is_err(), "no port of Kubernetes");
    }

    #[test]
    fn variables_that_others_set_are_left_alone() {
        for (name, value) in [
            ("PATH", "/bin"),
            ("LONGSHORE_JOB_ID", "7"),
            ("LONGSHORE_FULL", "1"),
            ("LONGSHORE_HTTP_BODY_BYTES_MAX", "7"),
            ("LONGSHORE_PORT", "tcp://10.0.0.1:7077"),
            ("LONGSHORE_PORT_7077_TCP_ADDR", "10.0.0.1"),
            ("LONGSHORE_SERVICE_HOST", "10.0.0.1"),
            ("LONGSHORE_SERVICE_PORT_HTTP", "7077"),
        ] {
            assert!(check(name, value).is_ok(), "{name}");
        }
    }

    #[test]
    fn only_paths_need_not_be_utf_8() {
        use std::os::unix::ffi::OsStrExt;
        let odd = OsStr::from_bytes(b"x\xff");
        let check = |name: &str| check_variables([(name.to_owned(), odd.into())].into_iter());
        for name in ["LONGSHORE_DATA", "LONGSHORE_CONFIG", "LONGSHORE_BIN", "PATH"] {
            assert!(check(name).is_ok(), "{name}");
        }
        for name in ["LONGSHORE_SERVER", "LONGSHORE_LISTEN", "LONGSHORE_PARENT", "LONGSHORE_LOG"] {
            let failure = check(name).unwrap_err();
            assert!(failure.message.contains(&format!("{name} is")), "{failure}");
            assert!(failure.message.ends_with("not UTF-8"), "{failure}");
        }
    }
}
