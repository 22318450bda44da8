//! The service of service levels. Each call does what its sibling over HTTP does.

use std::sync::Arc;

use bytes::Bytes;
use longshore_engine::ask::{Ask, DeleteSla, GetSla, ListSlas, PutSla};
use longshore_engine::driver::Class;
use longshore_engine::{SlaSettings, SlaView};
use longshore_proto::v1;
use longshore_proto::v1::levels_server::Levels;
use longshore_proto::v1::sla_settings::{Goal, On};
use tonic::{Request, Response, Status};

use super::admin::record;
use super::job_in::api_job;
use super::{Face, namespace_of};
use crate::api::{DurationText, SlaBody, SlaTargetText};
use crate::http::json::missing;
use crate::http::look::ask;
use crate::http::parse::{Bounds, sla_of};
use crate::http::refusal::Refusal;
use crate::http::sla_view::sla;
use crate::http::text::check_path_name;

/// The service on one connection.
pub(super) struct LevelsFace(pub(super) Arc<Face>);

type Answered<T> = Result<Response<T>, Status>;

fn told(of: &SlaView) -> v1::Sla {
    let whole = sla(of);
    v1::Sla {
        name: whole.name.clone(),
        breached_since_unix_ms: whole.breached_since.map(|at| at.0),
        attained: whole.windows.get(1).and_then(|hour| hour.attained),
        late: whole.late,
        at_risk: whole.at_risk,
        workers_needed: whole.workers_needed,
        record: record(&whole),
    }
}

fn settings(of: Option<v1::SlaSettings>, bounds: &Bounds) -> Result<SlaSettings, Refusal> {
    let of = of.unwrap_or_default();
    let on = match of.on {
        Some(On::Queue(name)) => SlaTargetText::Queue(name),
        Some(On::Kind(name)) => SlaTargetText::Kind(name),
        Some(On::Schedule(name)) => SlaTargetText::Schedule(name),
        None => return Err(missing("on", "queue, kind or schedule")),
    };
    let mut body = SlaBody {
        on,
        started_within: None,
        done_within: None,
        at_least_every: None,
        share: of.share,
        breach: of.breach.as_ref().map(api_job).transpose()?,
    };
    match of.goal {
        Some(Goal::StartedWithinMs(ms)) => body.started_within = Some(DurationText(ms)),
        Some(Goal::DoneWithinMs(ms)) => body.done_within = Some(DurationText(ms)),
        Some(Goal::AtLeastEveryMs(ms)) => body.at_least_every = Some(DurationText(ms)),
        None => {}
    }
    sla_of(body, &Bytes::new(), bounds)
}

impl LevelsFace {
    async fn ask<C: Ask>(
        &self,
        namespace: &str,
        name: Option<&str>,
        command: C,
    ) -> Result<C::Answer, Refusal> {
        if let Some(name) = name {
            check_path_name("sla", name)?;
        }
        let _admitted = self.0.app.enter(Class::Settle, self.0.earlier)?;
        ask(&self.0.app, namespace_of(namespace)?, command).await
    }

    async fn one(
        &self,
        namespace: &str,
        name: &str,
        command: impl Ask<Answer = Box<SlaView>>,
    ) -> Answered<v1::Sla> {
        let view = self.ask(namespace, Some(name), command).await?;
        self.0.read(told(&view))
    }
}

#[tonic::async_trait]
impl Levels for LevelsFace {
    async fn list_slas(
        &self,
        request: Request<v1::ListSlasRequest>,
    ) -> Answered<v1::ListSlasResponse> {
        let slas = self.ask(&request.get_ref().namespace, None, ListSlas {}).await?;
        self.0.read(v1::ListSlasResponse { slas: slas.iter().map(told).collect() })
    }

    async fn get_sla(&self, request: Request<v1::SlaRequest>) -> Answered<v1::Sla> {
        let v1::SlaRequest { namespace, name } = request.into_inner();
        self.one(&namespace, &name, GetSla { name: name.clone() }).await
    }

    async fn put_sla(&self, request: Request<v1::PutSlaRequest>) -> Answered<v1::Sla> {
        let v1::PutSlaRequest { namespace, name, settings: of } = request.into_inner();
        let settings = Box::new(settings(of, &self.0.app.bounds)?);
        self.one(&namespace, &name, PutSla { name: name.clone(), settings }).await
    }

    async fn delete_sla(&self, request: Request<v1::SlaRequest>) -> Answered<v1::DeletedSla> {
        let v1::SlaRequest { namespace, name } = request.into_inner();
        let command = DeleteSla { name: name.clone() };
        self.ask(&namespace, Some(&name), command).await?;
        Ok(Response::new(v1::DeletedSla {}))
    }
}
