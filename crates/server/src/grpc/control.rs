//! The service of what holds jobs back: gates, holds, limits. Each call does what its sibling over
//! HTTP does.

use std::borrow::Borrow;
use std::sync::Arc;

use longshore_engine::ask::{
    Ask, DeleteGate, DeleteHold, DeleteLimit, GetGate, GetHold, GetLimit, ListGates, ListHolds,
    ListLimits, PutHold, PutLimit,
};
use longshore_engine::driver::Class;
use longshore_engine::{GateView, HoldView, LimitView};
use longshore_proto::v1;
use longshore_proto::v1::blockers_server::Blockers;
use longshore_proto::v1::limit_settings::Rule;
use tonic::{Request, Response, Status};

use super::admin::{record, some};
use super::job_in::word;
use super::{Face, namespace_of};
use crate::api::{
    BucketText, CloseGateRequest, DurationText, GateBody, InstantText, LimitKeyRecord, LimitRecord,
    LimitScopeText, LimitSettingsBody, WindowText,
};
use crate::http::json::missing;
use crate::http::look::ask;
use crate::http::parse::{close_of, gate_of, limit_of, open_of};
use crate::http::refusal::Refusal;
use crate::http::text::check_path_name;
use crate::http::view;

/// The service on one connection.
pub(super) struct ControlFace(pub(super) Arc<Face>);

type Answered<T> = Result<Response<T>, Status>;

fn gate_told(of: &GateView) -> v1::Gate {
    v1::Gate {
        name: of.name.clone(),
        closed: of.gate.closed,
        reason: of.gate.reason.clone().unwrap_or_default(),
        expires_at_unix_ms: of.gate.expires_at.map(|at| at.0),
        running: of.running,
        record: record(&view::gate(of)),
    }
}

fn hold_told(of: &HoldView) -> v1::Hold {
    v1::Hold {
        tag: of.tag.clone(),
        epoch: of.hold.epoch,
        quiet: of.running == 0,
        running: of.running,
        unaccounted: of.unaccounted,
        reason: of.hold.reason.clone().unwrap_or_default(),
        record: record(&view::hold(of)),
    }
}

fn limit_told(of: &LimitView) -> v1::Limit {
    let LimitRecord { name, settings, running, spent, waiting, keys } = view::limit(of);
    let rule = match (settings.concurrency, settings.window, settings.bucket) {
        (Some(max), ..) => Some(Rule::Concurrency(max)),
        (_, Some(WindowText { max, per }), _) => {
            Some(Rule::Window(v1::LimitWindow { max, per_ms: per.0 }))
        }
        (.., Some(BucketText { burst, count, per })) => {
            Some(Rule::Bucket(v1::LimitBucket { burst, count, per_ms: per.0 }))
        }
        _ => None,
    };
    let (scope, of) = (settings.scope.to_string(), settings.of.unwrap_or_default());
    let settings = Some(v1::LimitSettings { scope, of, rule });
    let key =
        |of: LimitKeyRecord| v1::LimitKey { key: of.key, running: of.running, waiting: of.waiting };
    let keys = keys.into_iter().map(key).collect();
    v1::Limit { name, settings, running, spent, waiting, keys }
}

fn limit_body(of: Option<v1::LimitSettings>) -> Result<LimitSettingsBody, Refusal> {
    let of = of.unwrap_or_default();
    let scope: Option<LimitScopeText> = word("scope", &of.scope, "namespace, queue, kind, key")?;
    let (mut concurrency, mut window, mut bucket) = (None, None, None);
    match of.rule {
        Some(Rule::Concurrency(max)) => concurrency = Some(max),
        Some(Rule::Window(it)) => {
            window = Some(WindowText { max: it.max, per: DurationText(it.per_ms) });
        }
        Some(Rule::Bucket(v1::LimitBucket { burst, count, per_ms })) => {
            bucket = Some(BucketText { burst, count, per: DurationText(per_ms) });
        }
        None => {}
    }
    Ok(LimitSettingsBody {
        scope: scope.ok_or_else(|| missing("scope", "what the limit counts by itself"))?,
        of: some(&of.of).map(str::to_owned),
        concurrency,
        window,
        bucket,
    })
}

impl ControlFace {
    async fn ask<C: Ask>(
        &self,
        namespace: &str,
        (field, name): (&str, &str),
        command: C,
    ) -> Result<C::Answer, Refusal> {
        check_path_name(field, name)?;
        let _admitted = self.0.app.enter(Class::Settle, self.0.earlier)?;
        ask(&self.0.app, namespace_of(namespace)?, command).await
    }

    async fn list<C: Ask>(&self, namespace: &str, command: C) -> Result<C::Answer, Refusal> {
        let _admitted = self.0.app.enter(Class::Settle, self.0.earlier)?;
        ask(&self.0.app, namespace_of(namespace)?, command).await
    }

    async fn one<C: Ask<Answer: Borrow<A>>, A, T>(
        &self,
        namespace: &str,
        named: (&str, &str),
        command: C,
        told: impl FnOnce(&A) -> T,
    ) -> Answered<T> {
        let answer = self.ask(namespace, named, command).await?;
        Ok(Response::new(told(answer.borrow())))
    }

    fn wait_ms(&self, wait_ms: u64) -> Result<u64, Refusal> {
        let max = self.0.app.limits.wait_ms_max;
        if wait_ms > max {
            return Err(Refusal::value("wait_ms", wait_ms, format!("0 to {max}")));
        }
        Ok(wait_ms)
    }
}

