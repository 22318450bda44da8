//! Who asks, once it is known: what it may do, and when that ends.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_engine::{Account, JobId, Role, TimeMs, matches_pattern};
use longshore_node::wall_now;

use super::gate::{Inner, Shown};
use super::needs::{Need, Wanted};
use super::rates::PlaceInLine;
use crate::http::code::Code;
use crate::http::refusal::Refusal;
use crate::http::text::quoted;

/// By what an account was known.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Proof {
    /// The token of this id and hash.
    Token(String, bytes::Bytes),
    /// The password with this hash.
    Password(String),
    /// This certificate.
    Certificate(Shown),
}

/// Is ready once somebody may come in no longer, or may do other things.
pub(crate) type Ended = Pin<Box<dyn Future<Output = ()> + Send>>;

/// An account that has come in.
#[derive(Debug)]
pub(crate) struct Known {
    pub(super) inner: Arc<Inner>,
    pub(super) account: Arc<Account>,
    pub(super) proof: Proof,
}

/// Who asks.
#[derive(Clone, Debug, Default)]
pub(crate) enum Principal {
    /// Whoever reaches a server that asks nobody who it is: it may do everything.
    Local,
    /// Nobody yet: it may do nothing.
    #[default]
    Nobody,
    /// An account.
    Account(Arc<Known>),
}

/// Somebody lacks a role.
#[derive(Clone, Debug)]
pub(crate) struct Denied {
    who: Principal,
    roles: &'static [Role],
    /// Which namespaces, in words.
    place: String,
    of: String,
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        let Denied { who, roles, place, of } = denied;
        let roles: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
        let roles = roles.join(" or ");
        let detail =
            format!("account {} needs the role {roles} for {of} in {place}", quoted(who.name()));
        if let Principal::Account(known) = &who {
            known.inner.denied(who.name(), &detail);
        }
        Self::new(Code::AccessDenied, detail).allowed(format!("{roles} for {of}"))
    }
}

impl Principal {
    /// The name that the trail of changes has.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Local => "local user",
            Self::Nobody => "nobody",
            Self::Account(known) => &known.account.name,
        }
    }

    /// Whether nobody is asked who it is.
    pub(crate) fn is_local(&self) -> bool {
        matches!(self, Self::Local)
    }

    /// The namespace that the account has for protocols that name none.
    pub(crate) fn namespace(&self) -> Option<&str> {
        match self {
            Self::Account(known) => known.account.namespace.as_deref(),
            Self::Local | Self::Nobody => None,
        }
    }

    /// Whether it has one of these roles for all that is wanted.
    pub(crate) fn may(&self, namespace: &str, roles: &[Role], of: &Wanted<'_>) -> bool {
        let known = match self {
            Self::Local => return true,
            Self::Nobody => return false,
            Self::Account(known) => known,
        };
        known.account.grants.iter().any(|grant| {
            let has_role = grant.role == Role::Admin || roles.contains(&grant.role);
            let everywhere = namespace == EVERYWHERE && grant.namespace == EVERYWHERE;
            let here = everywhere
                || (namespace != EVERYWHERE && matches_pattern(&grant.namespace, namespace));
            has_role && here && covers(&grant.names, of)
        })
    }

    /// Whether it has one of these roles for anything anywhere.
    pub(crate) fn may_anywhere(&self, roles: &[Role]) -> bool {
        match self {
            Self::Local => true,
            Self::Nobody => false,
            Self::Account(known) => {
                let mut grants = known.account.grants.iter();
                grants.any(|grant| grant.role == Role::Admin || roles.contains(&grant.role))
            }
        }
    }

    /// Refuses what it may not do. `Some` job whose queue has to be looked at, where that decides.
    pub(crate) fn demand(&self, namespace: &str, need: &Need<'_>) -> Result<Option<JobId>, Denied> {
        let namespace = need.namespace.unwrap_or(namespace);
        let all = || self.may(namespace, need.roles, &Wanted::Everything);
        match &need.of {
            Wanted::Job(id) if self.may(namespace, need.roles, &Wanted::Anything) => {
                Ok((!all()).then_some(*id))
            }
            of if self.may(namespace, need.roles, of) => Ok(None),
            of => Err(self.denied(namespace, need.roles, of)),
        }
    }

    /// The refusal of what it may not do. No namespace stands for any.
    pub(crate) fn denied(
        &self,
        namespace: &str,
        roles: &'static [Role],
        of: &Wanted<'_>,
    ) -> Denied {
        let place = match namespace {
            EVERYWHERE => "every namespace".to_owned(),
            "" => "any namespace".to_owned(),
            one => format!("namespace {}", quoted(one)),
        };
        Denied { who: self.clone(), roles, place, of: of.to_string() }
    }

    /// Counts a request with those of its account, or refuses it.
    pub(crate) fn take_turn(&self) -> Result<(), Refusal> {
        let Self::Account(known) = self else { return Ok(()) };
        let Some(most) = known.account.requests_per_second else { return Ok(()) };
        let taken = known.inner.rates().take(&known.account.name, most, Instant::now());
        taken.map_err(|wait_s| {
            let name = quoted(&known.account.name);
            let detail = format!("account {name} may make {most} requests in a second");
            Refusal::new(Code::AccountRate, detail).retry_after_s(wait_s)
        })
    }

    /// How much its account may publish in a second, over the faces where that waits for its turn;
    /// `None` without a bound.
    pub(crate) fn publishes_per_second(&self) -> Option<u32> {
        let Self::Account(known) = self else { return None };
        known.inner.account(&known.account.name)?.requests_per_second
    }

    /// Gives a turn to so much that is published; `None` without a bound.
    pub(super) fn reserve(&self, count: u32) -> Option<PlaceInLine> {
        let (Self::Account(known), Some(most)) = (self, self.publishes_per_second()) else {
            return None;
        };
        known.inner.rates().reserve((&known.account.name, most), count, Instant::now())
    }

    /// How long it is until a turn comes, as the bound is now.
    pub(super) fn turn_left(&self, turn: PlaceInLine) -> Duration {
        let (Self::Account(known), Some(most)) = (self, self.publishes_per_second()) else {
            return Duration::ZERO;
        };
        known.inner.rates().left((&known.account.name, most), turn, Instant::now())
    }

    /// What had a turn is not published.
    pub(super) fn give_back(&self, turn: PlaceInLine) {
        if let Self::Account(known) = self {
            known.inner.rates().give_back(&known.account.name, turn);
        }
    }

    /// How long what it publishes next would wait.
    pub(crate) fn turn_in(&self) -> Duration {
        let (Self::Account(known), Some(most)) = (self, self.publishes_per_second()) else {
            return Duration::ZERO;
        };
        known.inner.rates().turn_in(&known.account.name, most, Instant::now())
    }

    /// The same with what it may do now; `None` where it would not be let in any more.
    pub(crate) fn now(&self) -> Option<Self> {
        let Self::Account(known) = self else { return Some(self.clone()) };
        let account = known.inner.account(&known.account.name)?;
        if Arc::ptr_eq(&account, &known.account) {
            return known.is_proven_by(&account).then(|| self.clone());
        }
        let (inner, proof) = (Arc::clone(&known.inner), known.proof.clone());
        let now = known.is_proven_by(&account).then_some(Known { inner, account, proof });
        now.map(|known| Self::Account(Arc::new(known)))
    }

    /// Whether it would be let in now.
    pub(crate) fn is_in(&self) -> bool {
        !matches!(self, Self::Account(_)) || self.now().is_some()
    }

    /// Whether what it came in with holds, and what it may do is as it was.
    pub(crate) fn holds(&self) -> bool {
        match self {
            Self::Local => true,
            Self::Nobody => false,
            Self::Account(known) => known.holds(),
        }
    }

    /// The same as [`Principal::ended`], to be kept and awaited beside other things.
    pub(crate) fn when_ended(&self) -> Ended {
        let who = self.clone();
        Box::pin(async move { who.ended().await })
    }

    /// Is ready once what it came in with holds no longer, or what it may do has changed: then its
    /// connection ends.
    pub(crate) async fn ended(&self) {
        let Self::Account(known) = self else { return std::future::pending().await };
        let mut versions = known.inner.versions();
        loop {
            if !known.holds() {
                return;
            }
            let expires = known.expires_at().map(|at| Duration::from_millis(at.since(wall_now())));
            // Looked at again in an hour at the latest: the clock of the wall may be set.
            let look = expires.unwrap_or(LOOK_AGAIN).min(LOOK_AGAIN);
            tokio::select! {
                changed = versions.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(look) => {}
            }
        }
    }
}

