//! Changes of accounts: they go through the shard, and what it has acknowledged holds here at once.

use std::sync::Arc;
use std::time::Duration;

use longshore_engine::ask::{Ask, GetAccount};
use longshore_engine::{
    Account, AccountAnswer, AccountChange, AccountCommand, Answer, Command, Rejection, Role,
    SYSTEM_NAMESPACE,
};
use longshore_node::Node;

use super::gate::{Access, Inner, unauthenticated};
use super::needs::Need;
use super::principal::Principal;
use crate::http::code::Code;
use crate::http::look::told;
use crate::http::refusal::Refusal;
use crate::http::text::quoted;

/// How often a shard is asked again that could not say what became of a change.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Whether it may do everything, and always comes in.
fn is_operator(account: &Account) -> bool {
    let everything = account
        .grants
        .iter()
        .any(|grant| grant.role == Role::Admin && grant.namespace == "*" && grant.names == "*");
    let comes_in = account.password.is_some()
        || !account.certificates.is_empty()
        || account.tokens.iter().any(|token| token.expires_at.is_none());
    everything && comes_in
}

/// How an account is after a change, as far as that lets it be an operator's. A token that the
/// change adds does not count: nobody has it yet.
fn changed(account: &Account, change: &AccountChange) -> Account {
    let mut account = account.clone();
    if let Some(grants) = &change.grants {
        account.grants.clone_from(grants);
    }
    if let Some(password) = &change.password {
        account.password.clone_from(password);
    }
    if let Some(certificates) = &change.certificates {
        account.certificates.clone_from(certificates);
    }
    account.tokens.retain(|token| change.revoke_token.as_ref() != Some(&token.id));
    account
}

/// What came of a command.
pub(super) enum Outcome<T> {
    Told(T),
    Rejected(Rejection),
    /// Nobody knows whether it was carried out.
    Unknown(Refusal),
}

pub(super) async fn ask<C: Ask>(node: &Node, command: C) -> Outcome<C::Answer> {
    match node.call(SYSTEM_NAMESPACE, command.into()).await {
        Ok(Answer::Rejected(rejection)) => Outcome::Rejected(rejection),
        Ok(answer) => told::<C>(answer).map_or_else(Outcome::Unknown, Outcome::Told),
        Err(unavailable) => Outcome::Unknown(unavailable.into()),
    }
}

impl Access {
    /// Carries out a command about accounts, to its end even if nobody waits for it any more. What
    /// changes one is somebody's who may do so when it is its turn.
    pub(crate) async fn carry_out<C: Ask>(
        &self,
        (node, who): (&Node, &Principal),
        command: C,
    ) -> Result<C::Answer, Refusal> {
        let command = command.into();
        let changes = matches!(
            command,
            Command::Accounts(AccountCommand::Change { .. } | AccountCommand::Delete { .. })
        );
        let outcome = match &self.0 {
            Some(inner) if changes => {
                let change = tokio::spawn(Arc::clone(inner).change(who.clone(), command)).await;
                change.map_err(|_| Refusal::new(Code::Internal, "the change met a bug"))??
            }
            _ => ask(node, command).await,
        };
        match outcome {
            Outcome::Told(answer) => told::<C>(answer),
            Outcome::Rejected(rejection) => Err(rejection.into()),
            Outcome::Unknown(refusal) => Err(refusal),
        }
    }
}

impl Inner {
    async fn change(
        self: Arc<Self>,
        who: Principal,
        command: Command,
    ) -> Result<Outcome<Answer>, Refusal> {
        let name = match &command {
            Command::Accounts(
                AccountCommand::Change { name, .. }
                | AccountCommand::Delete { name, .. }
                | AccountCommand::Get { name },
            ) => name.clone(),
            _ => String::new(),
        };
        let _alone = self.changing.lock().await;
        // It was let in before its body came, and may be there no longer, or may do less: a change
        // of its own would undo that.
        let who = who.now().ok_or_else(unauthenticated)?;
        who.demand("", &Need::of_system())?;
        if let Err(rejection) = self.check_change(&command) {
            return Ok(Outcome::Rejected(rejection));
        }
        let outcome = ask(&self.node, command).await;
        match &outcome {
            Outcome::Told(Answer::Accounts(AccountAnswer::Account(account))) => {
                self.put_account(&name, Some((**account).clone()));
            }
            Outcome::Told(Answer::Accounts(AccountAnswer::Deleted)) => {
                self.put_account(&name, None);
            }
            Outcome::Told(_) | Outcome::Rejected(_) => {}
            Outcome::Unknown(_) => {
                tokio::spawn(Arc::clone(&self).look_again(name));
            }
        }
        Ok(outcome)
    }

    /// Refuses what would let two accounts in by one certificate, or leave nobody who may do
    /// everything and can come in.
    fn check_change(&self, command: &Command) -> Result<(), Rejection> {
        let Ok(snapshot) = self.snapshot() else { return Ok(()) };
        let (name, change) = match command {
            Command::Accounts(AccountCommand::Change { name, change, .. }) => {
                (name, Some(&**change))
            }
            Command::Accounts(AccountCommand::Delete { name, .. }) => (name, None),
            _ => return Ok(()),
        };
        let subjects = change.and_then(|change| change.certificates.as_ref());
        let taken = subjects.into_iter().flatten().find(|subject| {
            snapshot.of_certificate(subject).is_some_and(|other| other.name != *name)
        });
        if let Some(subject) = taken {
            let allowed = "a subject that stands for no other account".to_owned();
            let (field, value) = ("certificates", quoted(subject));
            return Err(Rejection::ValueRefused { field, value, allowed });
        }
        let Some(before) = snapshot.accounts.get(name).filter(|it| is_operator(it)) else {
            return Ok(());
        };
        let stays = change.is_some_and(|change| is_operator(&changed(before, change)));
        let mut others = snapshot.accounts.values().filter(|it| it.name != *name);
        if stays || others.any(|it| is_operator(it)) {
            return Ok(());
        }
        let (field, value) = ("account", quoted(name));
        let allowed = "a change that leaves an account with `admin` for everything and a password, a \
                       certificate or a token that does not expire";
        Err(Rejection::ValueRefused { field, value, allowed: allowed.to_owned() })
    }

    /// Asks until the shard says how an account is.
    async fn look_again(self: Arc<Self>, name: String) {
        while !self.node.is_stopping() {
            tokio::time::sleep(ASK_AGAIN).await;
            let _alone = self.changing.lock().await;
            match ask(&self.node, GetAccount { name: name.clone() }).await {
                Outcome::Told(account) => return self.put_account(&name, Some(*account)),
                Outcome::Rejected(_) => return self.put_account(&name, None),
                Outcome::Unknown(_) => {}
            }
        }
    }
}
