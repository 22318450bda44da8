//! The table of everything that can be set: key, meaning, how it is read and shown.

use std::path::PathBuf;

use longshore_engine::ENTRY_BYTES_MAX;
use longshore_node::SHARDS_MAX;

use super::ServerConfig;
use super::value::{
    NONE, bytes, count, duration, host_and_port, origins, show_address, show_bytes, show_duration,
};
use crate::tls::ClientCertificates;

/// One row.
pub(super) struct Row {
    pub(super) key: &'static str,
    pub(super) about: &'static str,
    pub(super) set: Set,
    pub(super) show: fn(&ServerConfig) -> String,
}

/// How a row is set.
pub(super) enum Set {
    /// From a text, or it says what is allowed.
    Text(fn(&mut ServerConfig, &str) -> Result<(), String>),
    /// From a path, which need not be UTF-8.
    Path(fn(&mut ServerConfig, PathBuf)),
}

macro_rules! row {
    ($key:literal, $about:literal, |$config:ident, $text:ident| $set:expr, $show:expr) => {
        Row {
            key: $key,
            about: $about,
            set: Set::Text(|$config, $text| {
                $set;
                Ok(())
            }),
            show: |$config| $show,
        }
    };
}

macro_rules! count_row {
    ($key:literal, $($field:ident).+: $type:ty, $min:expr, $max:expr, $about:literal) => {
        row!(
            $key,
            $about,
            |config, text| config.$($field).+ = count(text, $min, $max)? as $type,
            config.$($field).+.to_string()
        )
    };
}

macro_rules! bytes_row {
    ($key:literal, $($field:ident).+: $type:ty, $about:literal) => {
        row!(
            $key,
            $about,
            |config, text| config.$($field).+ = bytes(text)? as $type,
            show_bytes(config.$($field).+ as u64)
        )
    };
}

macro_rules! bounded_bytes_row {
    ($key:literal, $($field:ident).+, $max:expr, $about:literal) => {
        row!(
            $key,
            $about,
            |config, text| config.$($field).+ = match bytes(text)? {
                bytes if bytes <= $max => bytes,
                _ => return Err(format!("at most {}", show_bytes($max))),
            },
            show_bytes(config.$($field).+)
        )
    };
}

macro_rules! duration_row {
    ($key:literal, $($field:ident).+, $about:literal) => {
        row!(
            $key,
            $about,
            |config, text| config.$($field).+ = duration(text, 1000)?,
            show_duration(config.$($field).+)
        )
    };
}

macro_rules! ms_row {
    ($key:literal, $($field:ident).+, $about:literal) => {
        row!(
            $key,
            $about,
            |config, text| config.$($field).+ = duration(text, 1000)?.as_millis() as u64,
            crate::api::DurationText(config.$($field).+).to_string()
        )
    };
}

macro_rules! listener_row {
    ($key:literal, $($field:ident).+, $about:literal) => {
        row!(
            $key,
            $about,
            |config, text| config.$($field).+ = Some(text.to_owned()),
            config.$($field).+.clone().unwrap_or_else(|| NONE.to_owned())
        )
    };
}

macro_rules! path_row {
    ($key:literal, $($field:ident).+, $about:literal) => {
        Row {
            key: $key,
            about: $about,
            set: Set::Path(|config, path| config.$($field).+ = Some(path)),
            show: |config| match &config.$($field).+ {
                Some(path) => path.display().to_string(),
                None => NONE.to_owned(),
            },
        }
    };
}

macro_rules! mark_row {
    ($key:literal, $field:ident, $about:literal) => {
        row!(
            $key,
            $about,
            |config, text| config.node.disk.$field = Some(bytes(text)?),
            config.node.disk.$field.map_or_else(|| NONE.to_owned(), show_bytes)
        )
    };
}

/// Bytes of args or of a result that fit into an entry of the journal with all that goes with
/// them.
const VALUE_BYTES_MAX: u64 = 16 << 20;
const MANY: u64 = 100_000_000;
const NEVER: &str = "never";