/// The namespace of what concerns all of them.
pub(super) const EVERYWHERE: &str = "*";

const LOOK_AGAIN: Duration = Duration::from_secs(3600);

impl Known {
    fn expires_at(&self) -> Option<TimeMs> {
        match &self.proof {
            Proof::Token(id, _) => {
                self.account.tokens.iter().find(|token| token.id == *id)?.expires_at
            }
            Proof::Password(_) => None,
            Proof::Certificate(shown) => shown.ends,
        }
    }

    /// Whether the account is as it was, as far as that decides what it may do.
    fn holds(&self) -> bool {
        let Some(now) = self.inner.account(&self.account.name) else { return false };
        let was = &*self.account;
        self.is_proven_by(&now) && was.grants == now.grants && was.namespace == now.namespace
    }

    /// Whether an account is let in with what it came in with.
    fn is_proven_by(&self, now: &Account) -> bool {
        match &self.proof {
            Proof::Token(id, hash) => now.tokens.iter().any(|token| {
                let valid = token.expires_at.is_none_or(|at| at > wall_now());
                token.id == *id && token.hash == *hash && valid
            }),
            Proof::Password(hash) => now.password.as_ref().is_some_and(|it| it.hash == *hash),
            Proof::Certificate(shown) => {
                shown.holds() && now.certificates.iter().any(|it| **it == *shown.subject)
            }
        }
    }
}

/// Whether a pattern of a grant means all that is wanted.
fn covers(pattern: &str, of: &Wanted<'_>) -> bool {
    match of {
        Wanted::Anything => true,
        Wanted::Everything | Wanted::Job(_) => pattern == "*",
        Wanted::Name(name) => matches_pattern(pattern, name),
        Wanted::Beginning(beginning) => {
            pattern.strip_suffix('*').is_some_and(|it| beginning.starts_with(it))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_covers_what_it_means_and_not_what_it_meets() {
        for (pattern, of, expected) in [
            ("*", Wanted::Everything, true),
            ("*", Wanted::Name("mail"), true),
            ("*", Wanted::Beginning(""), true),
            ("mail", Wanted::Name("mail"), true),
            ("mail", Wanted::Name("mails"), false),
            ("mail", Wanted::Beginning("mail"), false),
            ("mail", Wanted::Everything, false),
            ("mail*", Wanted::Name("mail"), true),
            ("mail*", Wanted::Name("mails"), true),
            ("mail*", Wanted::Name("mai"), false),
            ("mail*", Wanted::Beginning("mail"), true),
            ("mail*", Wanted::Beginning("mailbox"), true),
            ("mail*", Wanted::Beginning("ma"), false),
            ("mail*", Wanted::Everything, false),
            ("mail*", Wanted::Anything, true),
        ] {
            assert_eq!(covers(pattern, &of), expected, "{pattern} {of:?}");
        }
    }
}
