//! The service of accounts and of the trail of changes. Each call does what its sibling over HTTP
//! does.

use std::sync::Arc;

use longshore_engine::driver::Class;
use longshore_proto::v1;
use longshore_proto::v1::accounts_server::Accounts;
use longshore_proto::v1::list_audit_response::Change;
use tonic::{Request, Response, Status};

use super::Face;
use super::admin::{page_size, record, some};
use crate::access::Need;
use crate::api::{
    AccountBody, AccountRecord, AuditRecord, DurationText, GrantBody, RoleText, TokenRequest,
};
use crate::http::app::{Admitted, App};
use crate::http::handle::{
    account, accounts, delete_account, drop_token, make_token, put_account, trail,
};
use crate::http::refusal::Refusal;
use crate::http::text::quoted;

/// The service on one connection.
pub(super) struct AccountsFace(pub(super) Arc<Face>);

type Answered<T> = Result<Response<T>, Status>;

fn told(of: &AccountRecord) -> v1::Account {
    let grant = |grant: &GrantBody| v1::Grant {
        role: grant.role.as_str().to_owned(),
        namespace: grant.namespace.clone(),
        names: grant.names.clone(),
    };
    v1::Account {
        name: of.name.clone(),
        has_password: of.has_password,
        grants: of.grants.iter().map(grant).collect(),
        requests_per_second: of.requests_per_second,
        record: record(of),
    }
}

fn grant_of(index: usize, of: v1::Grant) -> Result<GrantBody, Refusal> {
    let role = RoleText::ALL.into_iter().find(|role| role.as_str() == of.role);
    let role = role.ok_or_else(|| {
        let allowed = RoleText::ALL.map(RoleText::as_str).join(", ");
        Refusal::value(&format!("grants[{index}].role"), quoted(&of.role), allowed)
    })?;
    let any = |pattern: String| if pattern.is_empty() { "*".to_owned() } else { pattern };
    Ok(GrantBody { role, namespace: any(of.namespace), names: any(of.names) })
}

fn change(of: AuditRecord) -> Change {
    Change {
        at_unix_ms: of.at.0,
        by: of.by,
        action: of.action,
        object: of.object,
        namespace: of.namespace.unwrap_or_default(),
        before: of.before,
        after: of.after,
    }
}

impl AccountsFace {
    /// Lets a call in of whoever is in charge of accounts.
    fn enter(&self) -> Result<(&App, Admitted), Refusal> {
        self.0.app.who.demand("", &Need::of_system())?;
        Ok((&self.0.app, self.0.app.enter(Class::Settle, self.0.earlier)?))
    }
}

#[tonic::async_trait]
impl Accounts for AccountsFace {
    async fn list_accounts(
        &self,
        request: Request<v1::ListAccountsRequest>,
    ) -> Answered<v1::ListAccountsResponse> {
        let of = request.into_inner();
        let (app, _admitted) = self.enter()?;
        let page = accounts(app, some(&of.cursor), page_size(of.limit)?).await?;
        self.0.read(v1::ListAccountsResponse {
            accounts: page.accounts.iter().map(told).collect(),
            next: page.next.unwrap_or_default(),
        })
    }

    async fn get_account(&self, request: Request<v1::AccountRequest>) -> Answered<v1::Account> {
        let (app, _admitted) = self.enter()?;
        self.0.read(told(&account(app, &request.get_ref().name).await?))
    }

    async fn put_account(&self, request: Request<v1::PutAccountRequest>) -> Answered<v1::Account> {
        let of = request.into_inner();
        let (app, _admitted) = self.enter()?;
        let grants = of.grants.map(|all| {
            let all = all.grants.into_iter().enumerate();
            all.map(|(index, grant)| grant_of(index, grant)).collect::<Result<Vec<_>, _>>()
        });
        let body = AccountBody {
            password: of.password,
            certificates: of.certificates.map(|all| all.subjects),
            grants: grants.transpose()?,
            requests_per_second: of.requests_per_second,
            namespace: of.namespace,
        };
        self.0.read(told(&put_account(app, &of.name, body).await?))
    }

    async fn delete_account(
        &self,
        request: Request<v1::AccountRequest>,
    ) -> Answered<v1::DeletedAccount> {
        let (app, _admitted) = self.enter()?;
        delete_account(app, &request.get_ref().name).await?;
        Ok(Response::new(v1::DeletedAccount {}))
    }

    async fn create_token(
        &self,
        request: Request<v1::CreateTokenRequest>,
    ) -> Answered<v1::CreatedToken> {
        let v1::CreateTokenRequest { name, id, expires_in_ms } = request.into_inner();
        let (app, _admitted) = self.enter()?;
        let request = TokenRequest { id, expires_in: expires_in_ms.map(DurationText) };
        let made = make_token(app, &name, request).await?;
        let expires_at_unix_ms = made.expires_at.map(|at| at.0);
        Ok(Response::new(v1::CreatedToken { id: made.id, token: made.token, expires_at_unix_ms }))
    }

    async fn revoke_token(
        &self,
        request: Request<v1::RevokeTokenRequest>,
    ) -> Answered<v1::Account> {
        let of = request.into_inner();
        let (app, _admitted) = self.enter()?;
        self.0.read(told(&drop_token(app, &of.name, &of.id).await?))
    }

    async fn list_audit(
        &self,
        request: Request<v1::ListAuditRequest>,
    ) -> Answered<v1::ListAuditResponse> {
        let of = request.into_inner();
        let (app, _admitted) = self.enter()?;
        let list = trail(app, some(&of.after), page_size(of.limit)?).await?;
        let changes = list.entries.into_iter().map(change).collect();
        self.0.read(v1::ListAuditResponse { changes, next: list.next })
    }
}
