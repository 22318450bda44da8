//! Accounts and the trail of changes: what was acknowledged is there after a restart, what is
//! beyond a bound is refused, and the trail tells who changed what.

use super::*;
use crate::account::{
    Account, AccountAnswer, AccountChange, AccountCommand, AccountGrant, AuditEntry,
    AuditedCommand, NewToken, PasswordKeys, Role,
};
use crate::stream::{StreamAnswer, StreamCommand, StreamSettings, Trigger, TriggerCommand};

fn change(name: &str, change: AccountChange) -> Command {
    let (name, by) = (name.to_owned(), "root".to_owned());
    Command::Accounts(AccountCommand::Change { name, create: true, change: Box::new(change), by })
}

fn account(answer: Answer) -> Account {
    match answer {
        Answer::Accounts(AccountAnswer::Account(account)) => *account,
        other => panic!("{other:?}"),
    }
}

fn delete(name: &str) -> Command {
    Command::Accounts(AccountCommand::Delete { name: name.to_owned(), by: "root".to_owned() })
}

fn get(name: &str) -> Command {
    Command::Accounts(AccountCommand::Get { name: name.to_owned() })
}

fn trail(shard: &mut Shard, after: Option<u64>, limit: usize) -> (Vec<AuditEntry>, bool) {
    match shard.call(Command::Accounts(AccountCommand::Audit { after, limit })) {
        Answer::Accounts(AccountAnswer::Entries(entries, more)) => (entries, more),
        other => panic!("{other:?}"),
    }
}

fn token(id: &str, byte: u8, expires_at: Option<TimeMs>) -> AccountChange {
    let hash = Bytes::from(vec![byte; 32]);
    let add_token = Some(NewToken { id: id.to_owned(), hash, expires_at });
    AccountChange { add_token, ..AccountChange::default() }
}

fn grants() -> Vec<AccountGrant> {
    let (namespace, names) = ("shop".to_owned(), "mail*".to_owned());
    vec![AccountGrant { namespace, role: Role::Work, names }]
}

