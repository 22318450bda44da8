//! Bodies of requests to every route with one, paths, and nasty ones of both.

use crate::corpus::Named;

const TOKEN: &str = "3.77";
const ID: &str = "019e6f3a-1122-7033-8001-020304050607";

/// A job with every field.
const JOB: &str = r#"{"id":"019e6f3a-1122-7033-8001-020304050607","kind":"welcome_email",
"args":{"user":7,"at":[1,2.50,null,true,"\u00fc\ud83d\ude00"]},"priority":9,"delay":"1m30s",
"ordering_key":"user-7","at_most_once":false,"ttl":"1d","timeout":"30s","lease":"250ms",
"retry":{"policy":"exponential","base":"1s","factor":2.5,"cap":"1h","jitter":0.2},
"max_attempts":3,"max_age":"1h","retain":"7d","tags":["eu","bulk"],"metadata":{"request":"r-1"},
"traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}"#;

fn routes() -> Vec<(&'static str, String)> {
    let error = r#"{"type":"Net::ReadTimeout","message":"execution expired","backtrace":"a.rb:7"}"#;
    let settle = format!(
        r#"[{{"id":"{ID}","token":"{TOKEN}","verdict":"ack","result":[1],"location":"/r/7"}},
{{"id":"{ID}","token":"{TOKEN}","verdict":"fail","error":{error},"retry_in":"5s"}},
{{"id":"{ID}","token":"{TOKEN}","verdict":"snooze","delay":"1s"}},
{{"id":"{ID}","token":"{TOKEN}","verdict":"release"}},
{{"id":"{ID}","token":"{TOKEN}","verdict":"discard"}},
{{"id":"{ID}","token":"{TOKEN}","verdict":"interrupt","reason":"deploy"}}]"#
    );
    let token = format!(r#"{{"token":"{TOKEN}"}}"#);
    let defaults = r#"{"priority":5,"lease":"1s","timeout":"2s",
"retry":{"policy":"constant","delay":"5s"},"max_attempts":3,"max_age":"4s","ttl":"5s","retain":"6s"}"#;
    vec![
        ("enqueue", JOB.to_owned()),
        ("enqueue-small", r#"{"kind":"k"}"#.to_owned()),
        ("enqueue-at", r#"{"kind":"k","run_at":"2030-01-02T03:04:05.678+09:00"}"#.to_owned()),
        ("enqueue-sidekiq", r#"{"kind":"k","retry":{"policy":"sidekiq"}}"#.to_owned()),
        ("enqueue-bulk", format!(r#"{{"jobs":[{JOB},{{"kind":"b"}},{{"kind":"c","args":7}}]}}"#)),
        (
            "lease",
            format!(
                r#"{{"queues":["mail","img*","*"],"kinds":["a","b"],"max":10,"wait":"20s","lease":"30s",
"worker":"host-1","session":"s","turn":8,"seen":7,"settle":{settle}}}"#
            ),
        ),
        ("settle", format!(r#"{{"settle":{settle}}}"#)),
        (
            "ack",
            format!(r#"{{"token":"{TOKEN}","result":{{"n":1}},"location":"https://a.example/7"}}"#),
        ),
        (
            "ack-enqueue",
            format!(r#"{{"token":"{TOKEN}","enqueue":[{{"queue":"q","kind":"k","args":[1]}}]}}"#),
        ),
        ("fail", format!(r#"{{"token":"{TOKEN}","error":{error},"retry_in":"5s"}}"#)),
        ("snooze", format!(r#"{{"token":"{TOKEN}","delay":"10s"}}"#)),
        ("release-discard", token),
        (
            "heartbeat",
            format!(r#"{{"token":"{TOKEN}","lease":"30s","progress":0.25,"progress_text":"a"}}"#),
        ),
        ("retry", r#"{"cursor":[7]}"#.to_owned()),
        ("interrupt", format!(r#"{{"token":"{TOKEN}","reason":"deploy","delay":"10s"}}"#)),
        (
            "checkpoint",
            format!(
                r#"{{"token":"{TOKEN}","seq":7,"lease":"30s","cursor":{{"id":5}},"progress":0.25,
"progress_text":"a","counters":{{"rows":100,"errors":-1}},"skipped":[{{"cursor":4,"error":{error}}}]}}"#
            ),
        ),
        ("settings", format!(r#"{{"paused":true,"max_length":1000,"defaults":{defaults}}}"#)),
        ("purge", r#"{"dead":true,"kind":"k","older_than":"7d"}"#.to_owned()),
        ("retry-dead", r#"{"kind":"k","before":"2030-01-02T03:04:05Z"}"#.to_owned()),
        ("empty", String::new()),
    ]
}

fn nasty() -> Vec<(&'static str, Vec<u8>)> {
    let bytes = |text: &str| text.as_bytes().to_vec();
    let args = |args: &str| bytes(&format!(r#"{{"kind":"k","args":{args}}}"#));
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let objects = format!("{}1{}", r#"{"a":"#.repeat(3000), "}".repeat(3000));
    vec![
        ("deep-allowed", args(&deep(127))),
        ("deep-bomb", args(&deep(4000))),
        ("deep-objects", args(&objects)),
        ("deep-unclosed", bytes(&"[".repeat(8000))),
        ("deep-kind", bytes(&format!(r#"{{"kind":{}"#, "[".repeat(8000)))),
        ("many-jobs", bytes(&format!(r#"{{"jobs":[{}{{}}]}}"#, r#"{"kind":"a"},"#.repeat(600)))),
        ("many-numbers-as-jobs", bytes(&format!(r#"{{"jobs":[{}0]}}"#, "0,".repeat(4000)))),
        ("many-tags", bytes(&format!(r#"{{"kind":"k","tags":[{}""]}}"#, r#""","#.repeat(2700)))),
        ("many-queues", bytes(&format!(r#"{{"queues":[{}""]}}"#, r#""","#.repeat(2700)))),
        (
            "many-counters",
            bytes(&format!(
                r#"{{"token":"1.1","counters":{{{}"z":1}}}}"#,
                r#""a":1,"#.repeat(1300)
            )),
        ),
        ("many-unknown", bytes(&format!("{{{}\"kind\":\"k\"}}", "\"x\":1,".repeat(1000)))),
        ("long-unknown", bytes(&format!(r#"{{"{}":1}}"#, "y".repeat(8000)))),
        ("twice", bytes(r#"{"kind":"a","kind":"b"}"#)),
        ("truncated", bytes(JOB.get(..JOB.len() / 2).unwrap_or_default())),
        ("not-utf8", b"{\"kind\":\"\xff\xfe\"}".to_vec()),
        ("surrogate", bytes(r#"{"kind":"\ud800"}"#)),
        ("nul", bytes("{\"kind\":\"a\\u0000b\"}\0")),
        (
            "number-huge",
            bytes(r#"{"kind":"k","priority":1e999,"max_attempts":99999999999999999999}"#),
        ),
        ("number-args", args(&format!("1{}", "0".repeat(5000)))),
        ("duration-huge", bytes(r#"{"kind":"k","delay":"99999999999999999999d"}"#)),
        ("duration-odd", bytes(r#"{"kind":"k","delay":"-1h1.5s 3m"}"#)),
        ("instant-odd", bytes(r#"{"kind":"k","run_at":"-262144-01-01T00:00:00Z[UTC]"}"#)),
        (
            "instant-late",
            bytes(r#"{"kind":"k","run_at":"9999-12-31T23:59:60.999999999999+23:59"}"#),
        ),
        ("token-odd", bytes(r#"{"token":"00.18446744073709551616"}"#)),
        ("progress-odd", bytes(r#"{"token":"1.1","progress":-0.0}"#)),
        ("array-for-object", bytes(r#"["k",null,[],9]"#)),
        ("white-space", vec![b' '; 8000]),
    ]
}

pub(super) fn bodies() -> Vec<Named> {
    let routes = routes().into_iter().map(|(name, body)| (name.to_owned(), body.into_bytes()));
    let nasty = nasty().into_iter().map(|(name, body)| (format!("nasty-{name}"), body));
    routes.chain(nasty).collect()
}

pub(super) fn paths() -> Vec<Named> {
    let long = format!("/v1/queues/{}/jobs", "%41".repeat(2000));
    let paths = [
        ("enqueue", "/v1/queues/mail/jobs"),
        ("namespace", "/v1/namespaces/shop/queues/a%20b%2Fc/purge"),
        ("status", "/v1/status/019e6f3a-1122-7033-8001-020304050607"),
        ("ack", "/v1/jobs/019e6f3a-1122-7033-8001-020304050607/ack"),
        ("root", "/livez"),
        ("nasty-dots", "/v1/queues/../../%2e%2e/jobs"),
        ("nasty-percent", "/v1/queues/%/%f/%zz/%ff%fe"),
        ("nasty-slashes", "//v1///queues//"),
        ("nasty-nul", "/v1/queues/%00\u{7f}\u{85}/jobs"),
        ("nasty-long", &long),
    ];
    paths.map(|(name, path)| (name.to_owned(), path.as_bytes().to_vec())).to_vec()
}
