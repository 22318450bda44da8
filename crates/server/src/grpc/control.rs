//! The service of what holds jobs back: gates, holds, limits. Each call does what its sibling over
//! HTTP does.

use std::sync::Arc;

use longshore_engine::driver::Class;
use longshore_engine::{
    Answer, Command, GateAnswer, GateCommand, GateView, HoldAnswer, HoldCommand, HoldView,
    LimitView,
};
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
use crate::http::look::{ask, unexpected};
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
    async fn ask(
        &self,
        namespace: &str,
        (field, name): (&str, &str),
        command: Command,
    ) -> Result<Answer, Refusal> {
        check_path_name(field, name)?;
        let _admitted = self.0.app.enter(Class::Settle, self.0.earlier)?;
        ask(&self.0.app, namespace_of(namespace)?, command).await
    }

    async fn list(&self, namespace: &str, command: Command) -> Result<Answer, Refusal> {
        let _admitted = self.0.app.enter(Class::Settle, self.0.earlier)?;
        ask(&self.0.app, namespace_of(namespace)?, command).await
    }

    async fn gate(&self, namespace: &str, name: &str, command: GateCommand) -> Answered<v1::Gate> {
        match self.ask(namespace, ("gate", name), Command::Gates(command)).await? {
            Answer::Gates(GateAnswer::Gate(gate)) => Ok(Response::new(gate_told(&gate))),
            other => Err(unexpected(&other).into()),
        }
    }

    async fn hold(&self, namespace: &str, tag: &str, command: HoldCommand) -> Answered<v1::Hold> {
        match self.ask(namespace, ("tag", tag), Command::Holds(command)).await? {
            Answer::Holds(HoldAnswer::Hold(hold)) => Ok(Response::new(hold_told(&hold))),
            other => Err(unexpected(&other).into()),
        }
    }

    fn wait_ms(&self, wait_ms: u64) -> Result<u64, Refusal> {
        let max = self.0.app.limits.wait_ms_max;
        if wait_ms > max {
            return Err(Refusal::value("wait_ms", wait_ms, format!("0 to {max}")));
        }
        Ok(wait_ms)
    }

    async fn limit(&self, namespace: &str, name: &str, command: Command) -> Answered<v1::Limit> {
        match self.ask(namespace, ("limit", name), command).await? {
            Answer::Limit(limit) => Ok(Response::new(limit_told(&limit))),
            other => Err(unexpected(&other).into()),
        }
    }
}

#[tonic::async_trait]
impl Blockers for ControlFace {
    async fn list_gates(
        &self,
        request: Request<v1::ListControlRequest>,
    ) -> Answered<v1::ListGatesResponse> {
        let command = Command::Gates(GateCommand::List);
        match self.list(&request.get_ref().namespace, command).await? {
            Answer::Gates(GateAnswer::Gates(gates)) => {
                let gates = gates.iter().map(gate_told).collect();
                self.0.read(v1::ListGatesResponse { gates })
            }
            other => Err(unexpected(&other).into()),
        }
    }

    async fn get_gate(&self, request: Request<v1::ControlRequest>) -> Answered<v1::Gate> {
        let v1::ControlRequest { namespace, name } = request.into_inner();
        self.gate(&namespace, &name, GateCommand::Get { name: name.clone() }).await
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
        self.gate(&of.namespace, &of.name, command).await
    }

    async fn close_gate(&self, request: Request<v1::CloseGateRequest>) -> Answered<v1::Gate> {
        let of = request.into_inner();
        let body = CloseGateRequest {
            reason: some(&of.reason).map(str::to_owned),
            expires_in: of.expires_in_ms.map(DurationText),
            expires_at: of.expires_at_unix_ms.map(InstantText),
        };
        let command = close_of(&of.name, body, &self.0.app.bounds)?;
        self.gate(&of.namespace, &of.name, command).await
    }

    async fn open_gate(&self, request: Request<v1::ControlRequest>) -> Answered<v1::Gate> {
        let v1::ControlRequest { namespace, name } = request.into_inner();
        self.gate(&namespace, &name, open_of(&name)).await
    }

