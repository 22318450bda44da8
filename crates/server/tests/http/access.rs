//! Who comes in and what they may do: every route with every role, absurd credentials, accounts
//! that change while they are used.

use std::fmt::Write;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::harness::{Answer, Client, Server};

const ROLES: [&str; 6] = ["read", "enqueue", "publish", "consume", "work", "admin"];
const GUIDE: &str = include_str!("../../../../docs/access.md");

async fn as_(client: &mut Client, token: &str, method: &str, path: &str, body: &str) -> Answer {
    let header = format!("Bearer {token}");
    client.ask(method, path, &[("authorization", &header)], body).await
}

/// Makes an account with these grants, and a token of it.
async fn account(client: &mut Client, admin: &str, name: &str, grants: &Value) -> String {
    let body = json!({"grants": grants}).to_string();
    as_(client, admin, "PUT", &format!("/v1/accounts/{name}"), &body).await.expect(200);
    let path = format!("/v1/accounts/{name}/tokens");
    let made = as_(client, admin, "POST", &path, r#"{"id": "t"}"#).await.expect(201);
    made["token"].as_str().unwrap().to_owned()
}

/// A row of the guide's table: method, path, the roles that will do, and whether the path says what
/// they are asked for.
type Row = (String, String, Option<Vec<String>>, bool);

fn rows() -> Vec<Row> {
    let table = GUIDE.split("<!-- routes").nth(1).unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `"));
    let row = |row: &str| {
        let (request, asks) = row.split_once("` | ").unwrap();
        let (method, path) = request.split_once(' ').unwrap();
        let roles = (!asks.starts_with("nothing")).then(|| {
            let mut roles: Vec<String> =
                asks.split('`').skip(1).step_by(2).map(str::to_owned).collect();
            roles.retain(|role| ROLES.contains(&role.as_str()));
            roles
        });
        let is_named = !asks.contains("for what it is about") && !asks.contains("for anything");
        (method.to_owned(), path.replace("{name}", "x"), roles, is_named)
    };
    rows.map(row).collect()
}

#[tokio::test]
async fn every_route_lets_in_the_roles_of_the_table_and_no_others() {
    let (server, admin) = Server::start_asking().await;
    let mut client = server.client().await;
    let mut tokens = Vec::new();
    for role in ROLES {
        let grants = json!([{"role": role}]);
        tokens.push((role, account(&mut client, &admin, &format!("only-{role}"), &grants).await));
    }
    let elsewhere = json!([{"role": "admin", "namespace": "elsewhere"}]);
    let elsewhere = account(&mut client, &admin, "elsewhere", &elsewhere).await;
    let rows = rows();
    assert!(rows.len() > 100, "{}", rows.len());
    let mut odd = String::new();
    let of_others = json!([{"role": "admin", "names": "y"}]);
    let of_others = account(&mut client, &admin, "of-others", &of_others).await;
    for (method, path, roles, is_named) in &rows {
        let body = if method == "POST" || method == "PUT" { "{}" } else { "" };
        let none = client.ask(method, path, &[], body).await;
        if (none.status == 401) != roles.is_some() {
            writeln!(odd, "{method} {path} without credentials: {}", none.status).unwrap();
        }
        let Some(roles) = roles else { continue };
        for (role, token) in &tokens {
            let answer = as_(&mut client, token, method, path, body).await;
            let denied = answer.status == 403 && answer.json()["code"] == "access_denied";
            let may = *role == "admin" || roles.iter().any(|it| it == role);
            if denied == may || answer.status == 401 {
                let said = String::from_utf8_lossy(&answer.body).into_owned();
                writeln!(odd, "{method} {path} as {role}: {} {said}", answer.status).unwrap();
            }
        }
        let other = as_(&mut client, &elsewhere, method, path, body).await;
        if other.status != 403 && path != "/metrics" {
            writeln!(odd, "{method} {path} of another namespace: {}", other.status).unwrap();
        }
        let other = as_(&mut client, &of_others, method, path, body).await;
        if *is_named && other.status != 403 {
            writeln!(odd, "{method} {path} of another name: {}", other.status).unwrap();
        }
    }
    assert!(odd.is_empty(), "{odd}");
    server.stop().await;
}