#[tonic::async_trait]
impl Blockers for ControlFace {
    async fn list_gates(
        &self,
        request: Request<v1::ListControlRequest>,
    ) -> Answered<v1::ListGatesResponse> {
        let gates = self.list(&request.get_ref().namespace, ListGates {}).await?;
        self.0.read(v1::ListGatesResponse { gates: gates.iter().map(gate_told).collect() })
    }

    async fn get_gate(&self, request: Request<v1::ControlRequest>) -> Answered<v1::Gate> {
        let v1::ControlRequest { namespace, name } = request.into_inner();
        self.one(&namespace, ("gate", &name), GetGate { name: name.clone() }, gate_told).await
    }

    async fn put_gate(&self, request: Request<v1::PutGateRequest>) -> Answered<v1::Gate> {
        let of = request.into_inner();
        let body = GateBody {
            closed: of.closed,
            reason: some(&of.reason).map(str::to_owned),
            expires_in: of.expires_in_ms.map(DurationText),
            expires_at: of.expires_at_unix_ms.map(InstantText),
            queues: of.queues,
            kinds: of.kinds,
        };
        let command = gate_of(&of.name, body, &self.0.app.bounds)?;
        self.one(&of.namespace, ("gate", &of.name), command, gate_told).await
    }

    async fn close_gate(&self, request: Request<v1::CloseGateRequest>) -> Answered<v1::Gate> {
        let of = request.into_inner();
        let body = CloseGateRequest {
            reason: some(&of.reason).map(str::to_owned),
            expires_in: of.expires_in_ms.map(DurationText),
            expires_at: of.expires_at_unix_ms.map(InstantText),
        };
        let command = close_of(&of.name, body, &self.0.app.bounds)?;
        self.one(&of.namespace, ("gate", &of.name), command, gate_told).await
    }

    async fn open_gate(&self, request: Request<v1::ControlRequest>) -> Answered<v1::Gate> {
        let v1::ControlRequest { namespace, name } = request.into_inner();
        self.one(&namespace, ("gate", &name), open_of(&name), gate_told).await
    }

    async fn delete_gate(
        &self,
        request: Request<v1::ControlRequest>,
    ) -> Answered<v1::DeletedControl> {
        let v1::ControlRequest { namespace, name } = request.into_inner();
        let command = DeleteGate { name: name.clone() };
        self.one(&namespace, ("gate", &name), command, |()| v1::DeletedControl {}).await
    }

    async fn list_holds(
        &self,
        request: Request<v1::ListControlRequest>,
    ) -> Answered<v1::ListHoldsResponse> {
        let holds = self.list(&request.get_ref().namespace, ListHolds {}).await?;
        self.0.read(v1::ListHoldsResponse { holds: holds.iter().map(hold_told).collect() })
    }

    async fn get_hold(&self, request: Request<v1::GetHoldRequest>) -> Answered<v1::Hold> {
        let v1::GetHoldRequest { namespace, tag, wait_ms } = request.into_inner();
        let wait_ms = self.wait_ms(wait_ms)?;
        self.one(&namespace, ("tag", &tag), GetHold { tag: tag.clone(), wait_ms }, hold_told).await
    }

    async fn put_hold(&self, request: Request<v1::PutHoldRequest>) -> Answered<v1::Hold> {
        let v1::PutHoldRequest { namespace, tag, reason, wait_ms } = request.into_inner();
        let (reason, wait_ms) = (some(&reason).map(str::to_owned), self.wait_ms(wait_ms)?);
        let command = PutHold { tag: tag.clone(), reason, wait_ms };
        self.one(&namespace, ("tag", &tag), command, hold_told).await
    }

    async fn delete_hold(
        &self,
        request: Request<v1::ControlRequest>,
    ) -> Answered<v1::DeletedControl> {
        let v1::ControlRequest { namespace, name } = request.into_inner();
        let command = DeleteHold { tag: name.clone() };
        self.one(&namespace, ("tag", &name), command, |()| v1::DeletedControl {}).await
    }

    async fn list_limits(
        &self,
        request: Request<v1::ListControlRequest>,
    ) -> Answered<v1::ListLimitsResponse> {
        let limits = self.list(&request.get_ref().namespace, ListLimits {}).await?;
        self.0.read(v1::ListLimitsResponse { limits: limits.iter().map(limit_told).collect() })
    }

    async fn get_limit(&self, request: Request<v1::ControlRequest>) -> Answered<v1::Limit> {
        let v1::ControlRequest { namespace, name } = request.into_inner();
        self.one(&namespace, ("limit", &name), GetLimit { name: name.clone() }, limit_told).await
    }

    async fn put_limit(&self, request: Request<v1::PutLimitRequest>) -> Answered<v1::Limit> {
        let v1::PutLimitRequest { namespace, name, settings } = request.into_inner();
        let settings = limit_of(limit_body(settings)?, &self.0.app.bounds)?;
        self.one(
            &namespace,
            ("limit", &name),
            PutLimit { name: name.clone(), settings },
            limit_told,
        )
        .await
    }

    async fn delete_limit(
        &self,
        request: Request<v1::ControlRequest>,
    ) -> Answered<v1::DeletedControl> {
        let v1::ControlRequest { namespace, name } = request.into_inner();
        let command = DeleteLimit { name: name.clone() };
        self.one(&namespace, ("limit", &name), command, |()| v1::DeletedControl {}).await
    }
}
