//! Changes of accounts: they go through the shard, and what it has acknowledged holds here at once.

use std::sync::Arc;
use std::time::Duration;

use longshore_engine::{
    AccountAnswer, AccountCommand, Answer, Command, Rejection, SYSTEM_NAMESPACE,
};
use longshore_node::Node;

use super::gate::{Access, Inner};
use crate::http::code::Code;
use crate::http::look::unexpected;
use crate::http::refusal::Refusal;

/// How often a shard is asked again that could not say what became of a change.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// What came of a command.
pub(super) enum Outcome {
    Told(AccountAnswer),
    Rejected(Rejection),
    /// Nobody knows whether it was carried out.
    Unknown(Refusal),
}

pub(super) async fn ask(node: &Node, command: AccountCommand) -> Outcome {
    match node.call(SYSTEM_NAMESPACE, Command::Accounts(command)).await {
        Ok(Answer::Accounts(answer)) => Outcome::Told(answer),
        Ok(Answer::Rejected(rejection)) => Outcome::Rejected(rejection),
        Ok(other) => Outcome::Unknown(unexpected(&other)),
        Err(unavailable) => Outcome::Unknown(unavailable.into()),
    }
}

impl Access {
    /// Carries out a command about accounts, to its end even if nobody waits for it any more.
    pub(crate) async fn carry_out(
        &self,
        node: &Node,
        command: AccountCommand,
    ) -> Result<AccountAnswer, Refusal> {
        let changes =
            matches!(command, AccountCommand::Change { .. } | AccountCommand::Delete { .. });
        let outcome = match &self.0 {
            Some(inner) if changes => {
                let change = tokio::spawn(Arc::clone(inner).change(command)).await;
                change.map_err(|_| Refusal::new(Code::Internal, "the change met a bug"))?
            }
            _ => ask(node, command).await,
        };
        match outcome {
            Outcome::Told(answer) => Ok(answer),
            Outcome::Rejected(rejection) => Err(rejection.into()),
            Outcome::Unknown(refusal) => Err(refusal),
        }
    }
}

impl Inner {
    pub(super) async fn change(self: Arc<Self>, command: AccountCommand) -> Outcome {
        let name = match &command {
            AccountCommand::Change { name, .. }
            | AccountCommand::Delete { name, .. }
            | AccountCommand::Get { name } => name.clone(),
            AccountCommand::List { .. } | AccountCommand::Audit { .. } => String::new(),
        };
        let _alone = self.changing.lock().await;
        let outcome = ask(&self.node, command).await;
        match &outcome {
            Outcome::Told(AccountAnswer::Account(account)) => {
                self.put_account(&name, Some((**account).clone()));
            }
            Outcome::Told(AccountAnswer::Deleted) => self.put_account(&name, None),
            Outcome::Told(_) | Outcome::Rejected(_) => {}
            Outcome::Unknown(_) => {
                tokio::spawn(Arc::clone(&self).look_again(name));
            }
        }
        outcome
    }

    /// Asks until the shard says how an account is.
    async fn look_again(self: Arc<Self>, name: String) {
        while !self.node.is_stopping() {
            tokio::time::sleep(ASK_AGAIN).await;
            let _alone = self.changing.lock().await;
            match ask(&self.node, AccountCommand::Get { name: name.clone() }).await {
                Outcome::Told(AccountAnswer::Account(account)) => {
                    return self.put_account(&name, Some(*account));
                }
                Outcome::Rejected(_) => return self.put_account(&name, None),
                Outcome::Told(_) | Outcome::Unknown(_) => {}
            }
        }
    }
}