/// Every row, by section.
pub(super) const KNOBS: &[Row] = &[
    row!(
        "serve.listen",
        "The address to listen at: an address of this machine and a port, 0 for a free one.",
        |config, text| text.clone_into(&mut config.listen),
        config.listen.clone()
    ),
    listener_row! { "serve.amqp", amqp_listen,
    "The address to listen at for AMQP, such as 127.0.0.1:5672; nobody listens without one." },
    listener_row! { "serve.kafka", kafka.listen,
    "The address to listen at for Kafka clients, such as 127.0.0.1:9092; nobody without one." },
    listener_row! { "serve.management", management.listen,
    "The address to listen at for RabbitMQ's management API; nobody listens without one." },
    listener_row! { "serve.https", https_listen,
    "The address to listen at for HTTP and gRPC over TLS, such as 127.0.0.1:7443." },
    listener_row! { "serve.amqps", amqps_listen,
    "The address to listen at for AMQP over TLS, such as 127.0.0.1:5671." },
    listener_row! { "serve.kafka_tls", kafka.listen_tls,
    "The address to listen at for Kafka clients over TLS, such as 127.0.0.1:9093." },
    listener_row! { "serve.management_tls", management.listen_tls,
    "The address to listen at for RabbitMQ's management API over TLS, such as 127.0.0.1:15671." },
    row!(
        "serve.access",
        "Who comes in: `off` for everybody on this machine, `required` for accounts only.",
        |config, text| config.access.required = match text {
            "off" => false,
            "required" => true,
            _ => return Err("off or required".to_owned()),
        },
        if config.access.required { "required" } else { "off" }.to_owned()
    ),
    path_row! { "serve.accounts_file", access.accounts_file,
    "A TOML file of accounts that are put at each start; see access.md." },
    row!(
        "serve.admin_token",
        "A token of the account `admin`, of 24 to 512 bytes of ASCII; better given as a variable.",
        |config, text| config.access.admin_token = Some(text.to_owned()),
        config.access.admin_token.as_ref().map_or(NONE, |_| "(set)").to_owned()
    ),
    path_row! { "serve.admin_token_file", access.admin_token_file,
    "A file with such a token." },
    row!(
        "serve.open_metrics",
        "Whether /metrics is told to whoever asks where accounts are required: true or false.",
        |config, text| config.access.open_metrics = match text {
            "true" => true,
            "false" => false,
            _ => return Err("true or false".to_owned()),
        },
        config.access.open_metrics.to_string()
    ),
    Row {
        key: "serve.data",
        about: "The folder of the store.",
        set: Set::Path(|config, path| config.node.dir = path),
        show: |config| config.node.dir.display().to_string(),
    },
    count_row! { "serve.shards", node.shards: u32, 1, u64::from(SHARDS_MAX),
    "Shards of a new store; an existing one keeps its own number." },
    count_row! { "amqp.channels_max", amqp.channels_max: u16, 1, u64::from(u16::MAX),
    "Channels of a connection of AMQP." },
    row!(
        "amqp.frame_bytes_max",
        "Bytes of a frame of AMQP, 4 KiB to 1 MiB.",
        |config, text| config.amqp.frame_bytes_max = match bytes(text)? {
            bytes @ 4096..=1_048_576 => bytes as u32,
            _ => return Err("4KiB to 1MiB".to_owned()),
        },
        show_bytes(u64::from(config.amqp.frame_bytes_max))
    ),
    bounded_bytes_row! { "amqp.message_bytes_max", amqp.message_bytes_max, VALUE_BYTES_MAX,
    "Bytes of a message's body, at most 16 MiB." },
    row!(
        "amqp.heartbeat",
        "How often a client of AMQP is asked for a sign of life, in whole seconds; 0s for never.",
        |config, text| config.amqp.heartbeat = match duration(text, 0)? {
            heartbeat if u16::try_from(heartbeat.as_secs()).is_ok() => heartbeat,
            _ => return Err("at most 65535s".to_owned()),
        },
        show_duration(config.amqp.heartbeat)
    ),
    count_row! { "http.connections_max", http.connections_max: usize, 1, MANY,
    "Connections that may be open and used for everything." },
    count_row! { "http.connections_reserved", http.connections_reserved: usize, 0, MANY,
    "Connections beyond them that publish nothing; the last half only settles and \
     administers." },
    row!(
        "http.header_bytes_max",
        "Bytes of a request's line and headers, at least 8 KiB.",
        |config, text| config.http.header_bytes_max = match bytes(text)? {
            bytes @ 8192..=1_048_576 => bytes as usize,
            _ => return Err("8KiB to 1MiB".to_owned()),
        },
        show_bytes(config.http.header_bytes_max as u64)
    ),
    bounded_bytes_row! { "http.body_bytes_max", http.body_bytes_max, ENTRY_BYTES_MAX as u64,
    "Bytes of a body that brings jobs or results, at most 32 MiB." },
    count_row! { "http.publishes_max", http.publishes_max: usize, 1, MANY,
    "Enqueue requests in flight." },
    bytes_row! { "http.publish_bytes_max", http.publish_bytes_max: u64,
    "Bytes of the bodies of enqueue requests in flight." },
    count_row! { "http.waits_max", http.waits_max: usize, 1, MANY,
    "Requests in flight that wait for jobs or a job's end, enqueues that wait for it \
     included." },
    count_row! { "http.settlements_max", http.settlements_max: usize, 1, MANY,
    "Settlements, heartbeats and administration in flight." },
    bytes_row! { "http.reserved_bytes_max", http.reserved_bytes_max: u64,
    "Bytes of bodies kept free for each of leases and settlements." },
    bytes_row! { "http.answer_bytes_max", http.answer_bytes_max: u64,
    "Bytes of answers that their readers have not taken; questions get at most three \
     quarters." },
    duration_row! { "http.header_timeout", http.header_timeout,
    "How long a request's line and headers may take to arrive." },
    duration_row! { "http.body_timeout", http.body_timeout, "How long a body may take to arrive." },
    duration_row! { "http.write_timeout", http.write_timeout,
    "How long a peer may be behind with an answer, of which it has to take 16 KiB in a \
     second." },
    duration_row! { "http.idle_timeout", http.idle_timeout, "How long a connection may be idle." },
    duration_row! { "http.stop_timeout", http.stop_timeout,
    "How long connections have to end when the server stops." },
    count_row! { "http.metrics_queues_max", http.metrics_queues_max: usize, 0, 1000,
    "Queues, and namespaces, that metrics name; the rest is summed up." },
    row!(
        "http.location_origins",
        "Origins that a finished job may send its client to, such as https://app.example.",
        |config, text| config.http.location_origins = origins(text)?,
        config.http.location_origins.join(",")
    ),
    duration_row! { "workers.reconnect", http.worker_reconnect,
    "How long the leases of a worker outlive its broken stream; then what it had not \
     started is given back, and what it had is lost." },
    row!(
        "queues.forget_empty_after",
        "How long a queue stays that has no jobs that wait, run or are dead and no settings of its \
         own, and in which nothing is enqueued; for ever where not set. It goes up to a quarter of \
         that later: within 2 s where that is short, within 2 minutes where it is long.",
        |config, text| {
            let idle = duration(text, 1000)?;
            config.node.limits.queue_idle_ms = Some(idle.as_millis() as u64);
        },
        config
            .node
            .limits
            .queue_idle_ms
            .map_or_else(|| NONE.to_owned(), |ms| crate::api::DurationText(ms).to_string())
    ),
    count_row! { "limits.bulk_jobs_max", node.limits.bulk_jobs_max: usize, 1, 10_000,
    "Jobs in one atomic call." },
    bounded_bytes_row! { "limits.args_bytes_max", node.limits.args_bytes_max, VALUE_BYTES_MAX,
    "Bytes of a job's args, at most 16 MiB." },
    bounded_bytes_row! { "limits.result_bytes_max", node.limits.result_bytes_max, VALUE_BYTES_MAX,
    "Bytes of a job's result, at most 16 MiB." },
    count_row! { "limits.lease_jobs_max", node.limits.lease_jobs_max: usize, 1, 10_000,
    "Jobs in one lease request." },
    ms_row! { "limits.lease_default", node.limits.lease_ms_default,
    "The lease where neither worker, job nor queue says." },
    count_row! { "limits.snoozes_max", node.limits.snoozes_max: u32, 0, 1_000_000_000,
    "How often a job may be snoozed; the next one after that makes it dead, for \
     `too_many_snoozes`." },
    ms_row! { "limits.wait_max", node.limits.wait_ms_max, "The longest wait of a request." },
    ms_row! { "limits.retain_default", node.limits.retain_ms_default,
    "How long an outcome is kept where nobody says." },
    ms_row! { "limits.dead_retain", node.limits.dead_retain_ms, "How long a dead job is kept." },
    bytes_row! { "limits.outcome_bytes_max", node.limits.outcome_bytes_max: u64,
    "Bytes of outcomes kept per namespace." },
    ms_row! { "limits.tombstone", node.limits.tombstone_ms,
    "How long a forgotten job's id is remembered where the client chose it." },
    count_row! { "limits.tombstones_max", node.limits.tombstones_max: u64, 0, MANY,
    "Such ids kept per namespace." },
    count_row! { "limits.queues_max", node.limits.queues_max.shard: usize, 1, MANY,
    "Queues of a shard." },
    count_row! { "limits.namespace_queues_max", node.limits.queues_max.namespace: usize, 1, MANY,
    "Queues of one namespace." },
    count_row! { "limits.kinds_max", node.limits.kinds_max.shard: usize, 1, MANY,
    "Kinds of a shard, those of each namespace counted for themselves." },
    count_row! { "limits.namespace_kinds_max", node.limits.kinds_max.namespace: usize, 1, MANY,
    "Kinds of one namespace." },
    count_row! { "limits.namespaces_max", node.limits.namespaces_max: usize, 1, MANY,
    "Namespaces of a shard." },
    count_row! { "limits.waiters_max", node.limits.waiters_max.shard: usize, 1, MANY,
    "Requests that wait in a shard, and streams that take jobs." },
    count_row! { "limits.namespace_waiters_max", node.limits.waiters_max.namespace: usize, 1, MANY,
    "The same in one namespace." },
    row!(
        "limits.namespaces_on_first_use",
        "Whether a namespace comes into being when somebody first enqueues into it: true or false.",
        |config, text| config.node.limits.namespaces_on_first_use = match text {
            "true" => true,
            "false" => false,
            _ => return Err("true or false".to_owned()),
        },
        config.node.limits.namespaces_on_first_use.to_string()
    ),
    mark_row! { "disk.warn_bytes", warn_bytes,
    "Free bytes below which a warning is logged; 15 % of the disk, at most 8 GiB, if not \
     set." },
    mark_row! { "disk.refuse_bytes", refuse_bytes,
    "Free bytes below which publishing is refused; 8 %, at most 2 GiB, where not set." },
    mark_row! { "disk.settle_only_bytes", settle_only_bytes,
    "Free bytes below which nothing new starts; 4 %, at most 512 MiB, where not set." },
    bytes_row! { "disk.reserve_bytes", node.reserve_bytes: u64,
    "Space kept for settlements and flushes on a full disk." },
    bytes_row! { "memory.in_flight_bytes_max", node.in_flight_bytes_max: u64,
    "Bytes of bodies in flight in the node; beyond it publishing is refused." },
    bytes_row! { "memory.memtable_bytes", node.lsm.memtable_bytes: usize,
    "Bytes of each shard's newest state in memory." },
    bytes_row! { "memory.cache_bytes", node.lsm.cache_bytes: u64,
    "Bytes of each shard's cache of its state." },
    row!(
        "kafka.advertised",
        "Host and port that Kafka clients are told; those listened at, where not set.",
        |config, text| config.kafka.advertised = Some(host_and_port(text)?),
        show_address(config.kafka.advertised.as_ref())
    ),
    row!(
        "kafka.namespace",
        "The namespace whose streams Kafka clients see.",
        |config, text| text.clone_into(&mut config.kafka.namespace),
        config.kafka.namespace.clone()
    ),
    row!(
        "kafka.auto_create",
        "Whether a stream comes into being when a Kafka client first asks for it: true or false.",
        |config, text| config.kafka.auto_create = match text {
            "true" => true,
            "false" => false,
            _ => return Err("true or false".to_owned()),
        },
        config.kafka.auto_create.to_string()
    ),
    count_row! { "kafka.partitions_default", kafka.partitions_default: u32, 1, 1000,
    "Partitions of a stream where its creator does not say." },
    count_row! { "kafka.connections_max", kafka.connections_max: usize, 1, 100_000,
    "Connections of Kafka clients; further ones wait." },
    bytes_row! { "kafka.request_bytes_max", kafka.request_bytes_max: u64,
    "Bytes of one request of a Kafka client." },
    bytes_row! { "kafka.in_flight_bytes_max", kafka.in_flight_bytes_max: u64,
    "Bytes of Kafka requests without an answer, and of answers that are not taken." },
    duration_row! { "kafka.idle_timeout", kafka.idle_timeout,
    "How long a connection of a Kafka client may be idle." },
    row!(
        "kafka.offsets_retention",
        "How long offsets of a group without members are remembered, from the last member or from the \
         commit on: a duration, or never for without end.",
        |config, text| config.node.limits.offsets_ms = match text {
            NEVER => None,
            text => Some(duration(text, 1)?.as_millis() as u64),
        },
        config
            .node
            .limits
            .offsets_ms
            .map_or_else(|| NEVER.to_owned(), |ms| crate::api::DurationText(ms).to_string())
    ),
    duration_row! { "kafka.retention_look", kafka.retention_look,
    "How often it is looked which events of streams are kept no longer." },
    duration_row! { "kafka.compaction_look", kafka.compaction_look,
    "How often it is looked where older events of a key can go, in streams that keep the \
     newest of each." },
    bounded_bytes_row! { "kafka.compaction_memory", kafka.compaction_memory_bytes, 1 << 30,
    "Memory for the keys of one round of compaction, of which each takes about 70 bytes. \
     What finds no room is left to the next round." },
    row!(
        "kafka.advertised_tls",
        "Host and port that Kafka clients with TLS are told; those listened at, where not set.",
        |config, text| config.kafka.advertised_tls = Some(host_and_port(text)?),
        show_address(config.kafka.advertised_tls.as_ref())
    ),
    path_row! { "tls.certificate", tls.certificate,
    "The file with the server's certificate and those up to its authority, in PEM." },
    path_row! { "tls.key", tls.key, "The file with the key to that certificate, in PEM." },
    path_row! { "tls.client_ca", tls.client_ca,
    "The file with the authorities of clients' certificates; without it none is asked for." },
    row!(
        "tls.client_certificates",
        "Whether clients have to show a certificate of `tls.client_ca`: required, as where not set, or optional.",
        |config, text| {
            let all = [ClientCertificates::Required, ClientCertificates::Optional];
            let found = all.into_iter().find(|one| one.name() == text);
            let found = found.ok_or_else(|| "required or optional".to_owned())?;
            config.tls.client_certificates = Some(found);
        },
        config.tls.client_certificates.map_or(NONE, ClientCertificates::name).to_owned()
    ),
    row!(
        "tls.required",
        "Whether plain text at addresses that other machines reach is refused: true or false.",
        |config, text| config.tls.required = match text {
            "true" => true,
            "false" => false,
            _ => return Err("true or false".to_owned()),
        },
        config.tls.required.to_string()
    ),
    row!(
        "ship.to",
        "Where second copies are sent all the time: a path, file://, s3://, gs:// or az://; see backup.md.",
        |config, text| config.ship.to = Some(text.to_owned()).filter(|to| !to.is_empty()),
        config.ship.to.clone().unwrap_or_else(|| NONE.to_owned())
    ),
    row!(
        "ship.every",
        "How often what is new of the journal is sent there, at least 100ms.",
        |config, text| config.ship.every = duration(text, 100)?,
        show_duration(config.ship.every)
    ),
    duration_row! { "ship.base_every", ship.base_every,
    "How often the files of the store are sent there, as far as they are new: the longer, \
     the more of the journal a restore applies." },
    duration_row! { "ship.keep", ship.keep,
    "For how long a restore can go back to any time; what is older goes." },
    bytes_row! { "ship.journal_bytes_max", ship.journal_bytes_max: u64,
    "Bytes of journal that a shard keeps for copies while their place does not take them; \
     beyond that it is given back, and copies begin anew." },
    row!(
        "ship.allow",
        "Places that `longshore backup --to` may name, and what is below them.",
        |config, text| config.ship.allow =
            text.split(',').map(|it| it.trim().to_owned()).filter(|it| !it.is_empty()).collect(),
        config.ship.allow.join(",")
    ),
];
