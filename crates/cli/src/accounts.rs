//! `longshore accounts` and `longshore audit`: who may come in, and what administrators changed.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use longshore_server::api::{
    AccountBody, AccountList, AccountRecord, AuditList, DurationText, GrantBody, RoleText,
    TokenAnswer, TokenRequest,
};

use crate::cli::Context;
use crate::client::{Client, read, segment};
use crate::failure::Failure;
use crate::output::{self, Format, Table, facts};

/// How often `audit tail --follow` looks for more.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Subcommand)]
pub(crate) enum AccountsCommand {
    /// List accounts
    List,
    /// Show an account
    Show(AccountArgs),
    /// Create an account, or change what is named of it
    Put(PutArgs),
    /// Give an account a role, or several
    Grant(GrantArgs),
    /// Delete an account; its connections end
    Delete(AccountArgs),
    /// Make and revoke tokens
    #[command(subcommand)]
    Token(TokenCommand),
}

#[derive(Args, Debug)]
pub(crate) struct AccountArgs {
    /// The account
    name: String,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  longshore accounts put shop --role enqueue --role read\n  \
    longshore accounts put ann --password-file - < secret\n  \
    longshore accounts grant mailer --role work --in shop --names 'mail*'")]
pub(crate) struct PutArgs {
    /// The account
    name: String,
    /// What it may do, in place of what it may: everywhere, or as --in and --names say
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<RoleArg>,
    #[command(flatten)]
    of: GrantOf,
    /// A file with its password, - for standard input
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// It has no password any more
    #[arg(long, conflicts_with = "password_file")]
    no_password: bool,
    /// The subject of a certificate that stands for it, in place of those that there are
    #[arg(long = "certificate", value_name = "SUBJECT")]
    certificates: Vec<String>,
    /// Requests that it may make in a second, 0 for no limit
    #[arg(long, value_name = "N")]
    requests_per_second: Option<u32>,
    /// The namespace of protocols that name none
    #[arg(long, value_name = "NAME")]
    default_namespace: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct GrantArgs {
    /// The account
    name: String,
    /// What it may do as well
    #[arg(long = "role", value_name = "ROLE", required = true)]
    roles: Vec<RoleArg>,
    #[command(flatten)]
    of: GrantOf,
}

#[derive(Args, Debug)]
pub(crate) struct GrantOf {
    /// In which namespaces: a name, or a beginning and * [default: *]
    #[arg(long = "in", value_name = "PATTERN", requires = "roles")]
    namespaces: Option<String>,
    /// With which queues, exchanges, streams and so on [default: *]
    #[arg(long, value_name = "PATTERN", requires = "roles")]
    names: Option<String>,
}

/// A role as a flag names it.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum RoleArg {
    Read,
    Enqueue,
    Publish,
    Consume,
    Work,
    Admin,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token and print it; nobody tells it again
    Create(CreateArgs),
    /// Revoke a token
    Revoke(RevokeArgs),
}

#[derive(Args, Debug)]
pub(crate) struct CreateArgs {
    /// The account
    name: String,
    /// What the token is called
    id: String,
    /// It is valid for so long, as in 90d
    #[arg(long, value_name = "DURATION")]
    expires_in: Option<DurationText>,
}

#[derive(Args, Debug)]
pub(crate) struct RevokeArgs {
    /// The account
    name: String,
    /// What the token is called
    id: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Print the newest changes, and with --follow those that come
    Tail(TailArgs),
}

#[derive(Args, Debug)]
pub(crate) struct TailArgs {
    /// How many
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// Go on with the changes that come
    #[arg(long, short)]
    follow: bool,
}

impl GrantOf {
    fn grants(&self, roles: &[RoleArg]) -> Vec<GrantBody> {
        let pattern = |of: &Option<String>| of.clone().unwrap_or_else(|| "*".to_owned());
        let grant = |role: &RoleArg| GrantBody {
            role: match role {
                RoleArg::Read => RoleText::Read,
                RoleArg::Enqueue => RoleText::Enqueue,
                RoleArg::Publish => RoleText::Publish,
                RoleArg::Consume => RoleText::Consume,
                RoleArg::Work => RoleText::Work,
                RoleArg::Admin => RoleText::Admin,
            },
            namespace: pattern(&self.namespaces),
            names: pattern(&self.names),
        };
        roles.iter().map(grant).collect()
    }
}

fn path(name: &str) -> String {
    format!("/v1/accounts/{}", segment(name))
}

fn role(of: RoleText) -> &'static str {
    match of {
        RoleText::Read => "read",
        RoleText::Enqueue => "enqueue",
        RoleText::Publish => "publish",
        RoleText::Consume => "consume",
        RoleText::Work => "work",
        RoleText::Admin => "admin",
    }
}