/// There is nothing that a browser would keep and add to what another site's page asks for.
#[tokio::test]
async fn no_answer_sets_a_cookie_and_none_that_is_sent_changes_anything() {
    let (server, admin) = Server::start_asking().await;
    let mut client = server.client().await;
    let reader = account(&mut client, &admin, "reader", &json!([{"role": "read"}])).await;
    let (bearer, reader) = (format!("Bearer {admin}"), format!("Bearer {reader}"));
    let cookies = [
        format!("authorization={bearer}; session={admin}; token={admin}"),
        format!("auth={admin}; lsh={admin}; XSRF-TOKEN={admin}"),
    ];
    let told = |answer: Answer| {
        let cookie = answer.headers.iter().find(|(name, _)| name.starts_with("set-cookie"));
        assert_eq!(cookie, None);
        let kept = answer.headers.into_iter().filter(|(name, _)| name != "date");
        (answer.status, kept.collect::<Vec<_>>(), answer.body)
    };
    for (method, path, roles, _) in rows() {
        let body = if method == "POST" || method == "PUT" { "{}" } else { "" };
        let without = told(client.ask(&method, &path, &[], body).await);
        let denied = told(client.ask(&method, &path, &[("authorization", &reader)], body).await);
        for cookie in &cookies {
            let cookie = ("cookie", &**cookie);
            let with = told(client.ask(&method, &path, &[cookie], body).await);
            // What nobody is asked for tells of the server, and that goes on.
            if roles.is_some() {
                assert_eq!(with, without, "{method} {path}");
            } else {
                assert_eq!(with.0, without.0, "{method} {path}");
            }
            let both = [("authorization", &*reader), cookie];
            let both = told(client.ask(&method, &path, &both, body).await);
            assert!(denied.0 != 403 || both.0 == 403, "{method} {path}: {}", both.0);
        }
        told(client.ask(&method, &path, &[("authorization", &bearer)], body).await);
    }
    server.stop().await;
}

