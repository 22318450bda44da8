//! The real `rabbitmqadmin` against the management API. Needs Debian's package `rabbitmq-server`;
//! skipped where that is missing.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use longshore_amqp::codec::methods::{ConnectionCloseOk, QueueDeclare};
use longshore_amqp::codec::{Method, Short};
use longshore_tests::amqp::Connection;
use longshore_tests::server::Server;
use longshore_tests::skip::skip;
use longshore_tests::wait;
use serde_json::Value;

/// A server, and where its management API is.
fn start(folder: &Path) -> Result<(Server, String)> {
    let server = Server::start_with(&folder.join("data"), &["--management", "127.0.0.1:0"])?;
    let management = server.next_address("management")?;
    Ok((server, management))
}

fn ask(management: &str, arguments: &[&str]) -> Result<(u16, Value)> {
    let output = Command::new("curl")
        .args(["-s", "-w", "\n%{http_code}"])
        .args(arguments.iter().map(|it| it.replace("API", &format!("http://{management}/api"))))
        .output()?;
    let said = String::from_utf8(output.stdout)?;
    let (body, status) = said.rsplit_once('\n').context("no status")?;
    Ok((status.parse()?, serde_json::from_str(body).unwrap_or(Value::Null)))
}

#[test]
fn rabbitmqadmin_works_as_with_rabbitmq() {
    if Command::new("rabbitmqadmin").arg("--version").output().is_err() {
        return skip("rabbitmqadmin", "it is of the package rabbitmq-server");
    }
    let folder = tempfile::tempdir().unwrap();
    let (server, management) = start(folder.path()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../compat/rabbitmqadmin/run.sh");
    let output =
        Command::new(script).env("MANAGEMENT", &management).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let failed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{failed}{}", server.log_text());
    assert!(said.lines().filter(|line| line.starts_with("PASS")).count() >= 20, "{said}");
}

#[test]
fn what_of_definitions_has_no_meaning_here_is_told_and_who_is_not_let_in() {
    let folder = tempfile::tempdir().unwrap();
    let (_server, management) = start(folder.path()).unwrap();
    let definitions =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../compat/rabbitmqadmin/definitions-3.10.json");
    let data = format!("@{}", definitions.display());
    let json = "content-type: application/json";
    let login = ["-u", "guest:guest"];
    let import = [&login[..], &["-X", "POST", "-H", json, "-d", &data, "API/definitions"]].concat();
    let (status, came) = ask(&management, &import).unwrap();
    assert_eq!(status, 200, "{came}");
    assert_eq!((&came["taken"]["queues"], &came["taken"]["policies"]), (&2.into(), &1.into()));
    let refused = came["not_taken"].as_array().unwrap();
    let ha = refused.iter().find(|it| it["section"] == "policies").unwrap();
    assert_eq!(ha["item"]["name"], "ha");
    assert!(refused.iter().any(|it| it["section"] == "users"), "{came}");
    // The last one is how RabbitMQ's own page keeps a login.
    let cookie = ["-H", "cookie: auth=Z3Vlc3Q6Z3Vlc3Q=; m=34e2:Z3Vlc3Q6Z3Vlc3Q=", "API/overview"];
    for arguments in [&["API/overview"][..], &["-u", "guest:wrong", "API/overview"], &cookie] {
        assert_eq!(ask(&management, arguments).unwrap().0, 401);
    }
    let elsewhere = [&login[..], &["-H", "host: example.com", "API/overview"]].concat();
    assert_eq!(ask(&management, &elsewhere).unwrap().0, 401);
    let parameters = [&login[..], &["API/parameters"]].concat();
    let (status, why) = ask(&management, &parameters).unwrap();
    assert_eq!((status, &why["error"]), (501, &"not_implemented".into()));
    let unknown = [&login[..], &["API/queues/%2F/nowhere"]].concat();
    assert_eq!(ask(&management, &unknown).unwrap().0, 404);
}

/// Users and permissions that are refused, and a part of the reason.
const REFUSED: [(&str, &str, &str); 14] = [
    (
        "permissions/%2F/ann",
        r#"{"configure": ".*", "write": "^$", "read": ".*"}"#,
        "configure means names that write or read does not",
    ),
    (
        "permissions/%2F/ann",
        r#"{"configure": "^$", "write": "[a-z]+", "read": ".*"}"#,
        "begin with ^",
    ),
    (
        "permissions/%2F/noone",
        r#"{"configure": "^own\\..*", "write": "^(own\\..*|orders)$", "read": ".*"}"#,
        "no_such_user",
    ),
    (
        "permissions/nowhere/ann",
        r#"{"configure": "^own\\..*", "write": "^(own\\..*|orders)$", "read": ".*"}"#,
        "no_such_vhost",
    ),
    (
        "users/bob",
        r#"{"password_hash": "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR", "tags": ""}"#,
        "password_hash cannot be taken over",
    ),
    ("users/bob", r#"{"password": "long enough", "tags": "policymaker"}"#, "policymaker"),
    ("users/bob", r#"{"password": "short", "tags": ""}"#, "8 to 1024 bytes"),
    ("users/bob", r#"{"password": "long enough"}"#, "key_missing: tags"),
    ("users/_bob", r#"{"password": "long enough", "tags": ""}"#, "reserved"),
    ("users/b*", r#"{"password": "long enough", "tags": ""}"#, "account"),
    ("users/bob", r#"{"password": 12345678, "tags": ""}"#, "password is a text"),
    ("users/bob", r#"{"password_hash": null, "tags": ""}"#, "password_hash is a text"),
    ("users/bob", r#"{"password": "long enough", "tags": ["monitoring", 1]}"#, "texts"),
    ("users/bob", r#"{"password": "long enough", "tags": {}}"#, "tags are a list"),
];

#[test]
fn users_and_permissions_are_accounts_and_what_these_cannot_say_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (server, management) = start(folder.path()).unwrap();
    let put = |path: &str, body: &str| {
        let json = ["-u", "guest:guest", "-X", "PUT", "-H", "content-type: application/json"];
        let (status, came) =
            ask(&management, &[&json[..], &["-d", body, &format!("API/{path}")]].concat()).unwrap();
        (status, came["reason"].as_str().unwrap_or_default().to_owned())
    };
    let get =
        |path: &str| ask(&management, &["-u", "guest:guest", &format!("API/{path}")]).unwrap();
    let ann = r#"{"password": "correct horse", "tags": "monitoring"}"#;
    assert_eq!(put("users/ann", ann), (201, String::new()));
    assert_eq!(put("users/ann", ann), (204, String::new()));
    let may = r#"{"configure": "^own\\..*", "write": "^(own\\..*|orders)$", "read": ".*"}"#;
    assert_eq!(put("permissions/%2F/ann", may), (201, String::new()));
    let (_, told) = get("permissions/%2F/ann");
    assert_eq!(told["configure"], "^own\\..*$", "{told}");
    assert_eq!((&told["write"], &told["read"]), (&"^(orders|own\\..*)$".into(), &".*".into()));
    let account = format!("http://{}/v1/accounts/ann", server.address);
    let (_, account) = ask(&management, &[&account]).unwrap();
    let mut grants: Vec<String> = account["grants"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| ["namespace", "role", "names"].map(|of| it[of].as_str().unwrap()).join(" "))
        .collect();
    grants.sort();
    let expected =
        ["* read *", "default admin own.*", "default consume *", "default publish orders"];
    assert_eq!(grants, expected);

    for (path, body, why) in REFUSED {
        let (status, said) = put(path, body);
        assert!(status == 400 && said.contains(why), "{path} {body}: {status} {said}");
    }
    // Without a password a user is exported, and taken over; what it may do by its tag is no
    // permission.
    assert_eq!(put("users/cat", r#"{"password_hash": "", "tags": "administrator"}"#).0, 201);
    let reads = r#"{"configure": "^$", "write": "", "read": "^own"}"#;
    assert_eq!(put("permissions/%2F/cat", reads).0, 201);
    let (_, all) = get("definitions");
    let names: Vec<_> = all["users"].as_array().unwrap().iter().map(|it| &it["name"]).collect();
    assert_eq!(names, ["cat"]);
    let may = &all["permissions"][0];
    assert_eq!((&may["configure"], &may["read"]), (&"^$".into(), &"^own.*$".into()), "{all}");
    // One that has a password keeps it where an import names none.
    let users = r#"{"users": [{"name": "ann", "password_hash": "", "tags": "monitoring"}]}"#;
    let import = ["-u", "guest:guest", "-X", "POST", "-d", users, "API/definitions"];
    let (status, came) = ask(&management, &import).unwrap();
    assert_eq!((status, &came["taken"]["users"]), (200, &1.into()), "{came}");
    let (_, all) = get("definitions");
    assert_eq!(all["users"].as_array().map(Vec::len), Some(1), "{all}");
    for path in ["permissions/%2F/ann", "users/ann", "users/cat"] {
        let url = format!("API/{path}");
        let gone = ask(&management, &["-u", "guest:guest", "-X", "DELETE", &url]).unwrap().0;
        assert_eq!((gone, get(path).0), (204, 404), "{path}");
    }
}

#[test]
fn connections_are_shown_and_closed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let more = ["--amqp", "127.0.0.1:0", "--management", "127.0.0.1:0"];
    let server = Server::start_with(&folder.path().join("data"), &more)?;
    let (amqp, management) = (server.next_address("amqp")?, server.next_address("management")?);
    let get = |path: &str| ask(&management, &["-u", "guest:guest", &format!("API/{path}")]);
    assert_eq!(get("connections")?, (200, Value::Array(Vec::new())));
    let mut client = Connection::with_channel(&amqp)?;
    client.open_channel(7)?;
    client.declare(QueueDeclare { queue: Short::cut("mail"), ..QueueDeclare::default() })?;
    client.consume("mail", false)?;
    let (_, connections) = get("connections")?;
    let shown = &connections[0];
    assert_eq!((&shown["user"], &shown["vhost"]), (&"guest".into(), &"/".into()), "{shown}");
    assert_eq!((&shown["state"], &shown["channels"]), (&"running".into(), &2.into()), "{shown}");
    assert_eq!(amqp, format!("127.0.0.1:{}", shown["port"]));
    assert!(shown["recv_oct"].as_u64() > Some(0) && shown["send_oct"].as_u64() > Some(0));
    let (_, channels) = get("channels")?;
    let numbers: Vec<_> =
        channels.as_array().into_iter().flatten().map(|it| &it["number"]).collect();
    assert_eq!(numbers, [1, 7], "{channels}");
    assert_eq!(channels[0]["consumer_count"], 1, "{channels}");
    let (_, consumers) = get("consumers/%2F")?;
    assert_eq!(
        (&consumers[0]["queue"]["name"], &consumers[0]["ack_required"]),
        (&"mail".into(), &true.into())
    );
    assert_eq!(consumers[0]["channel_details"]["connection_name"], shown["name"]);
    assert_eq!(get("consumers/elsewhere")?.1, Value::Array(Vec::new()));
    let name =
        shown["name"].as_str().context("it has a name")?.replace(' ', "%20").replace('>', "%3E");
    let path = format!("API/connections/{name}");
    let why = "X-Reason: moved to another machine";
    let close = ["-u", "guest:guest", "-X", "DELETE", "-H", why, &path];
    assert_eq!(ask(&management, &close)?.0, 204);
    let closed = client.wait_for(|_| false).unwrap_err().to_string();
    assert!(closed.contains("320") && closed.contains("moved to another machine"), "{closed}");
    client.say(0, Method::from(ConnectionCloseOk {}))?;
    wait::until(
        "it is gone",
        || Ok((get(&format!("connections/{name}"))?.0 == 404).then_some(())),
    )?;
    assert_eq!(ask(&management, &close)?.0, 404);
    Ok(())
}