fn grant(of: &GrantBody) -> String {
    let GrantBody { role: what, namespace, names } = of;
    match (namespace.as_str(), names.as_str()) {
        ("*", "*") => role(*what).to_owned(),
        (_, "*") => format!("{} in {namespace}", role(*what)),
        _ => format!("{} on {names} in {namespace}", role(*what)),
    }
}

fn ways_in(of: &AccountRecord) -> String {
    let mut ways: Vec<String> = of.tokens.iter().map(|it| format!("token {}", it.id)).collect();
    if of.has_password {
        ways.push("password".to_owned());
    }
    ways.extend(of.certificates.iter().map(|subject| format!("certificate {subject}")));
    ways.join(", ")
}

fn print(accounts: &[AccountRecord]) -> anyhow::Result<()> {
    let mut table = Table::new(&["account", "may", "comes in by", "changed"]);
    for account in accounts {
        let may: Vec<String> = account.grants.iter().map(grant).collect();
        let row = [account.name.clone(), may.join("; "), ways_in(account)];
        let changed = account.changed_at.to_string();
        table.row(&[&row[..], &[changed]].concat());
    }
    Ok(table.print()?)
}

fn show(account: &AccountRecord) -> anyhow::Result<()> {
    let may: Vec<String> = account.grants.iter().map(grant).collect();
    let tokens: Vec<String> = account
        .tokens
        .iter()
        .map(|token| match token.expires_at {
            Some(at) => format!("{} until {at}", token.id),
            None => token.id.clone(),
        })
        .collect();
    let some = |all: &[String]| (!all.is_empty()).then(|| all.join("; "));
    output::line(&facts(&[
        ("account", Some(account.name.clone())),
        ("may", some(&may)),
        ("password", account.has_password.then(|| "yes".to_owned())),
        ("tokens", some(&tokens)),
        ("certificates", some(&account.certificates)),
        ("requests per second", account.requests_per_second.map(|most| most.to_string())),
        ("default namespace", account.namespace.clone()),
        ("created", Some(account.created_at.to_string())),
        ("changed", Some(account.changed_at.to_string())),
    ]))?;
    Ok(())
}

/// A password out of a file, without the end of its line.
fn password(path: &Path) -> Result<String, Failure> {
    let text = if path.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().take(4096).read_to_string(&mut text).map(|_| text)
    } else {
        fs::read_to_string(path)
    };
    let text = text.map_err(|error| {
        Failure::usage(format!("cannot read the password of {}: {error}", path.display()))
    })?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn body_of(args: &PutArgs) -> Result<AccountBody, Failure> {
    let given = args.password_file.as_deref().map(password).transpose()?;
    if given.as_ref().is_some_and(String::is_empty) {
        return Err(Failure::usage(
            "the password is empty; --no-password takes it away".to_owned(),
        ));
    }
    let some = |all: &[String]| (!all.is_empty()).then(|| all.to_vec());
    Ok(AccountBody {
        password: given.or_else(|| args.no_password.then(String::new)),
        certificates: some(&args.certificates),
        grants: (!args.roles.is_empty()).then(|| args.of.grants(&args.roles)),
        requests_per_second: args.requests_per_second,
        namespace: args.default_namespace.clone(),
    })
}