#[test]
fn an_account_and_its_removal_survive_a_restart() {
    let mut shard = Shard::new();
    let password =
        PasswordKeys { hash: "$argon2id$x".to_owned(), scram_sha_256: None, scram_sha_512: None };
    let first = AccountChange {
        password: Some(Some(password)),
        grants: Some(grants()),
        ..token("ci", 1, None)
    };
    let made = account(shard.call(change("ann", first)));
    assert_eq!((made.grants.clone(), made.tokens.len()), (grants(), 1));
    shard.call(change("bob", AccountChange::default()));
    let mut shard = shard.restart();
    assert_eq!(account(shard.call(get("ann"))), made);
    let deleted = shard.call(delete("ann"));
    assert!(matches!(deleted, Answer::Accounts(AccountAnswer::Deleted)), "{deleted:?}");
    let mut shard = shard.restart();
    let gone = |answer| matches!(answer, Answer::Rejected(Rejection::AccountUnknown { .. }));
    assert!(gone(shard.call(get("ann"))));
    assert!(gone(shard.call(delete("ann"))));
    let list = Command::Accounts(AccountCommand::List { after: None, limit: 10 });
    match shard.call(list) {
        Answer::Accounts(AccountAnswer::Accounts(all, false)) => {
            assert_eq!(all.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["bob"]);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_trail_tells_who_changed_what_and_no_secret() {
    let mut shard = Shard::new();
    let password =
        PasswordKeys { hash: "SECRET".to_owned(), scram_sha_256: None, scram_sha_512: None };
    let first = AccountChange { password: Some(Some(password)), ..token("ci", 0x53, None) };
    shard.call(change("ann", first.clone()));
    shard.call(change("ann", first));
    shard.call(change("ann", AccountChange { grants: Some(grants()), ..Default::default() }));
    shard.call(delete("ann"));
    let (entries, more) = trail(&mut shard, None, 10);
    let told: Vec<_> = entries
        .iter()
        .map(|it| (it.number, it.by.as_str(), it.action.as_str(), it.after.as_deref()))
        .collect();
    let full = Some("work on mail* in shop; a password; token ci");
    assert_eq!(
        told,
        [
            (1, "root", "account.put", Some("a password; token ci")),
            (2, "root", "account.put", full),
            (3, "root", "account.delete", None),
        ],
        "the same change again is none"
    );
    assert_eq!(entries[2].before.as_deref(), full);
    assert!(!more && !format!("{entries:?}").contains("SECRET"));
    assert_eq!(trail(&mut shard, Some(1), 1), (vec![entries[1].clone()], true));
    assert_eq!(trail(&mut shard, None, 1).0, [entries[2].clone()]);
}

#[test]
fn tokens_are_bounded_and_expired_ones_make_room() {
    let mut shard = Shard::new();
    let expires = Some(shard.clock.wall.plus(1000));
    for n in 0..64 {
        account(shard.call(change("ann", token(&format!("t{n}"), n, expires))));
    }
    let refused = shard.call(change("ann", token("one more", 99, None)));
    let is_refused = |it| matches!(it, Answer::Rejected(Rejection::ValueRefused { .. }));
    assert!(is_refused(refused));
    assert!(is_refused(shard.call(change("ann", token("t1", 99, expires)))), "another hash");
    shard.advance(1001);
    let left = account(shard.call(change("ann", token("one more", 99, None))));
    assert_eq!(left.tokens.len(), 1);
    let revoke =
        |id: &str| AccountChange { revoke_token: Some(id.to_owned()), ..AccountChange::default() };
    let unknown = shard.call(change("ann", revoke("t1")));
    assert!(matches!(unknown, Answer::Rejected(Rejection::TokenUnknown { .. })));
    assert!(account(shard.call(change("ann", revoke("one more")))).tokens.is_empty());
    let short = NewToken { id: "s".to_owned(), hash: Bytes::from_static(b"x"), expires_at: None };
    let short = AccountChange { add_token: Some(short), ..AccountChange::default() };
    assert!(is_refused(shard.call(change("ann", short))));
    let star =
        AccountGrant { namespace: "*".to_owned(), role: Role::Admin, names: "a*b".to_owned() };
    let star = AccountChange { grants: Some(vec![star]), ..AccountChange::default() };
    assert!(is_refused(shard.call(change("ann", star))));
}

#[test]
fn old_entries_go_and_the_newest_ten_thousand_stay() {
    let mut shard = Shard::new();
    for n in 0..10_300_u32 {
        let most = AccountChange { requests_per_second: Some(Some(n + 1)), ..Default::default() };
        shard.call(change("ann", most));
    }
    shard.advance(1);
    let oldest = |shard: &mut Shard| trail(shard, Some(0), 1).0.first().map(|it| it.number);
    assert_eq!(oldest(&mut shard), Some(301));
    let mut shard = shard.restart();
    assert_eq!(oldest(&mut shard), Some(301));
    shard.advance(90 * 24 * 60 * 60 * 1000 - 10_000);
    shard.call(change("bob", AccountChange::default()));
    shard.advance(10_000);
    let (entries, more) = trail(&mut shard, Some(0), 10);
    assert_eq!((entries.len(), more), (1, false), "{:?}", entries.first());
    assert_eq!(entries[0].number, 10_301);
    assert_eq!(shard.turn.next_wake_ms(shard.clock), Some(90 * 24 * 60 * 60 * 1000 - 10_000));
}

#[test]
fn changes_of_administrators_are_in_the_trail_of_their_shard() {
    let mut shard = Shard::new();
    let mut audited = |command: Command| {
        let by = "root".to_owned();
        shard.call(Command::Audited(Box::new(AuditedCommand { by, command })))
    };
    let pause = |paused| Command::PauseQueue { queue: "mail".to_owned(), paused };
    assert!(matches!(audited(pause(true)), Answer::Queue(_)));
    assert!(matches!(audited(pause(true)), Answer::Queue(_)), "changes nothing");
    assert!(matches!(audited(Command::DeleteQueue { queue: "no".into() }), Answer::Rejected(_)));
    let deleted = audited(Command::DeleteQueue { queue: "mail".into() });
    assert!(matches!(deleted, Answer::QueueDeleted));
    let look = audited(Command::GetNamespace);
    assert!(matches!(look, Answer::Namespace(_)), "what is not noted is done all the same");
    let (entries, _) = trail(&mut shard, None, 10);
    let told: Vec<_> = entries
        .iter()
        .map(|it| (it.action.as_str(), it.object.as_str(), it.before.is_some(), it.after.is_some()))
        .collect();
    assert_eq!(told, [("queue.put", "mail", false, true), ("queue.delete", "mail", true, false)]);
    assert_eq!(entries[0].namespace.as_deref(), Some("default"));
    assert!(entries[0].after.as_deref().unwrap().contains("paused: true"));
}

#[test]
fn triggers_are_in_the_trail() {
    let mut shard = Shard::new();
    let (stream, settings) = ("s".to_owned(), StreamSettings::default());
    shard.call(Command::Stream(StreamCommand::Create { stream, partitions: 1, settings }));
    let (queue, settings) = ("mail".to_owned(), QueueSettings::default());
    shard.call(Command::PutQueue { queue, settings });
    let mut audited = |command: TriggerCommand| {
        let (by, command) = ("root".to_owned(), Command::Stream(StreamCommand::Trigger(command)));
        shard.call(Command::Audited(Box::new(AuditedCommand { by, command })))
    };
    let put = |kind: &str| {
        let (name, queue, kind) = ("t".to_owned(), "mail".to_owned(), kind.to_owned());
        let trigger = Trigger { name, queue, kind, ordered: true, ..Trigger::default() };
        TriggerCommand::Put { stream: "s".to_owned(), trigger, from_end: false }
    };
    for kind in ["Send", "Send", "Other"] {
        let answer = audited(put(kind));
        assert!(matches!(answer, Answer::Stream(StreamAnswer::TriggerPut)), "{answer:?}");
    }
    for _ in 0..2 {
        audited(TriggerCommand::Delete { trigger: "t".to_owned() });
    }
    let (entries, _) = trail(&mut shard, None, 10);
    let told: Vec<_> = entries
        .iter()
        .map(|it| (it.action.as_str(), it.object.as_str(), it.before.is_some(), it.after.is_some()))
        .collect();
    let wanted = [
        ("trigger.put", "t", false, true),
        ("trigger.put", "t", true, true),
        ("trigger.delete", "t", true, false),
    ];
    assert_eq!(told, wanted);
    let after = entries[1].after.as_deref().unwrap();
    assert!(after.contains("Other") && after.contains("of stream \"s\""), "{after}");
}

#[test]
fn no_namespace_is_called_as_the_systems_are() {
    let mut shard = Shard::new();
    let reply_to = ReplyTo(77);
    let request =
        Request { namespace: "_mine".to_owned(), reply_to, command: Command::CreateNamespace };
    shard.turn.submit(request, shard.clock);
    shard.flush();
    let refused = shard.answers.remove(&77);
    assert!(matches!(refused, Some(Answer::Rejected(Rejection::NameReserved { .. }))));
}