#[tokio::test]
async fn absurd_credentials_are_all_told_the_same() {
    let (server, admin) = Server::start_asking().await;
    let mut client = server.client().await;
    let other = account(&mut client, &admin, "other", &json!([{"role": "read"}])).await;
    let cut = &admin[..admin.len() - 1];
    let swapped: String = admin.chars().rev().collect();
    let lower = admin.to_ascii_lowercase();
    let huge = "x".repeat(30_000);
    let mut told = Vec::new();
    for header in [
        String::new(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        format!("Bearer {cut}"),
        format!("Bearer {admin}x"),
        format!("Bearer {swapped}"),
        format!("Bearer {lower}"),
        format!("Bearer {admin} {admin}"),
        format!("Bearer {admin}, Bearer {admin}"),
        format!("Basic {admin}"),
        "Basic YWRtaW4=".to_owned(),
        "Basic Og==".to_owned(),
        "Basic !!!!".to_owned(),
        format!("Bearer {huge}"),
        format!("Basic {huge}"),
        format!("Digest {admin}"),
        admin.clone(),
    ] {
        let answer = client.ask("GET", "/v1/queues", &[("authorization", &header)], "").await;
        let problem = answer.refused(401, "unauthenticated");
        let ways: Vec<_> =
            answer.headers.iter().filter(|(name, _)| name == "www-authenticate").collect();
        assert_eq!(ways.len(), 2, "{header}");
        told.push(problem["detail"].clone());
    }
    assert!(told.iter().all(|it| *it == told[0]), "{told:?}");
    let (one, two) = (format!("Bearer {admin}"), format!("Bearer {other}"));
    let both = [("authorization", one.as_str()), ("authorization", two.as_str())];
    client.ask("GET", "/v1/queues", &both, "").await.refused(401, "unauthenticated");
    as_(&mut client, &admin, "GET", "/v1/queues", "").await.expect(200);
    as_(&mut client, &other, "GET", "/v1/queues", "").await.expect(200);
    server.stop().await;
}

#[tokio::test]
async fn tokens_expire_are_revoked_and_go_with_their_account() {
    let (server, admin) = Server::start_asking().await;
    let mut client = server.client().await;
    let token = account(&mut client, &admin, "ann", &json!([{"role": "read"}])).await;
    let short = json!({"id": "short", "expires_in": "1ms"}).to_string();
    let made = as_(&mut client, &admin, "POST", "/v1/accounts/ann/tokens", &short).await;
    let made = made.expect(201);
    let short = made["token"].as_str().unwrap();
    while as_(&mut client, short, "GET", "/v1/queues", "").await.status == 200 {}
    as_(&mut client, short, "GET", "/v1/queues", "").await.refused(401, "unauthenticated");
    as_(&mut client, &token, "GET", "/v1/queues", "").await.expect(200);
    let revoke = "/v1/accounts/ann/tokens?id=t";
    as_(&mut client, &admin, "DELETE", revoke, "").await.expect(200);
    as_(&mut client, &token, "GET", "/v1/queues", "").await.refused(401, "unauthenticated");
    as_(&mut client, &admin, "DELETE", revoke, "").await.refused(404, "token_unknown");
    let again = as_(&mut client, &admin, "POST", "/v1/accounts/ann/tokens", r#"{"id": "u"}"#).await;
    let again = again.expect(201)["token"].as_str().unwrap().to_owned();
    as_(&mut client, &again, "GET", "/v1/queues", "").await.expect(200);
    as_(&mut client, &admin, "DELETE", "/v1/accounts/ann", "").await.expect(204);
    as_(&mut client, &again, "GET", "/v1/queues", "").await.refused(401, "unauthenticated");
    as_(&mut client, &admin, "GET", "/v1/accounts/ann", "").await.refused(404, "account_unknown");
    server.stop().await;
}

async fn ask(client: &mut Client, header: &str) -> Answer {
    client.ask("GET", "/v1/queues", &[("authorization", header)], "").await
}

#[tokio::test]
async fn a_password_comes_in_and_whoever_guesses_waits() {
    let (server, admin) = Server::start_asking().await;
    let mut client = server.client().await;
    let body = json!({"password": "correct horse", "grants": [{"role": "read"}]}).to_string();
    let made = as_(&mut client, &admin, "PUT", "/v1/accounts/ann", &body).await.expect(200);
    assert_eq!(made["has_password"], true);
    assert!(!made.to_string().contains("argon2"), "{made}");
    // ann:correct horse, ann:correct horsf, bob:correct horse
    let [right, wrong, nobody] = [
        "Basic YW5uOmNvcnJlY3QgaG9yc2U=",
        "Basic YW5uOmNvcnJlY3QgaG9yc2Y=",
        "Basic Ym9iOmNvcnJlY3QgaG9yc2U=",
    ];
    ask(&mut client, right).await.expect(200);
    ask(&mut client, wrong).await.refused(401, "unauthenticated");
    ask(&mut client, nobody).await.refused(401, "unauthenticated");
    for _ in 0..19 {
        ask(&mut client, wrong).await.refused(401, "unauthenticated");
    }
    let waits = ask(&mut client, wrong).await;
    waits.refused(429, "too_many_failures");
    assert!(waits.header("retry-after").is_some());
    ask(&mut client, right).await.expect(200);
    as_(&mut client, &admin, "GET", "/v1/queues", "").await.expect(200);
    let body = json!({"password": "another one"}).to_string();
    as_(&mut client, &admin, "PUT", "/v1/accounts/ann", &body).await.expect(200);
    assert_ne!(ask(&mut client, right).await.status, 200, "the old one is remembered no longer");
    let short = json!({"password": "short"}).to_string();
    let refused = as_(&mut client, &admin, "PUT", "/v1/accounts/ann", &short).await;
    refused.refused(400, "value_refused");
    server.stop().await;
}

#[tokio::test]
async fn a_worker_of_some_queues_has_no_hold_of_others() {
    let (server, admin) = Server::start_asking().await;
    let mut client = server.client().await;
    let grants = json!([{"role": "work", "names": "mail*"}, {"role": "enqueue", "names": "sms"}]);
    let worker = account(&mut client, &admin, "worker", &grants).await;
    for queue in ["mail-eu", "bills"] {
        let path = format!("/v1/queues/{queue}/jobs");
        as_(&mut client, &admin, "POST", &path, r#"{"kind": "k", "args": {}}"#).await.expect(202);
    }
    let lease = |queues: &[&str]| json!({"queues": queues, "worker": "w", "max": 5}).to_string();
    for queues in [&["*"][..], &["bills"], &["mail-eu", "bills"], &["ma*"]] {
        let answer = as_(&mut client, &worker, "POST", "/v1/lease", &lease(queues)).await;
        let problem = answer.refused(403, "access_denied");
        assert!(problem["detail"].as_str().unwrap().contains("work"), "{problem}");
    }
    let body = lease(&["mail*"]);
    let mine = as_(&mut client, &worker, "POST", "/v1/lease", &body).await.expect(200);
    let job = &mine["jobs"][0];
    assert_eq!(job["queue"], "mail-eu");
    let body = lease(&["bills"]);
    let theirs = as_(&mut client, &admin, "POST", "/v1/lease", &body).await.expect(200);
    let (id, token) = (theirs["jobs"][0]["id"].clone(), theirs["jobs"][0]["token"].clone());
    let ack = json!({"token": token}).to_string();
    let path = format!("/v1/jobs/{}/ack", id.as_str().unwrap());
    as_(&mut client, &worker, "POST", &path, &ack).await.refused(403, "access_denied");
    let path = format!("/v1/jobs/{}", id.as_str().unwrap());
    as_(&mut client, &worker, "GET", &path, "").await.refused(403, "access_denied");
    let path = format!("/v1/jobs/{}/ack", job["id"].as_str().unwrap());
    let follow = |queue: &str| {
        let jobs = json!([{"queue": queue, "kind": "k", "args": {}}]);
        json!({"token": job["token"], "enqueue": jobs}).to_string()
    };
    let refused = as_(&mut client, &worker, "POST", &path, &follow("bills")).await;
    refused.refused(403, "access_denied");
    as_(&mut client, &worker, "POST", &path, &follow("sms")).await.expect(200);
    server.stop().await;
}

#[tokio::test]
async fn an_account_makes_so_many_requests_in_a_second() {
    let (server, admin) = Server::start_asking().await;
    let mut client = server.client().await;
    let token = account(&mut client, &admin, "ann", &json!([{"role": "read"}])).await;
    let body = json!({"requests_per_second": 2}).to_string();
    as_(&mut client, &admin, "PUT", "/v1/accounts/ann", &body).await.expect(200);
    let mut refused = None;
    for _ in 0..100 {
        let answer = as_(&mut client, &token, "GET", "/v1/queues", "").await;
        if answer.status != 200 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("a hundred requests take less than fifty seconds");
    refused.refused(429, "account_rate");
    assert_eq!(refused.header("retry-after"), Some("1"));
    let body = json!({"requests_per_second": 0}).to_string();
    as_(&mut client, &admin, "PUT", "/v1/accounts/ann", &body).await.expect(200);
    as_(&mut client, &token, "GET", "/v1/queues", "").await.expect(200);
    server.stop().await;
}

#[tokio::test]
async fn the_trail_tells_what_was_changed_and_by_whom() {
    let (server, admin) = Server::start_asking().await;
    let mut client = server.client().await;
    account(&mut client, &admin, "ann", &json!([{"role": "read"}])).await;
    as_(&mut client, &admin, "POST", "/v1/queues/mail/pause", "").await.expect(200);
    let trail = as_(&mut client, &admin, "GET", "/v1/audit", "").await.expect(200);
    let mut told: Vec<_> = trail["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["by"].clone(), it["action"].clone(), it["object"].clone()))
        .collect();
    let entry = |by: &str, action: &str, object: &str| (json!(by), json!(action), json!(object));
    // What shards do in one millisecond has no order.
    told.sort_by_key(|(_, action, object)| (action.to_string(), object.to_string()));
    let expected = [
        entry("first start", "account.put", "admin"),
        entry("admin", "account.put", "ann"),
        entry("admin", "account.put", "ann"),
        entry("admin", "queue.put", "mail"),
    ];
    assert_eq!(told, expected);
    let next = trail["next"].as_str().unwrap();
    as_(&mut client, &admin, "DELETE", "/v1/accounts/ann", "").await.expect(204);
    let path = format!("/v1/audit?after={next}");
    let more = as_(&mut client, &admin, "GET", &path, "").await.expect(200);
    assert_eq!(more["entries"].as_array().unwrap().len(), 1, "{more}");
    assert_eq!(more["entries"][0]["action"], "account.delete");
    for odd in ["1", "x.y", "1.2.3", "99999999999999999999.1"] {
        let path = format!("/v1/audit?after={odd}");
        as_(&mut client, &admin, "GET", &path, "").await.refused(400, "value_refused");
    }
    server.stop().await;
}

#[tokio::test]
async fn only_its_owner_reads_the_first_token_and_the_host_may_be_any() {
    let (server, admin) = Server::start_asking().await;
    let file = server.dir().join("store/admin-token");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let mut client = server.client().await;
    let header = format!("Bearer {admin}");
    let from = |host: &'static str| [("host", host), ("authorization", header.as_str())];
    client.ask("GET", "/v1/queues", &from("jobs.example"), "").await.expect(200);
    let page = [
        ("host", "jobs.example"),
        ("authorization", header.as_str()),
        ("origin", "http://evil.example"),
    ];
    client.ask("GET", "/v1/queues", &page, "").await.refused(403, "origin_refused");
    server.stop().await;
}

#[tokio::test]
async fn messages_are_published_and_taken_where_an_account_may() {
    let (server, admin) = Server::start_asking().await;
    let mut client = server.client().await;
    let grants = json!([
        {"role": "publish", "names": "orders"},
        {"role": "publish", "names": "mine*"},
        {"role": "consume", "names": "mine*"},
    ]);
    let token = account(&mut client, &admin, "app", &grants).await;
    for queue in ["mine", "theirs"] {
        let path = format!("/v1/queues/{queue}");
        let body = r#"{"messages": {}}"#;
        as_(&mut client, &admin, "PUT", &path, body).await.expect(200);
        let path = format!("/v1/queues/{queue}/publish");
        as_(&mut client, &admin, "POST", &path, r#"{"body": "hello"}"#).await.expect(200);
    }
    let owner = json!([{"role": "admin", "names": "mine*"}]);
    let owner = account(&mut client, &admin, "owner", &owner).await;
    for (settings, status) in [
        (json!({"messages": {}}), 200),
        (json!({"messages": {"dead_letter_exchange": "theirs"}}), 403),
        (json!({"messages": {"dead_letter_exchange": ""}}), 403),
        (json!({"outcomes": "theirs"}), 403),
    ] {
        let body = settings.to_string();
        let answer = as_(&mut client, &owner, "PUT", "/v1/queues/mine2", &body).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.json());
    }
    let alternate = json!({"type": "fanout", "alternate": "theirs"}).to_string();
    let answer = as_(&mut client, &owner, "PUT", "/v1/exchanges/mine3", &alternate).await;
    answer.refused(403, "access_denied");
    let bind = json!({"queue": "theirs"}).to_string();
    let plain = r#"{"type": "fanout"}"#;
    as_(&mut client, &owner, "PUT", "/v1/exchanges/mine3", plain).await.expect(200);
    let answer = as_(&mut client, &owner, "POST", "/v1/exchanges/mine3/bind", &bind).await;
    answer.refused(403, "access_denied");
    let message = r#"{"body": "hello"}"#;
    for (path, status) in [
        ("/v1/queues/mine/publish", 200),
        ("/v1/queues/theirs/publish", 403),
        ("/v1/exchanges/amq.topic/publish", 403),
        ("/v1/exchanges/orders/publish", 404),
    ] {
        let answer = as_(&mut client, &token, "POST", path, message).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.json());
    }
    let publish = |to: &str| json!({"publish": [{"queue": to, "message": {"body": "x"}}]});
    for (to, status) in [("mine", 200), ("theirs", 403)] {
        let body = publish(to).to_string();
        let answer = as_(&mut client, &token, "POST", "/v1/transactions", &body).await;
        assert_eq!(answer.status, status, "{to}: {}", answer.json());
    }
    let path = "/v1/queues/theirs/consume";
    as_(&mut client, &token, "POST", path, "{}").await.refused(403, "access_denied");
    let theirs = as_(&mut client, &admin, "POST", path, "{}").await.expect(200);
    let (id, held) = (&theirs["messages"][0]["id"], &theirs["messages"][0]["token"]);
    let settle = json!({"settle": [{"queue": "theirs", "id": id, "token": held}]}).to_string();
    let answer = as_(&mut client, &token, "POST", "/v1/transactions", &settle).await;
    answer.refused(403, "access_denied");
    as_(&mut client, &admin, "POST", "/v1/transactions", &settle).await.expect(200);
    as_(&mut client, &token, "POST", "/v1/queues/mine/consume", "{}").await.expect(200);
    server.stop().await;
}

#[tokio::test]
async fn a_job_that_meets_those_of_other_queues_asks_for_all_of_them() {
    let (server, admin) = Server::start_asking().await;
    let mut client = server.client().await;
    let grants = json!([{"role": "enqueue", "names": "public"}, {"role": "work", "names": "mine"}]);
    let token = account(&mut client, &admin, "app", &grants).await;
    let job = |by: &Value| {
        let unique = json!({"by": by, "on_conflict": "replace"});
        json!({"kind": "pay", "args": {"to": "me"}, "unique": unique}).to_string()
    };
    let path = "/v1/queues/billing/jobs";
    as_(&mut client, &admin, "POST", path, &job(&json!(["kind"]))).await.expect(202);
    let path = "/v1/queues/public/jobs";
    let refused = as_(&mut client, &token, "POST", path, &job(&json!(["kind"]))).await;
    refused.refused(403, "access_denied");
    let own = job(&json!(["kind", "queue"]));
    as_(&mut client, &token, "POST", path, &own).await.expect(202);
    let all = as_(&mut client, &admin, "POST", path, &job(&json!(["kind"]))).await.expect(202);
    assert_eq!(all["unique"], "replaced");
    server.stop().await;
}

#[tokio::test]
async fn a_job_of_which_nobody_knows_the_queue_is_not_touched() {
    let (server, admin) = Server::start_asking().await;
    let mut client = server.client().await;
    let grants = json!([{"role": "enqueue", "names": "mail"}]);
    let token = account(&mut client, &admin, "app", &grants).await;
    let path = "/v1/jobs/00000000-0000-4000-8000-000000000001";
    let answer = as_(&mut client, &token, "DELETE", path, "").await;
    assert!([404, 410].contains(&answer.status), "{}", answer.status);
    server.stop().await;
}

#[tokio::test]
async fn what_waits_for_a_removed_account_ends_and_takes_nothing() {
    let (server, admin) = Server::start_asking().await;
    let mut client = server.client().await;
    let token = account(&mut client, &admin, "thief", &json!([{"role": "work"}])).await;
    let mut waiting = server.client().await;
    let lease = |wait: &str| json!({"queues": ["q"], "worker": "w", "wait": wait}).to_string();
    let body = lease("60s");
    let waits = tokio::spawn(async move {
        let begun = std::time::Instant::now();
        let answer = as_(&mut waiting, &token, "POST", "/v1/lease", &body).await;
        (answer, begun.elapsed())
    });
    // Whether the request or the removal comes first, it gets nothing.
    as_(&mut client, &admin, "DELETE", "/v1/accounts/thief", "").await.expect(204);
    let job = r#"{"kind": "k", "args": {}}"#;
    as_(&mut client, &admin, "POST", "/v1/queues/q/jobs", job).await.expect(202);
    let (answer, took) = waits.await.unwrap();
    answer.refused(401, "unauthenticated");
    assert!(took.as_secs() < 30, "{took:?}");
    let body = lease("10s");
    let got = as_(&mut client, &admin, "POST", "/v1/lease", &body).await.expect(200);
    assert_eq!(got["jobs"].as_array().unwrap().len(), 1, "{got}");
    server.stop().await;
}

#[tokio::test]
async fn names_that_are_the_systems_are_no_accounts() {
    let (server, admin) = Server::start_asking().await;
    let mut client = server.client().await;
    for name in ["_x", "local%20user", "first%20start", "a%3Ab"] {
        let path = format!("/v1/accounts/{name}");
        let answer = as_(&mut client, &admin, "PUT", &path, "{}").await;
        assert_eq!(answer.json()["code"], "name_reserved", "{name}");
    }
    server.stop().await;
}

#[tokio::test]
async fn the_last_who_may_do_everything_stays() {
    let (server, admin) = Server::start_asking().await;
    let mut client = server.client().await;
    let certificate = json!({"certificates": ["CN=one"]}).to_string();
    as_(&mut client, &admin, "PUT", "/v1/accounts/one", &certificate).await.expect(200);
    let two = as_(&mut client, &admin, "PUT", "/v1/accounts/two", &certificate).await;
    two.refused(400, "value_refused");
    let lesser = json!({"grants": [{"role": "read"}]}).to_string();
    for (method, path, body) in [
        ("DELETE", "/v1/accounts/admin", ""),
        ("PUT", "/v1/accounts/admin", lesser.as_str()),
        ("DELETE", "/v1/accounts/admin/tokens?id=first", ""),
    ] {
        let answer = as_(&mut client, &admin, method, path, body).await;
        answer.refused(400, "value_refused");
    }
    let other = account(&mut client, &admin, "other", &json!([{"role": "admin"}])).await;
    as_(&mut client, &other, "DELETE", "/v1/accounts/admin", "").await.expect(204);
    as_(&mut client, &admin, "GET", "/v1/queues", "").await.refused(401, "unauthenticated");
    server.stop().await;
}

/// It was let in with its head, and put itself back with the body that it had kept.
#[tokio::test]
async fn who_was_removed_or_lost_its_role_changes_no_account_with_a_late_body() {
    let (server, admin) = Server::start_asking().await;
    let mut client = server.client().await;
    let body = json!({"grants": [{"role": "admin"}]}).to_string();
    for (name, code, status) in [("gone", "unauthenticated", 401), ("less", "access_denied", 403)] {
        let token = account(&mut client, &admin, name, &json!([{"role": "admin"}])).await;
        let path = format!("/v1/accounts/{name}");
        let mut late = server.client().await;
        // It is told to go on once it is let in.
        let head = format!(
            "PUT {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\
             expect: 100-continue\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        late.send(head.as_bytes()).await;
        late.read_until("100 Continue\r\n\r\n").await;
        if name == "gone" {
            as_(&mut client, &admin, "DELETE", &path, "").await.expect(204);
        } else {
            let lesser = json!({"grants": [{"role": "read"}]}).to_string();
            as_(&mut client, &admin, "PUT", &path, &lesser).await.expect(200);
        }
        late.send(body.as_bytes()).await;
        late.answer().await.refused(status, code);
    }
    as_(&mut client, &admin, "GET", "/v1/accounts/gone", "").await.expect(404);
    let less = as_(&mut client, &admin, "GET", "/v1/accounts/less", "").await.expect(200);
    assert_eq!(less["grants"][0]["role"], "read", "{less}");
    server.stop().await;
}

#[tokio::test]
async fn the_trail_has_queues_of_messages_and_no_contents_of_jobs() {
    let (server, admin) = Server::start_asking().await;
    let mut client = server.client().await;
    let path = "/v1/queues/letters";
    as_(&mut client, &admin, "PUT", path, r#"{"messages": {}}"#).await.expect(200);
    as_(&mut client, &admin, "DELETE", path, "").await;
    let job = json!({"queue": "q", "kind": "k", "args": {"password": "swordfish"}});
    let schedule = json!({"every": "1h", "job": job}).to_string();
    let put = as_(&mut client, &admin, "PUT", "/v1/schedules/nightly", &schedule).await;
    assert!([200, 201].contains(&put.status), "{}", put.json());
    let trail = as_(&mut client, &admin, "GET", "/v1/audit", "").await.expect(200);
    let actions: Vec<_> = trail["entries"].as_array().unwrap().iter().collect();
    let of = |object: &str| -> Vec<&str> {
        let own = actions.iter().filter(|it| it["object"] == object);
        own.map(|it| it["action"].as_str().unwrap()).collect()
    };
    assert_eq!(of("letters"), ["queue.put", "queue.delete"]);
    assert_eq!(of("nightly"), ["schedule.put"]);
    assert!(!trail.to_string().contains("swordfish"), "{trail}");
    server.stop().await;
}

/// A copy has all that the store holds: whoever asked for one was in no trail.
#[tokio::test(flavor = "multi_thread")]
async fn the_trail_has_who_had_a_copy_made() {
    let folder = tempfile::tempdir().unwrap();
    let to = format!("file://{}", folder.path().display());
    let server = Server::start_with(|config| config.ship.allow = vec![to.clone()]).await;
    let client = &mut server.client().await;
    let body = serde_json::json!({"to": to}).to_string();
    let begun = client.post("/v1/backups", &body).await.expect(202);
    let trail = client.get("/v1/audit").await.expect(200);
    let last = trail["entries"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["action"], &last["object"]), (&"backup.begin".into(), &begun["id"]));
    assert_eq!((&last["by"], &last["after"]), (&"local user".into(), &format!("to {to}").into()));
    client
        .post("/v1/backups", "{\"to\":\"file:///elsewhere\"}")
        .await
        .refused(400, "value_refused");
    let again = client.get("/v1/audit").await.expect(200);
    assert_eq!(again["entries"], trail["entries"], "what is refused is not noted");
    server.stop().await;
}