async fn granted(client: &Client, args: &GrantArgs) -> anyhow::Result<Vec<u8>> {
    let known = client.get(&path(&args.name)).await?;
    let mut grants = read::<AccountRecord>(&known)?.grants;
    for grant in args.of.grants(&args.roles) {
        if !grants.contains(&grant) {
            grants.push(grant);
        }
    }
    let body = AccountBody { grants: Some(grants), ..AccountBody::default() };
    Ok(client.put(&path(&args.name), &body).await?)
}

async fn token(command: TokenCommand, client: &Client, context: &Context) -> anyhow::Result<()> {
    match command {
        TokenCommand::Create(args) => {
            let body = TokenRequest { id: args.id, expires_in: args.expires_in };
            let made = client.post(&format!("{}/tokens", path(&args.name)), &body).await?;
            match context.format {
                Format::Json => output::json_text(&made)?,
                Format::Table => output::line(&read::<TokenAnswer>(&made)?.token)?,
            }
        }
        TokenCommand::Revoke(args) => {
            let query = format!("{}/tokens?id={}", path(&args.name), segment(&args.id));
            client.delete(&query).await?;
            if context.format == Format::Table {
                output::line(&format!("{} is revoked", args.id))?;
            }
        }
    }
    Ok(())
}

pub(crate) async fn execute(
    command: AccountsCommand,
    context: &Context,
) -> anyhow::Result<ExitCode> {
    let client = context.client()?;
    let one = match command {
        AccountsCommand::List => {
            list(&client, context).await?;
            return Ok(ExitCode::SUCCESS);
        }
        AccountsCommand::Delete(args) => {
            client.delete(&path(&args.name)).await?;
            if context.format == Format::Table {
                output::line(&format!("{} is deleted", args.name))?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        AccountsCommand::Token(command) => {
            token(command, &client, context).await?;
            return Ok(ExitCode::SUCCESS);
        }
        AccountsCommand::Show(args) => client.get(&path(&args.name)).await?,
        AccountsCommand::Put(args) => client.put(&path(&args.name), &body_of(&args)?).await?,
        AccountsCommand::Grant(args) => granted(&client, &args).await?,
    };
    match context.format {
        Format::Json => output::json_text(&one)?,
        Format::Table => show(&read(&one)?)?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(client: &Client, context: &Context) -> anyhow::Result<()> {
    let mut all = Vec::new();
    let add = |body: &[u8]| {
        let page: AccountList = read(body)?;
        all.extend(page.accounts);
        Ok(page.next)
    };
    client.pages("/v1/accounts", &[("limit", Some("1000"))], add).await?;
    match context.format {
        Format::Json => {
            output::json_text(&serde_json::to_vec(&AccountList { accounts: all, next: None })?)?;
        }
        Format::Table => print(&all)?,
    }
    Ok(())
}

pub(crate) async fn audit(command: AuditCommand, context: &Context) -> anyhow::Result<ExitCode> {
    let AuditCommand::Tail(args) = command;
    let client = context.client()?;
    let mut query = format!("/v1/audit?limit={}", args.limit);
    loop {
        let body = client.get(&query).await?;
        let list = read::<AuditList>(&body)?;
        for entry in &list.entries {
            if context.format == Format::Json {
                output::line(&serde_json::to_string(entry)?)?;
                continue;
            }
            let namespace = entry.namespace.as_ref().map(|name| format!(" in {name}"));
            let told = |what: &str, of: &Option<String>| {
                of.as_ref().map(|text| format!("\n  {what}: {text}")).unwrap_or_default()
            };
            output::line(&format!(
                "{} {} {} {}{}{}{}",
                entry.at,
                entry.by,
                entry.action,
                entry.object,
                namespace.unwrap_or_default(),
                told("before", &entry.before),
                told("after", &entry.after),
            ))?;
        }
        if !args.follow {
            return Ok(ExitCode::SUCCESS);
        }
        if list.entries.is_empty() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        query = format!("/v1/audit?limit=1000&after={}", segment(&list.next));
    }
}
