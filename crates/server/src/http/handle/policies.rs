//! Policies: list, put, remove.

use longshore_engine::ask::{DeletePolicy, ListPolicies, PutPolicy};
use longshore_engine::{Policy, PolicyTarget};

use super::messages::changed;
use super::{ask, ok};
use crate::api::{DurationText, PolicyBody, PolicyList, PolicyRecord, PolicyTargetText};
use crate::http::app::Call;
use crate::http::content;
use crate::http::json::{read, text_of};
use crate::http::refusal::Refusal;
use crate::http::reply::Reply;
use crate::http::text::check_path_name;

pub(super) async fn list(call: Call<'_>) -> Result<Reply, Refusal> {
    let record = |(name, policy)| PolicyRecord { name, settings: told(policy) };
    let policies = ask(&call, ListPolicies {}).await?.into_iter().map(record).collect();
    Ok(ok(&PolicyList { policies }).not_cached())
}

pub(super) async fn put(call: Call<'_>) -> Result<Reply, Refusal> {
    check_path_name("policy", call.name)?;
    let body: PolicyBody = read(text_of(&call.body)?)?;
    let (name, policy) = (call.name.to_owned(), Box::new(meant(body)));
    changed(&call, PutPolicy { name, policy }).await
}

pub(super) async fn delete(call: Call<'_>) -> Result<Reply, Refusal> {
    check_path_name("policy", call.name)?;
    changed(&call, DeletePolicy { name: call.name.to_owned() }).await
}

fn meant(body: PolicyBody) -> Policy {
    Policy {
        pattern: body.pattern,
        target: match body.apply_to {
            PolicyTargetText::All => PolicyTarget::All,
            PolicyTargetText::Queues => PolicyTarget::Queues,
            PolicyTargetText::Exchanges => PolicyTarget::Exchanges,
        },
        priority: body.priority,
        ttl_ms: body.ttl.map(|ttl| ttl.0),
        expires_ms: body.expires.map(|expires| expires.0),
        max_length: body.max_length,
        max_bytes: body.max_bytes,
        overflow: body.overflow.map(content::overflow_of),
        dead_letter_exchange: body.dead_letter_exchange,
        dead_letter_routing_key: body.dead_letter_routing_key,
        delivery_limit: body.delivery_limit,
        alternate: body.alternate,
    }
}

fn told(policy: Policy) -> PolicyBody {
    PolicyBody {
        pattern: policy.pattern,
        apply_to: match policy.target {
            PolicyTarget::All => PolicyTargetText::All,
            PolicyTarget::Queues => PolicyTargetText::Queues,
            PolicyTarget::Exchanges => PolicyTargetText::Exchanges,
        },
        priority: policy.priority,
        ttl: policy.ttl_ms.map(DurationText),
        expires: policy.expires_ms.map(DurationText),
        max_length: policy.max_length,
        max_bytes: policy.max_bytes,
        overflow: policy.overflow.map(content::overflow_text),
        dead_letter_exchange: policy.dead_letter_exchange,
        dead_letter_routing_key: policy.dead_letter_routing_key,
        delivery_limit: policy.delivery_limit,
        alternate: policy.alternate,
    }
}
