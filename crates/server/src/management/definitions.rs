//! Definitions: everything that is declared, as one JSON document. Those of a `RabbitMQ` are taken
//! over as far as they have a meaning here; what is not is listed in the answer, never dropped in
//! silence.

use serde_json::{Value, json};

use super::serve::{Api, Fault};

/// Sections that are taken over, in this order.
const SECTIONS: [&str; 7] =
    ["vhosts", "users", "permissions", "exchanges", "queues", "bindings", "policies"];

/// Faults that are told one by one.
const TOLD_MAX: usize = 1000;

/// An item as it is told back.
fn without_secrets(item: &Value) -> Value {
    let mut item = item.clone();
    if let Some(fields) = item.as_object_mut() {
        fields.retain(|name, _| !matches!(&**name, "password" | "password_hash"));
    }
    item
}

impl Api {
    /// All that is declared, or that of one virtual host. What is a connection's own, and what
    /// always exists, is none of it.
    pub(super) async fn export(&self, vhost: Option<&str>) -> Result<Value, Fault> {
        let of = |name: &str| name.is_empty() || name.starts_with("amq.");
        let kept = |value: Value, drop: &[&str], keep: &dyn Fn(&Value) -> bool| -> Value {
            let items = value.as_array().cloned().unwrap_or_default().into_iter().filter(keep);
            let items = items.map(|mut item| {
                if let Some(fields) = item.as_object_mut() {
                    fields.retain(|name, _| {
                        !(drop.contains(&&**name) || vhost.is_some() && name == "vhost")
                    });
                }
                item
            });
            items.collect()
        };
        let queue_only = [
            "node",
            "state",
            "policy",
            "consumers",
            "messages",
            "messages_ready",
            "messages_unacknowledged",
            "message_bytes",
            "message_stats",
            "exclusive",
            "type",
        ];
        let named = |it: &Value| !of(it["name"].as_str().unwrap_or_default());
        let own = |it: &Value| it["exclusive"] == false && it["durable"] == true;
        let bound = |it: &Value| it["source"] != "";
        let mut all = json!({
            "rabbit_version": "4.2.0", "rabbitmq_version": "4.2.0", "product_name": "Longshore",
            "queues": kept(self.queues(vhost).await?, &queue_only, &own),
            "exchanges": kept(self.exchanges(vhost).await?, &["policy"], &named),
            "bindings": kept(self.bindings(vhost, &bound).await?, &["properties_key"], &|_| true),
            "policies": kept(self.policies(vhost).await?, &[], &|_| true),
        });
        if vhost.is_none() {
            all["vhosts"] = kept(self.vhosts().await?, &[], &|_| true);
            let (users, permissions) = self.users_to_export().await?;
            all["users"] = users;
            all["permissions"] = permissions;
        }
        Ok(all)
    }

    /// Takes over definitions. The answer says how many of each, and what was not.
    pub(super) async fn import(&self, vhost: Option<&str>, body: &Value) -> Result<Value, Fault> {
        let Some(sections) = body.as_object() else {
            return Err(Fault::bad("definitions are an object"));
        };
        let (mut taken, mut refused) = (json!({}), Vec::new());
        for name in SECTIONS {
            let items = body.get(name).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            let mut count = 0_u64;
            // Once for all of them: each would count as one that tries.
            if matches!(name, "users" | "permissions")
                && !items.is_empty()
                && let Err(fault) = self.demand_accounts()
            {
                let (items, reason) = (items.len(), fault.reason);
                refused.push(json!({"section": name, "items": items, "reason": reason}));
                taken[name] = count.into();
                continue;
            }
            for item in items {
                match self.take_over(name, vhost, item).await {
                    Ok(()) => count += 1,
                    Err(fault) if fault.status.is_server_error() => return Err(fault),
                    Err(fault) if refused.len() < TOLD_MAX => {
                        let item = without_secrets(item);
                        refused
                            .push(json!({"section": name, "item": item, "reason": fault.reason}));
                    }
                    Err(_) => {
                        let reason = "more than 1000 items cannot be taken over; the import \
                                      stopped, items before them are in effect";
                        return Err(Fault::bad(reason));
                    }
                }
            }
            taken[name] = count.into();
        }
        for (name, value) in sections {
            let empty = value.as_array().is_some_and(Vec::is_empty) || !value.is_array();
            if !SECTIONS.contains(&&**name) && !empty {
                let reason = "there is nothing like it here";
                let items = value.as_array().map_or(0, Vec::len);
                refused.push(json!({"section": name, "items": items, "reason": reason}));
            }
        }
        tracing::info!(%taken, refused = refused.len(), "definitions were taken over");
        Ok(json!({"taken": taken, "not_taken": refused}))
    }

    async fn take_over(&self, section: &str, of: Option<&str>, item: &Value) -> Result<(), Fault> {
        let text = |name: &str| item.get(name).and_then(Value::as_str);
        let needed =
            |name: &str| text(name).ok_or_else(|| Fault::bad(format!("key_missing: {name}")));
        let vhost = of.or_else(|| text("vhost")).unwrap_or("/");
        match section {
            "vhosts" => self.put_vhost(needed("name")?).await?,
            "users" | "permissions" if of.is_some() => {
                return Err(Fault::bad("users and permissions are of no virtual host alone"));
            }
            "users" => self.put_user(needed("name")?, item, true).await?,
            "permissions" => self.put_permission((vhost, needed("user")?), item).await?,
            "exchanges" => self.put_exchange(vhost, needed("name")?, item).await?,
            "queues" => self.put_queue(vhost, needed("name")?, item).await?,
            "policies" => self.put_policy(vhost, needed("name")?, item).await?,
            _ => {
                let to_exchange = text("destination_type") == Some("exchange");
                let place = (needed("source")?, to_exchange, needed("destination")?);
                self.bind(vhost, place, item).await?
            }
        };
        Ok(())
    }
}
