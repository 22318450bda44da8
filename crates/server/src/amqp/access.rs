//! Accounts behind sessions: who logs in, and what roles the methods of AMQP ask for.

use std::pin::Pin;
use std::sync::Arc;

use longshore_amqp::{Credentials, Identity, Right, Rights};
use longshore_engine::Role;

use crate::access::{self, ADMIN, CONSUME, LOOK, PUBLISH, Principal, Wanted};
use crate::http::app::App;

/// A login that is being looked at.
pub(super) type Login = Pin<Box<dyn Future<Output = Option<(Principal, Identity)>> + Send>>;

/// What an account may do, as sessions ask for it.
#[derive(Debug)]
struct RightsOf(Principal);

/// Any role that lets somebody do something with messages.
const ANY: &[Role] = &[Role::Read, Role::Publish, Role::Consume];

impl Rights for RightsOf {
    fn may_open(&self, namespace: &str) -> bool {
        self.0.may(namespace, ANY, &Wanted::Anything)
    }

    fn may(&self, namespace: &str, right: Right, name: &str) -> bool {
        let roles = match right {
            // The same as over HTTP: see `access/needs.rs`.
            Right::Declare | Right::Bind | Right::Purge => ADMIN,
            Right::Look => LOOK,
            Right::Publish => PUBLISH,
            Right::Consume => CONSUME,
        };
        self.0.may(namespace, roles, &Wanted::Name(name))
    }
}

/// Looks whose credentials these are. Why they are nobody's stands in the log, not in the answer.
pub(super) fn log_in(app: &Arc<App>, credentials: Credentials) -> Login {
    let app = Arc::clone(app);
    Box::pin(async move {
        let certificate = app.peer.certificate.clone().unwrap_or_default();
        let with = match &credentials {
            Credentials::Password { user, password } => {
                access::Credentials::Password { name: user, password }
            }
            Credentials::Certificate => access::Credentials::Certificate(&certificate),
        };
        match app.access.authenticate(with, app.peer.address).await {
            Ok(who) => {
                let user = who.name().to_owned();
                let rights: Arc<dyn Rights> = Arc::new(RightsOf(who.clone()));
                Some((who, Identity { user, rights: Some(rights) }))
            }
            Err(refusal) => {
                let why = refusal.problem().detail;
                tracing::debug!(why, "a login over AMQP is refused");
                None
            }
        }
    })
}

/// Is ready once an account is there no longer, or may do other things.
pub(super) struct Changed(Pin<Box<dyn Future<Output = ()> + Send>>);

impl Changed {
    pub(super) fn of(who: &Principal) -> Self {
        match who {
            Principal::Account(_) => {
                let who = who.clone();
                Self(Box::pin(async move { who.ended().await }))
            }
            Principal::Local | Principal::Nobody => Self::never(),
        }
    }

    pub(super) fn never() -> Self {
        Self(Box::pin(std::future::pending()))
    }

    pub(super) async fn pass(&mut self) {
        self.0.as_mut().await;
    }
}
