//! Accounts: what somebody was told to be removed is not there, and what somebody was told to be
//! put is there as it was put, whatever happens to the server; and the trail has no gaps.

use std::collections::BTreeMap;

use longshore_engine::wire::Wire;
use longshore_engine::{
    Account, AccountAnswer, AccountChange, AccountCommand, Answer, AuditEntry, Command, Rejection,
};

use super::Check;
use crate::map::SimTree;
use crate::random::Random;

/// The first bytes of keys, as the engine's catalogue of keys has them.
const ACCOUNT_KEY_FIRST: u8 = 210;
const AUDIT_KEY_FIRST: u8 = 211;

/// So many that most changes of one have ended before the next one begins.
const NAMES: u64 = 12;

pub(crate) fn sample(random: &mut Random) -> Command {
    let (name, by) = (format!("account-{}", random.below(NAMES)), "client".to_owned());
    Command::Accounts(match random.below(5) {
        0 => AccountCommand::Get { name },
        1 | 2 => AccountCommand::Delete { name, by },
        _ => {
            let most = 1 + random.below(1_000_000) as u32;
            let requests_per_second = Some(Some(most));
            let change = AccountChange { requests_per_second, ..AccountChange::default() };
            AccountCommand::Change { name, create: true, change: Box::new(change), by }
        }
    })
}

/// What is known of one account.
#[derive(Debug, Default)]
struct Known {
    /// Changes of which nobody heard yet.
    untold: u32,
    /// Two of these were under way at the same time, so that nobody knows which came last.
    unclear: bool,
    /// How it is, once that is known: `Some(None)` where it is not there.
    is: Option<Option<u32>>,
}

/// What is known of accounts.
#[derive(Debug, Default)]
pub(crate) struct KnownAccounts(BTreeMap<String, Known>);

impl KnownAccounts {
    /// From now on an account may be otherwise.
    pub(crate) fn tried(&mut self, command: &AccountCommand) {
        let (AccountCommand::Change { name, .. } | AccountCommand::Delete { name, .. }) = command
        else {
            return;
        };
        let known = self.0.entry(name.clone()).or_default();
        known.unclear |= known.untold > 0;
        known.untold += 1;
        known.is = None;
    }

    /// What the server said.
    pub(crate) fn told(&mut self, command: &AccountCommand, answer: &Answer) -> Check {
        let (name, wanted) = match command {
            AccountCommand::Change { name, change, .. } => {
                (name, change.requests_per_second.flatten())
            }
            AccountCommand::Delete { name, .. } => (name, None),
            _ => return Ok(()),
        };
        let known = self.0.entry(name.clone()).or_default();
        known.untold = known.untold.saturating_sub(1);
        if known.untold > 0 {
            return Ok(());
        }
        let carried_out = match answer {
            Answer::Accounts(AccountAnswer::Account(account)) => {
                account.requests_per_second == wanted
            }
            Answer::Accounts(AccountAnswer::Deleted) => true,
            Answer::Rejected(Rejection::AccountUnknown { .. }) => wanted.is_none(),
            // It was not taken up: nobody knows how it is.
            _ => {
                known.unclear = false;
                return Ok(());
            }
        };
        if !carried_out {
            return Err(format!("{name} was changed, and told to be otherwise: {answer:?}"));
        }
        if !known.unclear {
            known.is = Some(wanted);
        }
        known.unclear = false;
        Ok(())
    }

    /// Each account of which that is known is as somebody was told, and the trail has no gaps.
    pub(crate) fn check(&self, map: &SimTree) -> Check {
        for (name, known) in &self.0 {
            let Some(is) = known.is else { continue };
            let key = [&[ACCOUNT_KEY_FIRST], name.as_bytes()].concat();
            let found = map
                .entries
                .get(&key)
                .map(|value| Account::from_bytes(value).map(|account| account.requests_per_second));
            let found = found.transpose().map_err(|error| format!("{name}: {error}"))?.flatten();
            if found != is {
                return Err(format!("{name} was told to be {is:?} and is {found:?}"));
            }
        }
        let mut last = None;
        for value in map.entries.range(vec![AUDIT_KEY_FIRST]..vec![AUDIT_KEY_FIRST + 1]) {
            let entry = AuditEntry::from_bytes(value.1).map_err(|error| format!("{error}"))?;
            if last.is_some_and(|last| entry.number != last + 1) {
                return Err(format!("entry {} of the trail follows {last:?}", entry.number));
            }
            last = Some(entry.number);
        }
        Ok(())
    }
}
