//! Accounts behind sessions: who logs in, and what roles the methods of AMQP ask for.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use longshore_amqp::{Credentials, Identity, Right, Rights};
use longshore_engine::Role;

use crate::access::{self, ADMIN, CONSUME, Ended, LOOK, PUBLISH, Principal, Wanted};
use crate::http::app::App;

/// A login that is being looked at.
type Login = Pin<Box<dyn Future<Output = Option<(Principal, Identity)>> + Send>>;

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
fn log_in(app: &Arc<App>, credentials: Credentials) -> Login {
    let app = Arc::clone(app);
    Box::pin(async move {
        // Just after a start; who has waited for too long is ended by the watch.
        app.access.ready().await;
        let with = match (&credentials, &app.peer.certificate) {
            (Credentials::Password { user, password }, _) => {
                access::Credentials::Password { name: user, password }
            }
            (Credentials::Certificate, Some(shown)) => access::Credentials::Certificate(shown),
            // It is not offered to who has none.
            (Credentials::Certificate, None) => return None,
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

/// What is awaited of the account of a connection.
pub(super) struct Awaited {
    who: Principal,
    changed: Ended,
    login: Option<Login>,
}

/// What has come of that.
pub(super) enum AccountNews {
    /// Whose the credentials are; `None` where they are nobody's.
    LoggedIn(Option<(Principal, Identity)>),
    /// The account is there no longer, or may do other things.
    Changed,
}

impl Awaited {
    pub(super) fn of(who: &Principal) -> Self {
        Self { who: who.clone(), changed: who.when_ended(), login: None }
    }

    /// Looks whose credentials these are.
    pub(super) fn log_in(&mut self, app: &Arc<App>, credentials: Credentials) {
        self.login = Some(log_in(app, credentials));
    }

    /// Its change is awaited from now on. `false` where that which was awaited before has come: the
    /// session may have begun things by it that it may do no longer.
    pub(super) fn follow(&mut self, who: &Principal) -> bool {
        let held = !matches!(self.who, Principal::Account(_)) || self.who.holds();
        self.who = who.clone();
        self.changed = who.when_ended();
        held
    }

    /// The next news, each once.
    pub(super) async fn news(&mut self) -> AccountNews {
        let Self { changed, login, .. } = self;
        let told = poll_fn(|context| match login {
            Some(login) => login.as_mut().poll(context),
            None => Poll::Pending,
        });
        tokio::select! {
            biased;
            () = changed.as_mut() => {
                *changed = Box::pin(std::future::pending());
                AccountNews::Changed
            }
            told = told => {
                self.login = None;
                AccountNews::LoggedIn(told)
            }
        }
    }
}
