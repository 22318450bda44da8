//! The service of workers, and of whoever asks about them.

use std::sync::Arc;

use longshore_engine::driver::Class;
use longshore_proto::v1;
use longshore_proto::v1::workers_server::Workers;
use tonic::{Request, Response, Status, Streaming};

use super::job_out::worker;
use super::outgoing::Incoming;
use super::{Face, namespace_of, work};
use crate::access::{ADMIN, Need, READ};
use crate::http::look::worker_named;
use crate::http::refusal::Refusal;
use crate::workers::Wanted;

/// The service on one connection.
pub(super) struct WorkersFace(pub(super) Arc<Face>);

impl WorkersFace {
    fn asked(
        &self,
        request: &v1::WorkerRequest,
        wanted: Wanted,
    ) -> Result<Response<v1::Worker>, Status> {
        let _admitted = self.0.app.enter(Class::Settle, self.0.earlier)?;
        let namespace = namespace_of(&request.namespace)?;
        let roles = if wanted == Wanted::Working { READ } else { ADMIN };
        self.0.app.who.demand(namespace, &Need::all(roles)).map_err(Refusal::from)?;
        let found = worker_named(&self.0.app, namespace, &request.worker)?;
        self.0.app.workers.want(&found, wanted);
        Ok(Response::new(worker(&found)))
    }
}

#[tonic::async_trait]
impl Workers for WorkersFace {
    type WorkStream = Incoming<v1::ServerMessage>;

    async fn work(
        &self,
        request: Request<Streaming<v1::WorkerMessage>>,
    ) -> Result<Response<Self::WorkStream>, Status> {
        Ok(work::begin(Arc::clone(&self.0), request.into_inner()))
    }

    async fn list_workers(
        &self,
        request: Request<v1::ListWorkersRequest>,
    ) -> Result<Response<v1::ListWorkersResponse>, Status> {
        let _admitted = self.0.app.enter(Class::Settle, self.0.earlier)?;
        let request = request.into_inner();
        let namespace = namespace_of(&request.namespace)?;
        self.0.app.who.demand(namespace, &Need::all(READ)).map_err(Refusal::from)?;
        let workers = self.0.app.workers.list(namespace);
        let workers = workers.iter().map(worker).collect();
        let list = v1::ListWorkersResponse { workers };
        self.0.read(list)
    }

    async fn get_worker(
        &self,
        request: Request<v1::WorkerRequest>,
    ) -> Result<Response<v1::Worker>, Status> {
        self.asked(request.get_ref(), Wanted::Working)
    }

    async fn quiet_worker(
        &self,
        request: Request<v1::WorkerRequest>,
    ) -> Result<Response<v1::Worker>, Status> {
        self.asked(request.get_ref(), Wanted::Quiet)
    }

    async fn terminate_worker(
        &self,
        request: Request<v1::WorkerRequest>,
    ) -> Result<Response<v1::Worker>, Status> {
        self.asked(request.get_ref(), Wanted::Terminate)
    }
}
