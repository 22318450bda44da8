//! Accounts as they are told, and grants both ways. No hash of a secret goes out.

use longshore_engine::{Account, AccountGrant, Role};

use super::view::instant;
use crate::api::{AccountRecord, GrantBody, RoleText, TokenRecord};

/// An account as it is told.
pub(crate) fn account(of: &Account) -> AccountRecord {
    let token = |token: &longshore_engine::AccountToken| TokenRecord {
        id: token.id.clone(),
        created_at: instant(token.created_at),
        expires_at: token.expires_at.map(instant),
    };
    AccountRecord {
        name: of.name.clone(),
        created_at: instant(of.created_at),
        changed_at: instant(of.changed_at),
        has_password: of.password.is_some(),
        tokens: of.tokens.iter().map(token).collect(),
        certificates: of.certificates.clone(),
        grants: of.grants.iter().map(grant).collect(),
        requests_per_second: of.requests_per_second,
        namespace: of.namespace.clone(),
    }
}

fn grant(of: &AccountGrant) -> GrantBody {
    let role = match of.role {
        Role::Read => RoleText::Read,
        Role::Enqueue => RoleText::Enqueue,
        Role::Publish => RoleText::Publish,
        Role::Consume => RoleText::Consume,
        Role::Work => RoleText::Work,
        Role::Admin => RoleText::Admin,
    };
    GrantBody { role, namespace: of.namespace.clone(), names: of.names.clone() }
}

/// A grant as it is kept.
pub(crate) fn grant_of(body: &GrantBody) -> AccountGrant {
    let role = match body.role {
        RoleText::Read => Role::Read,
        RoleText::Enqueue => Role::Enqueue,
        RoleText::Publish => Role::Publish,
        RoleText::Consume => Role::Consume,
        RoleText::Work => Role::Work,
        RoleText::Admin => Role::Admin,
    };
    AccountGrant { namespace: body.namespace.clone(), role, names: body.names.clone() }
}
