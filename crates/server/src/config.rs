//! The server's configuration: one struct per concern, composed once. Flags stand over the
//! environment over `longshore.toml` over the defaults; what nobody knows is an error.

mod knobs;
mod value;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use knobs::KNOBS;
use longshore_node::NodeConfig;

/// Where the server listens unless told otherwise.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:7077";
/// Where the store lies unless told otherwise.
pub const DEFAULT_DATA: &str = ".longshore";

/// Everything that can be set.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The address to listen at; a loopback address unless accounts are required.
    pub listen: String,
    /// The address to listen at for AMQP; a loopback address unless accounts are required. Nobody
    /// listens without one.
    pub amqp_listen: Option<String>,
    /// The address to listen at for HTTP and gRPC over TLS. Nobody listens without one.
    pub https_listen: Option<String>,
    /// The address to listen at for AMQP over TLS. Nobody listens without one.
    pub amqps_listen: Option<String>,
    /// Certificates.
    pub tls: crate::tls::TlsConfig,
    /// The HTTP face.
    pub http: HttpConfig,
    /// The AMQP face.
    pub amqp: AmqpConfig,
    /// The Kafka face.
    pub kafka: crate::kafka::KafkaConfig,
    /// The management face.
    pub management: crate::management::ManagementConfig,
    /// Who may come in.
    pub access: crate::access::AccessConfig,
    /// The store and its shards.
    pub node: NodeConfig,
    /// Second copies.
    pub ship: crate::copies::ShipConfig,
}

/// Bounds of the HTTP face.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HttpConfig {
    /// Connections that may be open and used for everything.
    pub connections_max: usize,
    /// Connections beyond them that publish nothing; the last half of them only settles and
    /// administers.
    pub connections_reserved: usize,
    /// Bytes of a request's line and headers; at least 8 KiB.
    pub header_bytes_max: usize,
    /// Bytes of a body that brings jobs or results.
    pub body_bytes_max: u64,
    /// Enqueue requests in flight.
    pub publishes_max: usize,
    /// Bytes of their bodies.
    pub publish_bytes_max: u64,
    /// Requests in flight that wait for jobs or for a job's end.
    pub waits_max: usize,
    /// Settlements, heartbeats and requests of administrators in flight.
    pub settlements_max: usize,
    /// Bytes of bodies kept free for each of leases and settlements.
    pub reserved_bytes_max: u64,
    /// Bytes of answers that their readers have not taken; questions get at most three quarters.
    pub answer_bytes_max: u64,
    /// How long a request's line and headers may take to arrive.
    pub header_timeout: Duration,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// How long a peer may be behind with an answer, of which it has to take 16 KiB in a second.
    pub write_timeout: Duration,
    /// How long a connection may be idle.
    pub idle_timeout: Duration,
    /// How long it may be idle where room is short.
    pub idle_spared: Duration,
    /// How long the leases of a worker's session outlive its broken stream.
    pub worker_reconnect: Duration,
    /// How long connections have to end when the server stops.
    pub stop_timeout: Duration,
    /// Queues that metrics name; the rest is summed up as `other`.
    pub metrics_queues_max: usize,
    /// Origins such as `https://app.example` that a finished job may send its client to.
    pub location_origins: Vec<String>,
}

/// Bounds of the AMQP face. Its connections count with those of HTTP.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AmqpConfig {
    /// Channels of a connection.
    pub channels_max: u16,
    /// Bytes of a frame; at least 4 KiB.
    pub frame_bytes_max: u32,
    /// Bytes of a message's body.
    pub message_bytes_max: u64,
    /// How often a sign of life is asked for, in whole seconds; 0 for never.
    pub heartbeat: Duration,
}

