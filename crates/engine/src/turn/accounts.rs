//! Commands about accounts and the trail of changes.

use super::Turn;
use crate::account::{AccountAnswer, AccountCommand, AuditNote};
use crate::answer::Answer;
use crate::moment::Moment;
use crate::rejection::Rejection;

impl Turn {
    pub(super) fn handle_accounts(
        &mut self,
        command: AccountCommand,
        moment: Moment,
    ) -> Result<Answer, Rejection> {
        let answer = match command {
            AccountCommand::Change { name, create, change, by } => {
                let by = (by.as_str(), moment);
                let records = self.state.decide_account_change(&name, create, *change, by)?;
                self.try_record(records)?;
                AccountAnswer::Account(Box::new(self.state.known_account(&name)?))
            }
            AccountCommand::Delete { name, by } => {
                let records = self.state.decide_account_removed(&name, (&by, moment))?;
                self.try_record(records)?;
                AccountAnswer::Deleted
            }
            AccountCommand::Get { name } => {
                AccountAnswer::Account(Box::new(self.state.known_account(&name)?))
            }
            AccountCommand::List { after, limit } => {
                self.state.accounts_told(after.as_deref(), limit)
            }
            AccountCommand::Note { action, object, after, by } => {
                let note =
                    AuditNote { action, namespace: None, object: &object, before: None, after };
                let record = self.state.decide_audit(&by, note, moment);
                self.record(record);
                AccountAnswer::Noted
            }
            AccountCommand::Audit { after, limit } => self.state.audit_told(after, limit),
        };
        Ok(Answer::Accounts(answer))
    }
}
