//! Exchanges, queues, bindings, policies and virtual hosts, by `RabbitMQ`'s words.

use bytes::Bytes;
use hyper::StatusCode;
use longshore_amqp::codec::methods::QueueDeclare;
use longshore_amqp::codec::{Table, Value as Field};
use longshore_amqp::{Failure, binding_with_arguments, exchange_kind, queue_settings};
use longshore_engine::ask::{
    Bind, CreateNamespace, DeleteExchange, DeleteMessages, DeleteNamespace, DeletePolicy,
    GetExchange, GetQueue, ListBindings, ListExchanges, ListNamespaces, ListPolicies, ListQueues,
    PurgeMessages, PutPolicy, Unbind,
};
use longshore_engine::{
    BindingSpec, DeclareExchange, DeclareQueue, Declared, ExchangeKind, ExchangeView,
    MessageQueueView, Overflow, Policy, PolicyTarget,
};
use serde_json::{Map, Value, json};

use super::arguments::{json_of, of_queue, table_of};
use super::serve::{Api, Fault, Told, namespace_of, vhost_of};
use crate::access::{ADMIN, Need, READ};
use crate::http::look::told as told_of;
use crate::http::refusal::Refusal;

/// Things in one answer at most; of more, none are told rather than some.
pub(super) const ANSWER_MAX: usize = 50_000;

/// Things that are asked for at a time.
const PAGE: usize = 200;

/// The `RabbitMQ` whose ways these are.
const VERSION: &str = "4.2.0";

pub(super) const NODE: &str = "longshore@localhost";

pub(super) fn too_many() -> Fault {
    let reason = format!("there are more than {ANSWER_MAX}: ask of a virtual host, or by name");
    Fault { status: StatusCode::INSUFFICIENT_STORAGE, reason }
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        Self::bad(failure.explanation)
    }
}

fn flag(body: &Value, name: &str, default: bool) -> Result<bool, Fault> {
    match body.get(name) {
        None => Ok(default),
        Some(Value::Bool(value)) => Ok(*value),
        Some(Value::String(text)) if text == "true" || text == "false" => Ok(text == "true"),
        Some(other) => Err(Fault::bad(format!("{name} is true or false, and not {other}"))),
    }
}

fn arguments(body: &Value) -> Result<Table, Fault> {
    table_of(body.get("arguments").unwrap_or(&Value::Null))
}

fn declared(declared: Declared) -> Told {
    match declared {
        Declared::Created => Told::Created,
        Declared::Present => Told::Done,
    }
}