impl Default for AmqpConfig {
    fn default() -> Self {
        Self {
            channels_max: 2047,
            frame_bytes_max: 128 << 10,
            message_bytes_max: 16 << 20,
            heartbeat: Duration::from_secs(60),
        }
    }
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            connections_reserved: 500,
            header_bytes_max: 64 << 10,
            body_bytes_max: 24 << 20,
            publishes_max: 4096,
            publish_bytes_max: 128 << 20,
            waits_max: 10_000,
            settlements_max: 4096,
            reserved_bytes_max: 64 << 20,
            answer_bytes_max: 256 << 20,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(300),
            idle_spared: Duration::from_secs(1),
            worker_reconnect: Duration::from_secs(10),
            stop_timeout: Duration::from_secs(10),
            metrics_queues_max: 50,
            location_origins: Vec::new(),
        }
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: DEFAULT_LISTEN.to_owned(),
            amqp_listen: None,
            https_listen: None,
            amqps_listen: None,
            tls: crate::tls::TlsConfig::default(),
            http: HttpConfig::default(),
            amqp: AmqpConfig::default(),
            kafka: crate::kafka::KafkaConfig::default(),
            management: crate::management::ManagementConfig::default(),
            access: crate::access::AccessConfig::default(),
            node: NodeConfig::new(DEFAULT_DATA),
            ship: crate::copies::ShipConfig::default(),
        }
    }
}

/// Where values come from, the weakest first.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file's path and text.
    pub file: Option<(PathBuf, String)>,
    /// Sections of the file that somebody else reads and checks.
    pub foreign_sections: Vec<String>,
    /// The environment, or what of it matters. Only paths need not be UTF-8.
    pub environment: Vec<(String, OsString)>,
    /// Flags: a key such as `serve.listen` and its value.
    pub flags: Vec<(String, OsString)>,
}

/// Why the configuration cannot be used.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
pub enum ConfigError {
    /// The file is no TOML.
    #[error("{path} is not TOML: {message}")]
    FileMalformed {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        message: String,
    },
    /// Nobody knows this key.
    #[error("{place}: \"{key}\" is not known{hint}")]
    KeyUnknown {
        /// The file or the flags.
        place: String,
        /// The key.
        key: String,
        /// What was probably meant.
        hint: String,
    },
    /// The value is not allowed.
    #[error("{place}: {key} is \"{value}\"; allowed: {allowed}")]
    ValueRefused {
        /// The file, the variable or the flags.
        place: String,
        /// The key.
        key: String,
        /// What was given.
        value: String,
        /// What may be given.
        allowed: String,
    },
}

/// One thing that can be set, for the reference page.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Knob {
    /// Its key in the file: section and name.
    pub key: &'static str,
    /// Its environment variable.
    pub variable: String,
    /// What it means.
    pub about: &'static str,
    /// What holds where nobody says.
    pub default: String,
    /// Whether it is a path, which need not be UTF-8.
    pub is_path: bool,
}

impl ServerConfig {
    /// Puts the configuration together.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        if let Some((path, text)) = &sources.file {
            let place = path.display().to_string();
            let table: toml::Table =
                text.parse().map_err(|error: toml::de::Error| ConfigError::FileMalformed {
                    path: path.clone(),
                    message: error.message().to_owned(),
                })?;
            let own =
                table.iter().filter(|(section, _)| !sources.foreign_sections.contains(section));
            for (section, value) in own {
                config.take_section(&place, section, value)?;
            }
        }
        for (name, value) in &sources.environment {
            let knob = KNOBS.iter().find(|knob| variable(knob.key) == *name);
            if let Some(knob) = knob {
                config.set(name, knob, value)?;
            }
        }
        for (key, value) in &sources.flags {
            let knob = KNOBS.iter().find(|knob| knob.key == key);
            let knob = knob.ok_or_else(|| unknown("the flags", key))?;
            config.set("the flags", knob, value)?;
        }
        Ok(config)
    }

    /// Everything that can be set, in order.
    pub fn knobs() -> Vec<Knob> {
        let defaults = Self::default();
        let knob = |knob: &knobs::Row| Knob {
            key: knob.key,
            variable: variable(knob.key),
            about: knob.about,
            default: (knob.show)(&defaults),
            is_path: matches!(knob.set, knobs::Set::Path(_)),
        };
        KNOBS.iter().map(knob).collect()
    }

    fn take_section(
        &mut self,
        place: &str,
        section: &str,
        value: &toml::Value,
    ) -> Result<(), ConfigError> {
        let toml::Value::Table(entries) = value else { return Err(unknown(place, section)) };
        if entries.is_empty() && !knows_section(section) {
            return Err(unknown(place, section));
        }
        for (name, value) in entries {
            let key = format!("{section}.{name}");
            let knob = KNOBS.iter().find(|knob| knob.key == key);
            let knob = knob.ok_or_else(|| unknown(place, &key))?;
            let text = value::of_toml(value).ok_or_else(|| ConfigError::ValueRefused {
                place: place.to_owned(),
                key: key.clone(),
                value: value.to_string(),
                allowed: "a text, a number, or a list of texts".to_owned(),
            })?;
            self.set(place, knob, OsStr::new(&text))?;
        }
        Ok(())
    }

    fn set(&mut self, place: &str, knob: &knobs::Row, value: &OsStr) -> Result<(), ConfigError> {
        let set = match knob.set {
            knobs::Set::Text(set) => {
                value.to_str().ok_or_else(|| "UTF-8".to_owned()).and_then(|text| set(self, text))
            }
            knobs::Set::Path(set) => {
                set(self, value.into());
                Ok(())
            }
        };
        set.map_err(|allowed| ConfigError::ValueRefused {
            place: place.to_owned(),
            key: knob.key.to_owned(),
            value: value.to_string_lossy().into_owned(),
            allowed,
        })
    }
}