    async fn delete_gate(
        &self,
        request: Request<v1::ControlRequest>,
    ) -> Answered<v1::DeletedControl> {
        let v1::ControlRequest { namespace, name } = request.into_inner();
        let command = Command::Gates(GateCommand::Delete { name: name.clone() });
        match self.ask(&namespace, ("gate", &name), command).await? {
            Answer::Gates(GateAnswer::Deleted) => Ok(Response::new(v1::DeletedControl {})),
            other => Err(unexpected(&other).into()),
        }
    }

    async fn list_holds(
        &self,
        request: Request<v1::ListControlRequest>,
    ) -> Answered<v1::ListHoldsResponse> {
        let command = Command::Holds(HoldCommand::List);
        match self.list(&request.get_ref().namespace, command).await? {
            Answer::Holds(HoldAnswer::Holds(holds)) => {
                let holds = holds.iter().map(hold_told).collect();
                self.0.read(v1::ListHoldsResponse { holds })
            }
            other => Err(unexpected(&other).into()),
        }
    }

    async fn get_hold(&self, request: Request<v1::GetHoldRequest>) -> Answered<v1::Hold> {
        let v1::GetHoldRequest { namespace, tag, wait_ms } = request.into_inner();
        let wait_ms = self.wait_ms(wait_ms)?;
        self.hold(&namespace, &tag, HoldCommand::Get { tag: tag.clone(), wait_ms }).await
    }

    async fn put_hold(&self, request: Request<v1::PutHoldRequest>) -> Answered<v1::Hold> {
        let v1::PutHoldRequest { namespace, tag, reason, wait_ms } = request.into_inner();
        let (reason, wait_ms) = (some(&reason).map(str::to_owned), self.wait_ms(wait_ms)?);
        let command = HoldCommand::Put { tag: tag.clone(), reason, wait_ms };
        self.hold(&namespace, &tag, command).await
    }

    async fn delete_hold(
        &self,
        request: Request<v1::ControlRequest>,
    ) -> Answered<v1::DeletedControl> {
        let v1::ControlRequest { namespace, name } = request.into_inner();
        let command = Command::Holds(HoldCommand::Delete { tag: name.clone() });
        match self.ask(&namespace, ("tag", &name), command).await? {
            Answer::Holds(HoldAnswer::Deleted) => Ok(Response::new(v1::DeletedControl {})),
            other => Err(unexpected(&other).into()),
        }
    }

    async fn list_limits(
        &self,
        request: Request<v1::ListControlRequest>,
    ) -> Answered<v1::ListLimitsResponse> {
        match self.list(&request.get_ref().namespace, Command::ListLimits).await? {
            Answer::Limits(limits) => {
                let limits = limits.iter().map(limit_told).collect();
                self.0.read(v1::ListLimitsResponse { limits })
            }
            other => Err(unexpected(&other).into()),
        }
    }

    async fn get_limit(&self, request: Request<v1::ControlRequest>) -> Answered<v1::Limit> {
        let v1::ControlRequest { namespace, name } = request.into_inner();
        self.limit(&namespace, &name, Command::GetLimit { name: name.clone() }).await
    }

    async fn put_limit(&self, request: Request<v1::PutLimitRequest>) -> Answered<v1::Limit> {
        let v1::PutLimitRequest { namespace, name, settings } = request.into_inner();
        let settings = limit_of(limit_body(settings)?, &self.0.app.bounds)?;
        self.limit(&namespace, &name, Command::PutLimit { name: name.clone(), settings }).await
    }

    async fn delete_limit(
        &self,
        request: Request<v1::ControlRequest>,
    ) -> Answered<v1::DeletedControl> {
        let v1::ControlRequest { namespace, name } = request.into_inner();
        let command = Command::DeleteLimit { name: name.clone() };
        match self.ask(&namespace, ("limit", &name), command).await? {
            Answer::LimitDeleted => Ok(Response::new(v1::DeletedControl {})),
            other => Err(unexpected(&other).into()),
        }
    }
}