impl Api {
    pub(super) async fn namespaces(&self) -> Result<Vec<String>, Fault> {
        let ask = ListNamespaces { after: None, limit: 1000 }.into();
        let mut names = Vec::new();
        self.demand("", &Need::everywhere(READ))?;
        for answer in self.node.call_shards(ask).await {
            let (page, more) = told_of::<ListNamespaces>(answer.map_err(Refusal::from)?)?;
            if more {
                return Err(too_many());
            }
            names.extend(page.into_iter().map(|it| it.name));
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    async fn meant(&self, vhost: Option<&str>) -> Result<Vec<String>, Fault> {
        match vhost {
            Some(vhost) => {
                let ns = namespace_of(vhost).to_owned();
                if !self.namespaces().await?.contains(&ns) {
                    return Err(Fault::not_found());
                }
                Ok(vec![ns])
            }
            None => self.namespaces().await,
        }
    }

    pub(super) async fn overview(&self) -> Result<Value, Fault> {
        let (queues, exchanges) = (self.queues(None).await?, self.exchanges(None).await?);
        let sum = |name: &str| {
            let all = queues.as_array().into_iter().flatten();
            all.filter_map(|it| it[name].as_u64()).sum::<u64>()
        };
        let count = |all: &Value| all.as_array().map_or(0, Vec::len);
        Ok(json!({
            "management_version": VERSION, "rabbitmq_version": VERSION, "product_name": "Longshore",
            "product_version": env!("CARGO_PKG_VERSION"), "cluster_name": NODE, "node": NODE,
            "erlang_version": "none", "rates_mode": "none", "statistics_db_event_queue": 0,
            "exchange_types": exchange_types(),
            "queue_totals": {
                "messages": sum("messages"), "messages_ready": sum("messages_ready"),
                "messages_unacknowledged": sum("messages_unacknowledged"),
            },
            "object_totals": {
                "queues": count(&queues), "exchanges": count(&exchanges),
                "consumers": sum("consumers"),
            },
            "message_stats": {}, "listeners": [], "contexts": [],
        }))
    }

    pub(super) fn this_node() -> Value {
        json!({"name": NODE, "type": "disc", "running": true, "mem_alarm": false,
            "disk_free_alarm": false, "partitions": [], "exchange_types": exchange_types()})
    }

    pub(super) fn is_administrator(&self) -> bool {
        self.who.demand("", &Need::everywhere(ADMIN)).is_ok()
    }

    /// What tools decide by whether to show what only an administrator may do.
    pub(super) fn tags(&self) -> &'static [&'static str] {
        if self.is_administrator() { &["administrator"] } else { &["monitoring"] }
    }

    pub(super) async fn vhosts(&self) -> Result<Value, Fault> {
        let all = self.namespaces().await?;
        Ok(all.iter().map(|name| vhost(name)).collect())
    }

    pub(super) async fn vhost(&self, name: &str) -> Result<Value, Fault> {
        let found = self.meant(Some(name)).await?;
        found.first().map(|name| vhost(name)).ok_or_else(Fault::not_found)
    }

    pub(super) async fn put_vhost(&self, name: &str) -> Result<Told, Fault> {
        let ns = namespace_of(name).to_owned();
        if self.namespaces().await?.contains(&ns) {
            return Ok(Told::Done);
        }
        self.ask(&ns, CreateNamespace {}).await?;
        Ok(Told::Created)
    }

    pub(super) async fn delete_vhost(&self, name: &str) -> Result<Told, Fault> {
        self.ask(namespace_of(name), DeleteNamespace {}).await?;
        Ok(Told::Done)
    }

    pub(super) async fn exchanges(&self, vhost: Option<&str>) -> Result<Value, Fault> {
        let mut all = Vec::new();
        for ns in self.meant(vhost).await? {
            all.push(json!({"name": "", "vhost": vhost_of(&ns), "type": "direct", "durable": true,
                "auto_delete": false, "internal": false, "arguments": {},
                "user_who_performed_action": "rmq-internal"}));
            let mut after = None;
            loop {
                let (page, more) = self.ask(&ns, ListExchanges { after, limit: PAGE }).await?;
                all.extend(page.iter().map(|view| exchange(&ns, view)));
                after = page.last().map(|view| view.exchange.name.clone()).filter(|_| more);
                if all.len() > ANSWER_MAX {
                    return Err(too_many());
                }
                if after.is_none() {
                    break;
                }
            }
        }
        Ok(Value::Array(all))
    }

    pub(super) async fn exchange(&self, vhost: &str, name: &str) -> Result<Value, Fault> {
        let ns = namespace_of(vhost);
        let (view, _) = self.ask(ns, GetExchange { exchange: name.to_owned() }).await?;
        Ok(exchange(ns, &view))
    }

    pub(super) async fn put_exchange(
        &self,
        vhost: &str,
        name: &str,
        body: &Value,
    ) -> Result<Told, Fault> {
        let table = arguments(body)?;
        let kind = body.get("type").and_then(Value::as_str);
        let kind = kind.ok_or_else(|| Fault::bad("key_missing: type"))?;
        let alternate = match table.get("alternate-exchange") {
            None => None,
            Some(Field::Text(text)) => Some(String::from_utf8_lossy(&text).into_owned()),
            Some(_) => return Err(Fault::bad("alternate-exchange is a text")),
        };
        let declare = DeclareExchange {
            exchange: name.to_owned(),
            kind: exchange_kind(kind, &table, &format!("exchange '{name}'"))?,
            durable: flag(body, "durable", true)?,
            auto_delete: flag(body, "auto_delete", false)?,
            internal: flag(body, "internal", false)?,
            alternate,
            arguments: table.as_bytes().clone(),
        };
        Ok(declared(self.ask(namespace_of(vhost), declare).await?.1))
    }

    pub(super) async fn delete_exchange(&self, vhost: &str, name: &str) -> Result<Told, Fault> {
        let ask = DeleteExchange { exchange: name.to_owned(), if_unused: false };
        let was_there = self.ask(namespace_of(vhost), ask).await?;
        if was_there { Ok(Told::Done) } else { Err(Fault::not_found()) }
    }

    pub(super) async fn queues(&self, vhost: Option<&str>) -> Result<Value, Fault> {
        let mut all = Vec::new();
        for ns in self.meant(vhost).await? {
            let mut after = None;
            loop {
                let (page, more) = self.ask(&ns, ListQueues { after, limit: PAGE }).await?;
                let views = page.iter().filter_map(|view| view.messages.as_deref());
                all.extend(views.map(|view| queue(&ns, view)));
                after = page.last().map(|view| view.name.clone()).filter(|_| more);
                if all.len() > ANSWER_MAX {
                    return Err(too_many());
                }
                if after.is_none() {
                    break;
                }
            }
        }
        Ok(Value::Array(all))
    }

    pub(super) async fn queue_view(
        &self,
        ns: &str,
        name: &str,
    ) -> Result<Box<MessageQueueView>, Fault> {
        let view = self.ask(ns, GetQueue { queue: name.to_owned() }).await?;
        view.messages.ok_or_else(Fault::not_found)
    }

    pub(super) async fn queue(&self, vhost: &str, name: &str) -> Result<Value, Fault> {
        let ns = namespace_of(vhost);
        Ok(queue(ns, &*self.queue_view(ns, name).await?))
    }

    pub(super) async fn put_queue(
        &self,
        vhost: &str,
        name: &str,
        body: &Value,
    ) -> Result<Told, Fault> {
        let told = QueueDeclare {
            durable: flag(body, "durable", true)?,
            auto_delete: flag(body, "auto_delete", false)?,
            arguments: arguments(body)?,
            ..QueueDeclare::default()
        };
        let settings = queue_settings(&told, &format!("queue '{name}'"))?;
        let declare = DeclareQueue { queue: name.to_owned(), settings, connection: None };
        Ok(declared(self.ask(namespace_of(vhost), declare).await?.1))
    }

    pub(super) async fn delete_queue(&self, vhost: &str, name: &str) -> Result<Told, Fault> {
        let ask = DeleteMessages {
            queue: name.to_owned(),
            connection: None,
            if_unused: false,
            if_empty: false,
        };
        self.ask(namespace_of(vhost), ask).await.map(|_| Told::Done)
    }

    pub(super) async fn purge(&self, vhost: &str, name: &str) -> Result<Told, Fault> {
        let ask = PurgeMessages { queue: name.to_owned(), connection: None };
        self.ask(namespace_of(vhost), ask).await.map(|_| Told::Done)
    }

    async fn specs(&self, ns: &str) -> Result<Vec<BindingSpec>, Fault> {
        let (mut all, mut after) = (Vec::new(), None::<Bytes>);
        loop {
            let ask = ListBindings { source: None, after, limit: PAGE };
            let (page, next) = self.ask(ns, ask).await?;
            // RabbitMQ's tools know of none that lead to a stream of events.
            let bindings = page.into_iter().map(|view| view.binding);
            all.extend(bindings.filter(|binding| !binding.to_stream));
            after = next;
            if all.len() > ANSWER_MAX {
                return Err(too_many());
            }
            if after.is_none() {
                return Ok(all);
            }
        }
    }

    pub(super) async fn bindings(
        &self,
        vhost: Option<&str>,
        wanted: &(dyn Fn(&Value) -> bool + Sync),
    ) -> Result<Value, Fault> {
        let mut all = Vec::new();
        for ns in self.meant(vhost).await? {
            let queues = self.queues(Some(vhost_of(&ns))).await?;
            let names = queues.as_array().into_iter().flatten().map(|it| &it["name"]);
            all.extend(names.map(|name| {
                json!({"source": "", "vhost": vhost_of(&ns), "destination": name,
                    "destination_type": "queue", "routing_key": name, "arguments": {},
                    "properties_key": name})
            }));
            all.extend(self.specs(&ns).await?.iter().map(|spec| binding(&ns, spec)));
        }
        all.retain(wanted);
        Ok(Value::Array(all))
    }

    pub(super) async fn bind(
        &self,
        vhost: &str,
        (source, to_exchange, to): (&str, bool, &str),
        body: &Value,
    ) -> Result<Told, Fault> {
        let key = body.get("routing_key").and_then(Value::as_str).unwrap_or_default();
        let spec = BindingSpec {
            source: source.to_owned(),
            destination: to.to_owned(),
            to_exchange,
            routing_key: key.to_owned(),
            ..BindingSpec::default()
        };
        let spec = binding_with_arguments(spec, &arguments(body)?)?;
        let ask = Bind(Box::new(spec));
        self.ask(namespace_of(vhost), ask).await.map(|_| Told::Created)
    }

    pub(super) async fn unbind(
        &self,
        vhost: &str,
        (source, to_exchange, to): (&str, bool, &str),
        key: &str,
    ) -> Result<Told, Fault> {
        let ns = namespace_of(vhost);
        let specs = self.specs(ns).await?;
        let found = specs.into_iter().find(|spec| {
            let leads = spec.source == source && spec.destination == to;
            leads && spec.to_exchange == to_exchange && properties_key(spec) == key
        });
        let spec = found.ok_or_else(Fault::not_found)?;
        self.ask(ns, Unbind(Box::new(spec))).await.map(|_| Told::Done)
    }

    pub(super) async fn policies(&self, vhost: Option<&str>) -> Result<Value, Fault> {
        let mut all = Vec::new();
        for ns in self.meant(vhost).await? {
            let page = self.ask(&ns, ListPolicies {}).await?;
            all.extend(page.iter().map(|(name, it)| policy(&ns, name, it)));
        }
        Ok(Value::Array(all))
    }

    pub(super) async fn policy(&self, vhost: &str, name: &str) -> Result<Value, Fault> {
        let all = self.policies(Some(vhost)).await?;
        let found = all.as_array().into_iter().flatten().find(|it| it["name"] == name);
        found.cloned().ok_or_else(Fault::not_found)
    }

    pub(super) async fn put_policy(
        &self,
        vhost: &str,
        name: &str,
        body: &Value,
    ) -> Result<Told, Fault> {
        let (name, policy) = (name.to_owned(), Box::new(policy_of(body)?));
        let ask = PutPolicy { name, policy };
        self.ask(namespace_of(vhost), ask).await.map(|_| Told::Created)
    }

    pub(super) async fn delete_policy(&self, vhost: &str, name: &str) -> Result<Told, Fault> {
        let ask = DeletePolicy { name: name.to_owned() };
        let was_there = self.ask(namespace_of(vhost), ask).await?;
        if was_there { Ok(Told::Done) } else { Err(Fault::not_found()) }
    }
}

fn exchange_types() -> Value {
    let names = ["direct", "fanout", "headers", "topic", "x-consistent-hash", "x-delayed-message"];
    names.iter().map(|name| json!({"name": name, "enabled": true})).collect()
}

fn vhost(name: &str) -> Value {
    json!({"name": vhost_of(name), "tracing": false, "description": "", "tags": [],
        "metadata": {"description": "", "tags": []}})
}

fn exchange(ns: &str, view: &ExchangeView) -> Value {
    let it = &view.exchange;
    let mut arguments =
        Table::checked(it.arguments.clone()).map_or_else(|_| json!({}), |it| json_of(&it));
    if let (Some(alternate), Some(all)) = (&it.alternate, arguments.as_object_mut()) {
        all.insert("alternate-exchange".to_owned(), alternate.clone().into());
    }
    let kind = match it.kind {
        ExchangeKind::ConsistentHash => "x-consistent-hash",
        kind => kind.name(),
    };
    let mut told = json!({"name": it.name, "vhost": vhost_of(ns), "type": kind,
        "durable": it.durable, "auto_delete": it.auto_delete, "internal": it.internal, "arguments": arguments});
    if let (Some(policy), Some(told)) = (&view.policy, told.as_object_mut()) {
        told.insert("policy".to_owned(), policy.clone().into());
    }
    told
}

fn queue(ns: &str, view: &MessageQueueView) -> Value {
    let settings = &view.settings;
    let arguments = of_queue(settings);
    let kind = arguments["x-queue-type"].as_str().unwrap_or("quorum").to_owned();
    json!({"name": view.name, "vhost": vhost_of(ns), "type": kind, "durable": settings.durable,
        "auto_delete": settings.auto_delete, "exclusive": settings.exclusive,
        "arguments": arguments,
        "node": NODE, "state": "running", "policy": view.policy, "consumers": view.consumers,
        "messages": view.ready + view.unsettled, "messages_ready": view.ready,
        "messages_unacknowledged": view.unsettled, "message_bytes": view.bytes,
        "message_stats": {"publish": view.published_total, "ack": view.acked_total}})
}

/// How a binding is named in a path: its routing key, and what its arguments come to.
fn properties_key(spec: &BindingSpec) -> String {
    let plain = spec.arguments.is_empty() && spec.headers.is_empty() && spec.job.is_none();
    match (plain, spec.routing_key.as_str()) {
        (true, "") => "~".to_owned(),
        (true, key) => key.to_owned(),
        (false, key) => {
            let of =
                format!("{:?}{:?}{:?}{:?}", spec.arguments, spec.headers, spec.matching, spec.job);
            let hash = of.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
            format!("{key}~{hash:016x}")
        }
    }
}

fn binding(ns: &str, spec: &BindingSpec) -> Value {
    let mut arguments =
        Table::checked(spec.arguments.clone()).map_or_else(|_| json!({}), |it| json_of(&it));
    if let (Some(job), Some(all), true) =
        (&spec.job, arguments.as_object_mut(), spec.arguments.is_empty())
    {
        all.insert("x-job-kind".to_owned(), job.kind.clone().into());
        all.extend(job.priority.map(|it| ("x-job-priority".to_owned(), it.into())));
        all.extend(job.delay_ms.map(|it| ("x-job-delay".to_owned(), it.into())));
        let version = (job.version > 0).then_some(job.version);
        all.extend(version.map(|it| ("x-job-version".to_owned(), it.into())));
        all.extend(job.ordered.then(|| ("x-job-ordered".to_owned(), true.into())));
    }
    let kind = if spec.to_exchange { "exchange" } else { "queue" };
    json!({"source": spec.source, "vhost": vhost_of(ns), "destination": spec.destination,
        "destination_type": kind, "routing_key": spec.routing_key, "arguments": arguments,
        "properties_key": properties_key(spec)})
}

fn policy(ns: &str, name: &str, it: &Policy) -> Value {
    let mut all = Map::new();
    let mut add = |name: &str, value: Option<Value>| {
        all.extend(value.map(|value| (name.to_owned(), value)));
    };
    add("message-ttl", it.ttl_ms.map(Value::from));
    add("expires", it.expires_ms.map(Value::from));
    add("max-length", it.max_length.map(Value::from));
    add("max-length-bytes", it.max_bytes.map(Value::from));
    add("overflow", it.overflow.map(|it| it.name().into()));
    add("dead-letter-exchange", it.dead_letter_exchange.clone().map(Value::from));
    add("dead-letter-routing-key", it.dead_letter_routing_key.clone().map(Value::from));
    add("delivery-limit", it.delivery_limit.map(Value::from));
    add("alternate-exchange", it.alternate.clone().map(Value::from));
    json!({"vhost": vhost_of(ns), "name": name, "pattern": it.pattern, "apply-to": it.target.name(),
        "priority": it.priority, "definition": all})
}

/// A policy of which every part has a meaning here.
pub(super) fn policy_of(body: &Value) -> Result<Policy, Fault> {
    let pattern = body.get("pattern").and_then(Value::as_str);
    let pattern = pattern.ok_or_else(|| Fault::bad("key_missing: pattern"))?.to_owned();
    let target = match body.get("apply-to").and_then(Value::as_str).unwrap_or("all") {
        "all" => PolicyTarget::All,
        "queues" | "quorum_queues" | "classic_queues" => PolicyTarget::Queues,
        "exchanges" => PolicyTarget::Exchanges,
        other => return Err(Fault::bad(format!("apply-to {other} is not known"))),
    };
    let priority = body.get("priority").and_then(Value::as_i64).unwrap_or(0);
    let mut policy = Policy { pattern, target, priority, ..Policy::default() };
    let definition = body.get("definition").and_then(Value::as_object);
    let definition = definition.ok_or_else(|| Fault::bad("key_missing: definition"))?;
    for (name, value) in definition {
        let bad = || Fault::bad(format!("definition {name} cannot be {value}"));
        let number = || value.as_u64().map(Some).ok_or_else(bad);
        let text = || value.as_str().map(|it| Some(it.to_owned())).ok_or_else(bad);
        match name.as_str() {
            "message-ttl" => policy.ttl_ms = number()?,
            "expires" => policy.expires_ms = number()?,
            "max-length" => policy.max_length = number()?,
            "max-length-bytes" => policy.max_bytes = number()?,
            "dead-letter-exchange" => policy.dead_letter_exchange = text()?,
            "dead-letter-routing-key" => policy.dead_letter_routing_key = text()?,
            "alternate-exchange" => policy.alternate = text()?,
            "delivery-limit" => {
                let limit = number()?.and_then(|limit| u32::try_from(limit).ok());
                policy.delivery_limit = Some(limit.ok_or_else(bad)?);
            }
            "overflow" => {
                let all = [
                    Overflow::DropHead,
                    Overflow::RejectPublish,
                    Overflow::RejectPublishDeadLetter,
                ];
                let found = all.into_iter().find(|it| Some(it.name()) == value.as_str());
                policy.overflow = Some(found.ok_or_else(bad)?);
            }
            _ => return Err(Fault::bad(format!("definition {name} is not supported"))),
        }
    }
    Ok(policy)
}