fn knows_section(section: &str) -> bool {
    KNOBS.iter().any(|knob| knob.key.split('.').next() == Some(section))
}

/// The environment variable of a key: what belongs to `serve` goes without the section.
fn variable(key: &str) -> String {
    let name = key.strip_prefix("serve.").unwrap_or(key);
    format!("LONGSHORE_{}", name.replace('.', "_").to_ascii_uppercase())
}

fn unknown(place: &str, key: &str) -> ConfigError {
    let close = KNOBS
        .iter()
        .map(|knob| (strsim::jaro_winkler(key, knob.key), knob.key))
        .filter(|(distance, _)| *distance >= 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let hint = close.map(|(_, meant)| format!("; did you mean \"{meant}\"?")).unwrap_or_default();
    ConfigError::KeyUnknown { place: place.to_owned(), key: key.to_owned(), hint }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Write;

    use super::*;

    fn load(
        file: &str,
        environment: &[(&str, &str)],
        flags: &[(&str, &str)],
    ) -> Result<ServerConfig, ConfigError> {
        let pairs = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect()
        };
        ServerConfig::load(&Sources {
            file: Some(("longshore.toml".into(), file.to_owned())),
            foreign_sections: vec!["client".into()],
            environment: pairs(environment),
            flags: pairs(flags),
        })
    }

    #[test]
    fn flags_stand_over_the_environment_over_the_file() {
        let file = "[client]\nanything = 1\n[serve]\nlisten = \"127.0.0.1:1\"\nshards = 3\n\
                    [http]\nbody_bytes_max = \"4MiB\"\n";
        let variables =
            [("LONGSHORE_LISTEN", "127.0.0.1:2"), ("LONGSHORE_HTTP_BODY_BYTES_MAX", "5 MiB")];
        let config = load(file, &variables, &[("serve.listen", "127.0.0.1:3")]).unwrap();
        assert_eq!(config.listen, "127.0.0.1:3");
        assert_eq!(config.http.body_bytes_max, 5 << 20);
        assert_eq!(config.node.shards, 3);
        assert_eq!(
            load("", &[("PATH", "/bin"), ("LONGSHORE_JOB_ID", "7")], &[]).unwrap().listen,
            DEFAULT_LISTEN
        );
    }

    #[test]
    fn what_nobody_knows_is_an_error_with_a_suggestion() {
        let said = load("[http]\nbody_byte_max = 5\n", &[], &[]).unwrap_err().to_string();
        assert_eq!(
            said,
            "longshore.toml: \"http.body_byte_max\" is not known; \
             did you mean \"http.body_bytes_max\"?"
        );
        assert!(load("[htpp]\n", &[], &[]).is_err());
        assert!(load("listen = 5\n", &[], &[]).is_err());
        assert!(load("", &[], &[("serve.lisen", "x")]).is_err());
        assert!(matches!(load("[", &[], &[]), Err(ConfigError::FileMalformed { .. })));
    }

    #[test]
    fn bad_values_are_told_what_is_allowed() {
        for (key, value) in [
            ("http.body_bytes_max", "much"),
            ("http.body_bytes_max", "-5"),
            ("http.body_bytes_max", "64MiB"),
            ("limits.result_bytes_max", "32MiB"),
            ("limits.args_bytes_max", "17MiB"),
            ("http.header_timeout", "30"),
            ("http.header_bytes_max", "100"),
            ("serve.shards", "0"),
            ("serve.shards", "100000"),
            ("http.location_origins", "https://app.example/path"),
            ("limits.lease_default", "0s"),
        ] {
            let refused = load("", &[], &[(key, value)]).unwrap_err();
            assert!(matches!(refused, ConfigError::ValueRefused { .. }), "{key} = {value}");
        }
    }

    /// The variable was ignored, and the flag named another folder.
    #[test]
    fn a_path_need_not_be_utf_8_and_everything_else_has_to_be() {
        use std::os::unix::ffi::OsStrExt;
        let odd = OsStr::from_bytes(b"/data\xff");
        let set = |name: &str| vec![(name.to_owned(), odd.to_owned())];
        let load = |environment, flags| {
            ServerConfig::load(&Sources { environment, flags, ..Sources::default() })
        };
        for config in [
            load(set("LONGSHORE_DATA"), Vec::new()).unwrap(),
            load(Vec::new(), set("serve.data")).unwrap(),
        ] {
            assert_eq!(config.node.dir.as_os_str(), odd);
        }
        let said = load(set("LONGSHORE_LISTEN"), Vec::new()).unwrap_err().to_string();
        assert!(said.starts_with("LONGSHORE_LISTEN: serve.listen is"), "{said}");
        assert!(said.ends_with("allowed: UTF-8"), "{said}");
        assert!(load(Vec::new(), set("http.idle_timeout")).is_err());
        for knob in ServerConfig::knobs() {
            let paths = [
                "serve.data",
                "serve.accounts_file",
                "serve.admin_token_file",
                "tls.certificate",
                "tls.key",
                "tls.client_ca",
            ];
            assert_eq!(knob.is_path, paths.contains(&knob.key), "{}", knob.key);
        }
    }

    /// The reference page, made from the table.
    fn page() -> String {
        let mut page = PAGE_HEAD.to_owned();
        let mut section = "";
        for knob in ServerConfig::knobs() {
            let (own, _) = knob.key.split_once('.').unwrap();
            if own != section {
                section = own;
                writeln!(page, "\n## {section}\n\n| key | variable | default | |").unwrap();
                page += "| --- | --- | --- | --- |\n";
            }
            let Knob { key, variable, about, default, .. } = knob;
            let default = if default.is_empty() { value::NONE.to_owned() } else { default };
            writeln!(page, "| `{key}` | `{variable}` | `{default}` | {about} |").unwrap();
        }
        page
    }

    const PAGE_HEAD: &str = "# Configuration of the server\n\n\
        Made from the code. Flags (`--listen`, `--data`, `--shards`, and `--set KEY=VALUE` for\n\
        any key) stand over environment variables, which stand over `longshore.toml`, which\n\
        stands over the defaults. A key that nobody knows is an error with a suggestion, and so\n\
        is a variable that begins with `LONGSHORE_` and means nothing ([which do](cli.md)).\n\n    \
        [http]\n    body_bytes_max = \"4MiB\"\n    idle_timeout = \"10m\"\n\n\
        Bytes are a number, or one with `KiB`, `MiB` or `GiB`. Durations are a whole number\n\
        and one of `ms`, `s`, `m`, `h`, `d`.\n";

    #[test]
    fn the_reference_page_is_this_one() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let path = path.join("../../docs/configuration.md");
        if std::env::var_os("LONGSHORE_BLESS").is_some() {
            std::fs::write(&path, page()).unwrap();
        }
        let same = std::fs::read_to_string(&path).unwrap_or_default() == page();
        assert!(same, "docs/configuration.md has drifted: run this test with LONGSHORE_BLESS=1");
    }

    /// `## http` stood there twice.
    #[test]
    fn each_heading_of_the_reference_page_stands_once() {
        let page = page();
        let headings: Vec<_> = page.lines().filter(|line| line.starts_with('#')).collect();
        let once: BTreeSet<_> = headings.iter().collect();
        assert_eq!(once.len(), headings.len(), "{headings:?}");
        assert!(headings.contains(&"## http"), "{headings:?}");
    }

    #[test]
    fn every_default_is_a_value_that_may_be_set() {
        let mut names: Vec<_> = KNOBS.iter().map(|knob| knob.key).collect();
        for knob in KNOBS {
            let mut config = ServerConfig::default();
            let shown = (knob.show)(&config);
            if shown != value::NONE {
                config.set("the test", knob, OsStr::new(&shown)).unwrap();
                assert_eq!((knob.show)(&config), shown, "{}", knob.key);
            }
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), KNOBS.len());
    }
}
