//! Records of accounts and of the trail of changes, with all fields filled.

use bytes::Bytes;
use longshore_engine::{
    Account, AccountGrant, AccountToken, AuditEntry, PasswordKeys, Record, Role, ScramKeys, TimeMs,
};

/// One record of every kind, all made at `at`.
pub(super) fn records(at: TimeMs) -> Vec<(&'static str, Record)> {
    let name = || "ann".to_owned();
    let part = |byte: u8| Bytes::from(vec![byte; 32]);
    let keys =
        ScramKeys { iterations: 4096, salt: part(1), stored_key: part(2), server_key: part(3) };
    let account = Account {
        name: name(),
        created_at: at,
        changed_at: at,
        password: Some(PasswordKeys {
            hash: "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA".to_owned(),
            scram_sha_256: Some(keys.clone()),
            scram_sha_512: Some(keys),
        }),
        tokens: vec![AccountToken {
            id: "ci".to_owned(),
            hash: part(4),
            created_at: at,
            expires_at: Some(at.plus(1000)),
        }],
        certificates: vec!["CN=ann".to_owned()],
        grants: vec![AccountGrant {
            namespace: "shop".to_owned(),
            role: Role::Work,
            names: "mail*".to_owned(),
        }],
        requests_per_second: Some(100),
        namespace: Some("shop".to_owned()),
    };
    let entry = AuditEntry {
        number: 7,
        at,
        by: "root".to_owned(),
        action: "account.put".to_owned(),
        object: name(),
        namespace: Some("shop".to_owned()),
        before: Some("a password".to_owned()),
        after: Some("a password; token ci".to_owned()),
    };
    vec![
        ("account-put", Record::AccountPut { account: Box::new(account) }),
        ("account-removed", Record::AccountRemoved { name: name() }),
        ("audit-noted", Record::AuditNoted { entry: Box::new(entry) }),
        ("audit-forgotten", Record::AuditForgotten { through: 7 }),
    ]
}
