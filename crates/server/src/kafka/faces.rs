//! The Kafka face as each connection sees it: by which address it came in, who it is, and whose
//! streams and groups it has.

use std::sync::Arc;
use std::time::Duration;

use longshore_kafka::message::metadata::Broker;

use super::KafkaConfig;
use super::face::Face;
use super::sasl::Login;
use crate::access::{Access, Credentials, Ended, Principal};
use crate::groups::ConsumerGroups;
use crate::running::timeout;
use crate::sparse::Sparse;
use crate::tls::stream::Peer;

/// How long the accounts are waited for.
const READY_TIME_MAX: Duration = Duration::from_secs(10);

/// Whether a client is let in.
pub(super) enum Stage {
    /// Not yet.
    Before(Login),
    /// It is, until that is ready.
    In(Arc<Face>, Ended),
}

impl Stage {
    /// Whether it is known who it is, though it may say otherwise yet.
    pub(super) fn is_known(&self) -> bool {
        match self {
            Self::In(..) => true,
            Self::Before(login) => login.has_certificate(),
        }
    }

    /// Who it is, as far as it is known.
    pub(super) fn who(&self) -> Option<&Principal> {
        match self {
            Self::In(face, _) => Some(&face.who),
            Self::Before(login) => login.certificate(),
        }
    }

    /// Is ready once its account is there no longer, or may do other things.
    pub(super) async fn ended(&mut self) {
        match self {
            Self::In(_, ended) => ended.as_mut().await,
            Self::Before(_) => std::future::pending().await,
        }
    }
}

/// What all connections share.
#[derive(Debug)]
pub(super) struct Faces {
    /// That of the server itself, in the namespace of the configuration.
    own: Arc<Face>,
    /// What those are told who came in with TLS.
    by_tls: Broker,
    access: Access,
    /// Clients that speak something else.
    pub(super) strangers: Sparse,
    /// Those of all namespaces.
    groups: ConsumerGroups,
}

impl Faces {
    pub(super) fn new(
        own: Arc<Face>,
        by_tls: Broker,
        (access, groups): (Access, ConsumerGroups),
    ) -> Self {
        Self { own, by_tls, access, strangers: Sparse::default(), groups }
    }

    pub(super) fn config(&self) -> &KafkaConfig {
        &self.own.config
    }

    /// Where a connection begins: a certificate that stands for an account lets in by itself, as
    /// with a listener of Kafka for SSL, unless the client logs in all the same.
    pub(super) async fn stage(&self, peer: &Peer) -> Stage {
        if !self.access.is_required() {
            return self.let_in(peer, Principal::Local);
        }
        // Just after a start; what is not there by then is told with the login.
        let _ = timeout(READY_TIME_MAX, self.access.ready()).await;
        let address = peer.address.ip();
        if let Some(shown) = &peer.of_access().certificate {
            let with = Credentials::Certificate(shown);
            let who = self.access.authenticate(with, Some(address)).await.ok();
            return Stage::Before(Login::new(self.access.clone(), address, who));
        }
        Stage::Before(Login::new(self.access.clone(), address, None))
    }

    /// The face as somebody sees it.
    pub(super) fn let_in(&self, peer: &Peer, who: Principal) -> Stage {
        let mut face = Face::clone(&self.own);
        if peer.is_tls {
            face.broker = self.by_tls.clone();
        }
        if let Some(namespace) = who.namespace()
            && namespace != face.config.namespace
        {
            let namespace = namespace.to_owned();
            face.config = Arc::new(KafkaConfig { namespace, ..KafkaConfig::clone(&face.config) });
            face.groups = self.groups.of(&face.config.namespace);
        }
        let ended = who.when_ended();
        face.who = who;
        Stage::In(Arc::new(face), ended)
    }
}
