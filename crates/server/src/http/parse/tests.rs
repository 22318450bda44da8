//! Every parser against good and bad bodies: what comes out, or which field is named.

use bytes::Bytes;
use longshore_engine::{
    EndKind, JobId, Limits, QueuePattern, RetryFrom, RetryPolicy, Start, TimeMs, Verdict,
};
use proptest::prelude::*;

use super::*;
use crate::http::code::Code;
use crate::http::refusal::Refusal;

const ID: JobId = JobId([7; 16]);
const UUID: &str = "018bcfe5-6800-7a00-8abc-def012345678";

fn bounds() -> Bounds {
    Bounds {
        bulk_jobs_max: 3,
        bulk_bytes_max: 150,
        args_bytes_max: 100,
        result_bytes_max: 100,
        metadata_bytes_max: 100,
        cursor_bytes_max: 20,
        settlements_max: 3,
        lease_jobs_max: 9,
        lease_ms: 1000..=3_600_000,
        wait_ms_max: 60_000,
        horizon_ms_max: 365 * 86_400_000,
        queues_max: 3,
        kinds_max: 3,
    }
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn told(refusal: &Refusal) -> (Code, String) {
    (refusal.code(), refusal.problem().field.unwrap_or_default())
}

/// `fields` go into a job beside its kind.
fn refused_job(fields: &str) -> (Code, String) {
    let body = bytes(&format!("{{\"kind\":\"k\",{fields}}}"));
    told(&parse_enqueue("q", &body, &bounds()).unwrap_err())
}

#[test]
fn a_job_is_read_with_all_its_fields() {
    let body = bytes(&format!(
        "{{\"id\":\"{UUID}\",\"kind\":\"k\",\"args\":[1, 2],\"priority\":9,\"delay\":\"5m\",\
         \"ordering_key\":\"o\",\"at_most_once\":true,\"ttl\":\"1h\",\"timeout\":\"30s\",\
         \"lease\":\"10s\",\"retry\":{{\"policy\":\"exponential\",\"base\":\"1s\",\"factor\":1.5,\
         \"cap\":\"1m\",\"jitter\":0.25}},\"max_attempts\":3,\"max_age\":\"1d\",\"retain\":\"2d\",\
         \"tags\":[\"a\"],\"metadata\":{{\"m\":1}},\
         \"traceparent\":\"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\"}}"
    ));
    let mut parsed = parse_enqueue("q", &body, &bounds()).unwrap();
    assert!(!parsed.is_bulk);
    let job = parsed.jobs.pop().unwrap();
    assert_eq!(job.id.to_string(), UUID);
    assert!(job.fingerprint.is_some() && job.at_most_once);
    assert_eq!((job.kind.as_str(), &job.args[..]), ("k", &b"[1, 2]"[..]));
    assert_eq!((job.priority, job.start), (Some(9), Some(Start::After(300_000))));
    assert_eq!(job.expiry, Some(Start::After(3_600_000)));
    assert_eq!((job.timeout_ms, job.lease_ms), (Some(30_000), Some(10_000)));
    let exponential = RetryPolicy::Exponential {
        base_ms: 1000,
        factor_percent: 150,
        cap_ms: 60_000,
        jitter_percent: 25,
    };
    assert_eq!(job.retry, Some(exponential));
    assert_eq!((job.max_attempts, job.max_age_ms), (Some(3), Some(86_400_000)));
    assert_eq!(job.metadata.as_deref(), Some(&b"{\"m\":1}"[..]));
}

#[test]
fn an_exponential_retry_doubles_up_to_a_day_where_nobody_says_otherwise() {
    let body = bytes(r#"{"kind":"k","retry":{"policy":"exponential","base":"1s"}}"#);
    let job = parse_enqueue("q", &body, &bounds()).unwrap().jobs.pop().unwrap();
    let usual = RetryPolicy::Exponential {
        base_ms: 1000,
        factor_percent: 200,
        cap_ms: 24 * 3_600_000,
        jitter_percent: 0,
    };
    assert_eq!(job.retry, Some(usual));
}

#[test]
fn what_is_left_out_is_left_to_the_queue() {
    let parsed = parse_enqueue("q", &bytes("{\"kind\":\"k\",\"delay\":null}"), &bounds()).unwrap();
    let job = &parsed.jobs[0];
    assert_eq!(&job.args[..], b"{}");
    assert!(job.id.made_at().is_some(), "the server makes ids of version 7");
    assert!(job.fingerprint.is_none() && job.start.is_none() && job.priority.is_none());
    let null = parse_enqueue("q", &bytes("{\"kind\":\"k\",\"args\":null}"), &bounds()).unwrap();
    assert_eq!(&null.jobs[0].args[..], b"null");
}

#[test]
fn bad_jobs_are_told_which_field() {
    let cases = [
        ("\"priority\":10", "priority"),
        ("\"priority\":256", "priority"),
        ("\"delay\":\"1s\",\"run_at\":\"2030-01-01T00:00:00Z\"", "run_at"),
        ("\"ttl\":\"1s\",\"expires_at\":\"2030-01-01T00:00:00Z\"", "expires_at"),
        ("\"run_at\":\"tomorrow\"", "run_at"),
        ("\"run_at\":\"99999-01-01T00:00:00Z\"", "run_at"),
        ("\"run_at\":\"1960-01-01T00:00:00Z\"", "run_at"),
        ("\"delay\":\"99999999999999999999d\"", "delay"),
        ("\"delay\":\"366d\"", "delay"),
        ("\"ttl\":\"366d\"", "ttl"),
        ("\"ttl\":\"0s\"", "ttl"),
        ("\"timeout\":\"0s\"", "timeout"),
        ("\"lease\":\"2h\"", "lease"),
        ("\"run_at\":\"9999-12-31T23:59:59Z\"", "run_at"),
        ("\"tags\":[\"a\",\"\"]", "tags[1]"),
        ("\"ordering_key\":\"\"", "ordering_key"),
        ("\"retry\":{\"policy\":\"constant\",\"delay\":\"366d\"}", "retry.delay"),
        ("\"retry\":{\"policy\":\"sidekiq\",\"delay\":\"5s\"}", "retry.delay"),
        ("\"retry\":{\"policy\":\"constant\",\"delay\":\"1s\",\"cap\":\"5s\"}", "retry.cap"),
        ("\"retry\":{\"policy\":\"none\"}", "retry.policy"),
        ("\"retry\":{}", "retry.policy"),
        ("\"traceparent\":\"00-x\"", "traceparent"),
        ("\"metadata\":[1]", "metadata"),
        ("\"tags\":\"a\"", "tags"),
        ("\"tags\":[5]", "tags[0]"),
        ("\"id\":\"\"", "id"),
        ("\"max_attempts\":-1", "max_attempts"),
        ("\"max_attempts\":1.5", "max_attempts"),
        ("\"retry\":[\"sidekiq\"]", "retry"),
        ("\"retry\":{\"policy\":\"constant\"}", "retry.delay"),
        ("\"retry\":{\"policy\":\"exponential\",\"base\":\"1s\",\"factor\":0.5}", "retry.factor"),
        ("\"retry\":{\"policy\":\"exponential\",\"base\":\"1s\",\"jitter\":2}", "retry.jitter"),
        ("\"at_most_once\":\"yes\"", "at_most_once"),
    ];
    for (fields, field) in cases {
        let (code, named) = refused_job(fields);
        assert_eq!(named, field, "{fields}");
        assert!(matches!(code, Code::ValueRefused | Code::FieldMissing), "{fields}");
    }
    let tags = format!("\"tags\":[\"{}\"]", "x".repeat(101));
    assert_eq!(refused_job(&tags), (Code::BodyTooLarge, "tags".into()));
    let long = format!("\"args\":\"{}\"", "x".repeat(100));
    assert_eq!(refused_job(&long), (Code::BodyTooLarge, "args".into()));
    let nested = format!("\"args\":{}1{}", "[".repeat(200), "]".repeat(200));
    let deep = bytes(&format!("{{\"kind\":\"k\",{nested}}}"));
    let refused = parse_enqueue("q", &deep, &Bounds::of(&Limits::default())).unwrap_err();
    assert_eq!(told(&refused), (Code::BodyTooDeep, "args".into()));
    let empty = parse_enqueue("q", &bytes("{\"kind\":\"\"}"), &bounds()).unwrap_err();
    assert_eq!(told(&empty), (Code::ValueRefused, "kind".into()));
}

#[test]
fn a_bulk_is_read_in_order() {
    let body = bytes(" { \"jobs\" : [{\"kind\":\"a\",\"args\":1},{\"kind\":\"b\"}] } ");
    let parsed = parse_enqueue("q", &body, &bounds()).unwrap();
    assert!(parsed.is_bulk);
    let kinds: Vec<_> = parsed.jobs.iter().map(|job| job.kind.as_str()).collect();
    assert_eq!(kinds, ["a", "b"]);
    assert!(parsed.jobs[0].id < parsed.jobs[1].id);
    let empty = parse_enqueue("q", &bytes("{\"jobs\":[]}"), &bounds()).unwrap_err();
    assert_eq!(empty.problem().allowed.as_deref(), Some("1 to 3 jobs"));
}

#[test]
fn a_bad_bulk_names_the_jobs_at_fault() {
    let refused = |body: &str| parse_enqueue("q", &bytes(body), &bounds()).unwrap_err();
    let faults = |body: &str| -> Vec<(usize, String, String)> {
        let problem = refused(body).problem();
        assert_eq!(problem.code, "jobs_refused", "{body}");
        let faults = problem.faults.into_iter();
        faults.map(|it| (it.index, it.code, it.field.unwrap_or_default())).collect()
    };
    let fault = |index: usize, code: &str, field: &str| (index, code.to_owned(), field.to_owned());
    assert_eq!(
        faults("{\"jobs\":[{\"kind\":\"\"},{\"kind\":\"b\"},{\"kind\":\"c\",\"priority\":77}]}"),
        [fault(0, "value_refused", "kind"), fault(2, "value_refused", "priority")]
    );
    assert_eq!(
        faults("{\"jobs\":[{\"kind\":\"a\",\"dlay\":\"1s\"},{},7]}"),
        [
            fault(0, "field_unknown", "dlay"),
            fault(1, "field_missing", "kind"),
            fault(2, "value_refused", "the job")
        ]
    );
    assert_eq!(told(&refused("{\"jobs\":{}}")), (Code::ValueRefused, "jobs".into()));
    assert_eq!(told(&refused("{\"jobs\":[],\"queue\":1}")), (Code::FieldUnknown, "queue".into()));
    assert_eq!(told(&refused("{\"jobs\":[],\"jobs\":[]}")), (Code::FieldRepeated, "jobs".into()));
    assert_eq!(refused("{\"jobs\":[{\"kind\":\"a\"}").code(), Code::BodyMalformed);
    let first = refused("{\"jobs\":[{\"kind\":\"a\"},{\"kind\":\"b\",\"priority\":77}]}").problem();
    assert_eq!(first.field.as_deref(), Some("jobs[1].priority"));
    let detail = "1 job is at fault, so none was enqueued; jobs[1].priority is 77; allowed: a whole \
                  number from 0 to 9";
    assert_eq!(first.detail, detail);
    let large = format!("{{\"kind\":\"a\",\"args\":\"{}\"}}", "x".repeat(90));
    let large = refused(&format!("{{\"jobs\":[{large},{large}]}}"));
    assert_eq!(told(&large), (Code::BodyTooLarge, "jobs".into()));
    let four = "{\"jobs\":[{\"kind\":\"a\"},{\"kind\":\"a\"},{\"kind\":\"a\"},{\"kind\":\"a\"}]}";
    assert_eq!(told(&refused(four)), (Code::ValueRefused, "jobs".into()));
}

#[test]
fn a_lease_request_is_read() {
    let body = bytes(&format!(
        "{{\"queues\":[\"a\",\"b*\",\"*\"],\"kinds\":[\"k\"],\"max\":5,\"wait\":\"20s\",\
         \"lease\":\"1m\",\"worker\":\"w\",\"session\":\"s\",\"turn\":8,\"seen\":7,\
         \"settle\":[{{\"id\":\"{UUID}\",\"token\":\"1.2\",\"verdict\":\"ack\",\"result\":null}}]}}"
    ));
    let (request, _) = parse_lease(&body, &bounds()).unwrap();
    assert_eq!(
        request.queues,
        [
            QueuePattern::Exactly("a".into()),
            QueuePattern::Prefix("b".into()),
            QueuePattern::Prefix(String::new())
        ]
    );
    assert_eq!((request.max, request.wait_ms, request.lease_ms), (5, 20_000, Some(60_000)));
    assert_eq!((request.ask, request.seen), (Some(8), Some(7)));
    let Verdict::Ack { result, .. } = &request.settle[0].verdict else { panic!() };
    assert_eq!(result.as_deref(), Some(&b"null"[..]));
    let (plain, _) = parse_lease(&bytes("{\"queues\":[\"a\"]}"), &bounds()).unwrap();
    assert_eq!((plain.max, plain.wait_ms, plain.worker.as_str()), (1, 0, "anonymous"));
    assert!(parse_lease(&bytes("{\"max\":0}"), &bounds()).is_ok(), "it only settles");
}

#[test]
fn bad_lease_requests_are_told_which_field() {
    let cases = [
        ("{}", Code::FieldMissing, "queues"),
        ("{\"queues\":[\"a*b\"]}", Code::ValueRefused, "queues[0]"),
        ("{\"queues\":[\"a\",\"\"]}", Code::ValueRefused, "queues[1]"),
        ("{\"queues\":[\"a\",\"b\",\"c\",\"d\"]}", Code::ValueRefused, "queues"),
        ("{\"queues\":\"a\"}", Code::ValueRefused, "queues"),
        ("{\"queues\":[\"a\"],\"kinds\":[]}", Code::ValueRefused, "kinds"),
        ("{\"queues\":[\"a\"],\"kinds\":[\"\\n\"]}", Code::ValueRefused, "kinds[0]"),
        ("{\"queues\":[\"a\"],\"turn\":1}", Code::FieldMissing, "worker"),
        ("{\"queues\":[\"a\"],\"turn\":1,\"worker\":\"w\"}", Code::FieldMissing, "session"),
        ("{\"queues\":[\"a\"],\"seen\":1}", Code::ValueRefused, "seen"),
        ("{\"queues\":[\"a\"],\"max\":-1}", Code::ValueRefused, "max"),
        ("{\"queues\":[\"a\"],\"max\":10}", Code::ValueRefused, "max"),
        ("{\"queues\":[\"a\"],\"wait\":\"2m\"}", Code::ValueRefused, "wait"),
        ("{\"queues\":[\"a\"],\"lease\":\"1ms\"}", Code::ValueRefused, "lease"),
        ("{\"queues\":[\"a\"],\"worker\":\"\\n\"}", Code::ValueRefused, "worker"),
        ("{\"queues\":[\"a\"],\"wait\":20}", Code::ValueRefused, "wait"),
        ("{\"queues\":[\"a\"],\"timeout\":\"5s\"}", Code::FieldUnknown, "timeout"),
        ("{\"queues\":[\"a\"],\"settle\":{}}", Code::ValueRefused, "settle"),
    ];
    for (body, code, field) in cases {
        let refused = parse_lease(&bytes(body), &bounds()).unwrap_err();
        assert_eq!(told(&refused), (code, field.to_owned()), "{body}");
        let problem = refused.problem();
        assert!(problem.value.is_some() && problem.allowed.is_some(), "{body}");
        if field == "max" {
            assert_eq!(problem.allowed.as_deref(), Some("a whole number from 0 to 9"));
        }
    }
}

#[test]
fn settlements_are_read_and_checked() {
    let one = |verdict: &str, rest: &str| {
        let run = format!("\"id\":\"{UUID}\",\"token\":\"1.2\",\"verdict\":\"{verdict}\"{rest}");
        let read = parse_settle(&bytes(&format!("{{\"settle\":[{{{run}}}]}}")), &bounds())?;
        let fault = read.told.into_iter().find_map(|(_, fault)| fault);
        fault.map_or(Ok(read.sound), Err)
    };
    assert!(matches!(one("release", "").unwrap()[0].verdict, Verdict::Release));
    assert!(matches!(one("discard", "").unwrap()[0].verdict, Verdict::Discard { error: None }));
    let snoozed = one("snooze", ",\"delay\":\"5s\"").unwrap();
    assert!(matches!(snoozed[0].verdict, Verdict::Snooze { delay_ms: 5000 }));
    let interrupted = one("interrupt", ",\"delay\":\"5s\",\"reason\":\"deploy\"").unwrap();
    let Verdict::Interrupt { reason, delay_ms } = &interrupted[0].verdict else { panic!() };
    assert_eq!((reason.as_str(), *delay_ms), ("deploy", Some(5000)));
    let failed = one("fail", ",\"error\":{\"type\":\"E\",\"message\":\"m\"},\"retry_in\":\"1s\"");
    let Verdict::Fail { error, retry_in_ms } = &failed.unwrap()[0].verdict else { panic!() };
    assert_eq!((error.kind.as_str(), error.message.as_str(), *retry_in_ms), ("E", "m", Some(1000)));
    for (verdict, rest, field) in [
        ("ack", ",\"delay\":\"5s\"", "settle[0].delay"),
        ("snooze", ",\"delay\":\"5s\",\"reason\":\"r\"", "settle[0].reason"),
        ("fail", ",\"result\":1", "settle[0].result"),
        ("fail", ",\"enqueue\":[{\"kind\":\"k\"}]", "settle[0].enqueue"),
        ("release", ",\"error\":{}", "settle[0].error"),
        ("snooze", "", "settle[0].delay"),
        ("nack", "", "settle[0].verdict"),
        ("ack", ",\"location\":\"a b\"", "settle[0].location"),
        ("ack", ",\"enqueue\":[{\"kind\":\"k\"}]", "settle[0].enqueue[0].queue"),
    ] {
        let refused = one(verdict, rest).unwrap_err();
        assert_eq!(told(&refused).1, field, "{verdict}{rest}");
    }
    assert!(parse_settle(&bytes("{\"settle\":[]}"), &bounds()).unwrap().told.is_empty());
    assert!(parse_settle(&bytes("{}"), &bounds()).is_err());
}

#[test]
fn single_settlements_and_heartbeats_are_read() {
    let token = bytes("{\"token\":\"3.4\"}");
    assert!(parse_ack(ID, &token, &bounds()).is_ok());
    assert!(parse_fail(ID, &token, &bounds()).is_ok());
    assert!(parse_release(ID, &token).is_ok());
    assert!(parse_discard(ID, &token).is_ok());
    let interrupted = parse_interrupt(ID, &token, &bounds()).unwrap().verdict;
    assert!(
        matches!(interrupted, Verdict::Interrupt { reason, delay_ms: None } if reason == "interrupt")
    );
    assert!(parse_snooze(ID, &token, &bounds()).is_err(), "it needs a delay");
    let beat =
        bytes("{\"token\":\"3.4\",\"lease\":\"1m\",\"progress\":0.425,\"progress_text\":\"x\"}");
    let beat = parse_heartbeat(ID, &beat, &bounds()).unwrap();
    assert_eq!((beat.lease_ms, beat.progress), (Some(60_000), Some(4250)));
    for (progress, kept) in
        [("1.1", Some(10_000)), ("-0.1", Some(0)), ("1e400", Some(10_000)), ("\"half\"", None)]
    {
        let fields = format!("\"progress\":{progress},\"progress_text\":{progress}");
        let body = bytes(&format!("{{\"token\":\"3.4\",{fields}}}"));
        let beat = parse_heartbeat(ID, &body, &bounds()).unwrap();
        assert_eq!(beat.progress, kept, "{progress}: what only informs costs no run");
    }
    // What was said was heard, if not as it should be.
    for (fields, progress, text) in [
        ("\"progress\":\"half\"", None, Some("half")),
        ("\"progress\":[1]", None, Some("[1]")),
        ("\"progress\":NaN", None, Some("NaN")),
        ("\"progress\":\"half\",\"progress_text\":7", None, Some("7")),
        ("\"progress\":null,\"progress_text\":null", None, None),
        ("\"progress\":0.25,\"progress\":0.5", Some(5000), None),
        ("\"progress\":-Infinity,\"progress_text\":\"x\"", None, Some("x")),
    ] {
        let body = bytes(&format!("{{\"token\":\"3.4\",{fields}}}"));
        let beat = parse_heartbeat(ID, &body, &bounds()).unwrap();
        assert_eq!((beat.progress, beat.progress_text.as_deref()), (progress, text), "{fields}");
        let saved = parse_checkpoint(ID, &body, &bounds()).unwrap();
        assert_eq!((saved.progress, saved.progress_text.as_deref()), (progress, text), "{fields}");
    }
    let stale = bytes("{\"token\":\"banana\"}");
    assert_eq!(told(&parse_ack(ID, &stale, &bounds()).unwrap_err()).1, "token");
    assert_eq!(format!("{:?}", EndKind::Acked), "Acked");
}

#[test]
fn an_ack_brings_its_follow_ups() {
    let ack = |jobs: &str| {
        let body = bytes(&format!("{{\"token\":\"3.4\",\"enqueue\":[{jobs}]}}"));
        parse_ack(ID, &body, &bounds()).map(|settlement| settlement.verdict)
    };
    let verdict =
        ack("{\"queue\":\"a\",\"kind\":\"k\",\"args\":[1]},{\"queue\":\"b\",\"kind\":\"l\"}");
    let Ok(Verdict::Ack { follow_ups, .. }) = verdict else { panic!() };
    assert_eq!((follow_ups[0].queue.as_str(), &follow_ups[0].job.args[..]), ("a", &b"[1]"[..]));
    assert_eq!((follow_ups[1].queue.as_str(), follow_ups[1].job.kind.as_str()), ("b", "l"));
    let faults =
        ack("{\"queue\":\"a\",\"kind\":\"k\"},{\"kind\":\"k\"},{\"queue\":\"*\",\"kind\":\"k\"}");
    let faults = faults.unwrap_err().problem().faults;
    let named: Vec<_> = faults.iter().map(|it| (it.index, it.code.as_str())).collect();
    assert_eq!(named, [(1, "field_missing"), (2, "value_refused")]);
    let one = "{\"queue\":\"a\",\"kind\":\"k\"},";
    let four = one.repeat(4);
    assert_eq!(told(&ack(four.trim_end_matches(',')).unwrap_err()).1, "enqueue");
    assert_eq!(refused_job("\"queue\":\"a\""), (Code::ValueRefused, "queue".into()));
}

#[test]
fn checkpoints_are_read_and_checked() {
    let body = bytes(
        "{\"token\":\"3.4\",\"seq\":7,\"cursor\":{\"id\": 5},\"progress\":0.5,\"lease\":\"1m\",\
         \"counters\":{\"rows\":5,\"errors\":-1},\"skipped\":[{\"cursor\":4,\"error\":{\"type\":\"E\"}}]}",
    );
    let saved = parse_checkpoint(ID, &body, &bounds()).unwrap();
    assert_eq!((saved.cursor.as_deref(), saved.seq), (Some(&b"{\"id\": 5}"[..]), Some(7)));
    assert_eq!((saved.progress, saved.lease_ms), (Some(5000), Some(60_000)));
    assert_eq!(saved.counters, [("rows".to_owned(), 5), ("errors".to_owned(), -1)]);
    assert_eq!((&saved.skipped[0].0[..], saved.skipped[0].1.kind.as_str()), (&b"4"[..], "E"));
    let nothing = bytes("{\"token\":\"3.4\",\"cursor\":null,\"counters\":null}");
    let nothing = parse_checkpoint(ID, &nothing, &bounds()).unwrap();
    assert!(nothing.cursor.is_none() && nothing.counters.is_empty());
    for (fields, code, field) in [
        ("\"cursor\":\"0123456789012345678\"", Code::BodyTooLarge, "cursor"),
        ("\"cursor\":NaN", Code::BodyMalformed, "the body"),
        ("\"seq\":-1", Code::ValueRefused, "seq"),
        ("\"seq\":1,\"seq\":2", Code::FieldRepeated, "seq"),
    ] {
        let body = bytes(&format!("{{\"token\":\"3.4\",{fields}}}"));
        let refused = parse_checkpoint(ID, &body, &bounds()).unwrap_err();
        assert_eq!(told(&refused), (code, field.to_owned()), "{fields}");
    }
}

#[test]
fn odd_counters_and_skipped_items_cost_no_checkpoint() {
    let read = |fields: &str| {
        let body = bytes(&format!("{{\"token\":\"3.4\",\"cursor\":7,{fields}}}"));
        let saved = parse_checkpoint(ID, &body, &bounds()).unwrap();
        assert_eq!(saved.cursor.as_deref(), Some(&b"7"[..]), "{fields}");
        saved
    };
    for (counters, kept, dropped) in [
        ("{\"a\":1.5,\"b\":\"b\",\"c\":1e30,\"d\":null,\"e\":2.0}", &[("e", 2)][..], 4),
        ("{\"a\":1,\"a\":2}", &[("a", 1), ("a", 2)], 0),
        ("{\"a\":NaN,\"b\":1,\"c\":18446744073709551615}", &[("b", 1)], 2),
        ("{\"\\ud800\":1}", &[("\u{fffd}", 1)], 0),
        ("[1]", &[], 1),
        ("7", &[], 1),
        ("null", &[], 0),
    ] {
        let saved = read(&format!("\"counters\":{counters}"));
        let told: Vec<_> = saved.counters.iter().map(|(name, by)| (name.as_str(), *by)).collect();
        assert_eq!((&told[..], saved.counters_dropped), (kept, dropped), "{counters}");
    }
    for (skipped, kept, dropped) in [
        ("[{\"cursor\":1,\"why\":2},{}, 7]", &[("1", ""), ("{}", ""), ("7", "")][..], 0),
        ("[{\"cursor\":\"0123456789012345678\"},{\"cursor\":2}]", &[("2", "")], 1),
        ("[{\"cursor\":1,\"error\":\"boom\"}]", &[("1", "boom")], 0),
        ("[{\"cursor\":1,\"error\":{\"message\":[1]}}]", &[("1", "[1]")], 0),
        ("[1,2,3,4,5]", &[("1", ""), ("2", ""), ("3", "")], 2),
        ("\"7\"", &[], 1),
    ] {
        let saved = read(&format!("\"skipped\":{skipped}"));
        let told: Vec<_> = saved
            .skipped
            .iter()
            .map(|(cursor, error)| (std::str::from_utf8(cursor).unwrap(), error.message.as_str()))
            .collect();
        assert_eq!((&told[..], saved.skipped_dropped), (kept, dropped), "{skipped}");
    }
}

#[test]
fn whatever_a_worker_calls_its_failure_is_recorded() {
    let told = |error: &[u8]| {
        let body = [&b"{\"token\":\"3.4\",\"error\":"[..], error, b"}"].concat();
        let verdict = parse_fail(ID, &body.clone().into(), &bounds()).unwrap().verdict;
        let Verdict::Fail { error, .. } = verdict else { panic!() };
        let one = format!("{{\"id\":\"{UUID}\",\"verdict\":\"fail\",");
        let many = [&b"{\"settle\":["[..], one.as_bytes(), &body[1..], b"]}"].concat();
        let many = parse_settle(&many.into(), &bounds()).unwrap();
        let Verdict::Fail { error: again, .. } = &many.sound[0].verdict else { panic!() };
        assert_eq!(*again, error);
        [error.kind, error.message, error.backtrace]
    };
    for (error, expected) in [
        (&b"null"[..], ["", "", ""]),
        (b"\"text\"", ["", "text", ""]),
        (b"[1, 2]", ["", "[1, 2]", ""]),
        (b"{\"message\":null,\"type\":5,\"backtrace\":[\"a\"]}", ["5", "", "[\"a\"]"]),
        (b"{\"message\":\"m\",\"code\":7}", ["", "m", ""]),
        (b"{\"message\":\"r\xe9sum\xe9\"}", ["", "r\u{fffd}sum\u{fffd}", ""]),
        (b"{\"message\":NaN}", ["", "NaN", ""]),
    ] {
        assert_eq!(told(error), expected, "{}", String::from_utf8_lossy(error));
    }
    let interrupted = |reason: &str| {
        let body = bytes(&format!("{{\"token\":\"3.4\",\"reason\":{reason}}}"));
        match parse_interrupt(ID, &body, &bounds()).unwrap().verdict {
            Verdict::Interrupt { reason, .. } => reason,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((&*interrupted("5"), &*interrupted("null")), ("5", "interrupt"));
    assert_eq!(interrupted(&format!("\"{}\"", "x".repeat(300))).len(), 300, "the engine cuts");
}

#[test]
fn a_settlement_that_cannot_be_read_leaves_the_others_as_they_are() {
    let good = format!("{{\"id\":\"{UUID}\",\"token\":\"1.2\",\"verdict\":\"ack\"}}");
    let odd = good.replace(UUID, "bad");
    let other = format!("{{\"id\":\"{UUID}\",\"token\":\"1.2\",\"verdict\":\"ack\",\"result\":");
    for (bad, code, field) in [
        (odd.as_bytes(), Code::ValueRefused, "settle[0].id"),
        (b"{\"id\":5}", Code::ValueRefused, "settle[0].id"),
        (b"{\"id\":null}", Code::ValueRefused, "settle[0].id"),
        (b"{}", Code::FieldMissing, "settle[0].id"),
        (b"[]", Code::ValueRefused, "settle[0]"),
        (b"7", Code::ValueRefused, "settle[0]"),
        (b"null", Code::ValueRefused, "settle[0]"),
        (&[other.as_bytes(), b"NaN}"].concat(), Code::BodyMalformed, "settle[0]"),
        (&[other.as_bytes(), b"\"\xff\"}"].concat(), Code::BodyMalformed, "settle[0]"),
    ] {
        let list = [&b"["[..], bad, b",", good.as_bytes(), b"]"].concat();
        let settle = [&b"{\"settle\":"[..], &list[..], b"}"].concat();
        let settlements = parse_settle(&settle.into(), &bounds()).unwrap();
        let lease = [&b"{\"queues\":[\"a\"],\"settle\":"[..], &list[..], b",\"max\":2}"].concat();
        let (leased, told_of) = parse_lease(&lease.into(), &bounds()).unwrap();
        assert_eq!((leased.max, leased.settle.len(), settlements.sound.len()), (2, 1, 1));
        for faults in [told_of, settlements.told] {
            let shown = String::from_utf8_lossy(bad);
            assert_eq!(told(faults[0].1.as_ref().unwrap()), (code, field.to_owned()), "{shown}");
            assert_eq!(faults[0].0.is_some(), shown.contains(UUID), "{shown}");
            assert!(faults[1].0.is_some() && faults[1].1.is_none(), "{shown}");
        }
    }
    let worker = b"{\"queues\":[\"a\"],\"worker\":\"\xff\",\"settle\":[]}";
    let refused = parse_lease(&Bytes::from_static(worker), &bounds()).unwrap_err();
    assert_eq!(refused.code(), Code::BodyNotUtf8);
    let twice = format!("{{\"queues\":[\"a\"],\"settle\":[],\"settle\":[{good}]}}");
    let refused = parse_lease(&bytes(&twice), &bounds()).unwrap_err();
    assert_eq!(refused.code(), Code::FieldRepeated);
}

#[test]
fn a_retry_says_where_it_begins() {
    let read = |body: &str| parse_retry(&bytes(body), &bounds()).unwrap();
    assert_eq!((read(""), read("{}")), (RetryFrom::Kept, RetryFrom::Kept));
    assert_eq!(read("{\"cursor\": null}"), RetryFrom::Beginning);
    assert_eq!(read("{\"cursor\": [7]}"), RetryFrom::Cursor(bytes("[7]")));
    let long = bytes("{\"cursor\":\"0123456789012345678\"}");
    let refused = parse_retry(&long, &bounds()).unwrap_err();
    assert_eq!(told(&refused), (Code::BodyTooLarge, "cursor".into()));
}

#[test]
fn settings_and_filters_are_read() {
    let body = "{\"paused\":true,\"max_length\":10,\"defaults\":{\"priority\":3,\"ttl\":\"1h\",\
                \"retry\":{\"policy\":\"constant\",\"delay\":\"1s\"}}}";
    let settings = parse_settings(&bytes(body), &bounds()).unwrap();
    assert!(settings.paused);
    assert_eq!((settings.max_length, settings.defaults.priority), (Some(10), Some(3)));
    assert_eq!(settings.defaults.retry, Some(RetryPolicy::Constant { delay_ms: 1000 }));
    assert!(parse_settings(&bytes("{\"defaults\":{\"priority\":10}}"), &bounds()).is_err());
    assert!(parse_settings(&bytes("{\"defaults\":[]}"), &bounds()).is_err());
    assert!(parse_settings(&Bytes::new(), &bounds()).is_err());
    let refused = |defaults: &str| {
        let body = bytes(&format!("{{\"defaults\":{defaults}}}"));
        told(&parse_settings(&body, &bounds()).unwrap_err()).1
    };
    assert_eq!(refused("{\"max_age\":\"0s\"}"), "defaults.max_age");
    assert_eq!(refused("{\"ttl\":\"0s\"}"), "defaults.ttl");
    let retry = "{\"retry\":{\"policy\":\"exponential\",\"base\":\"1s\",\"factor\":0}}";
    assert_eq!(refused(retry), "defaults.retry.factor");
    let now = TimeMs(100_000);
    assert_eq!(parse_purge(&Bytes::new(), now).unwrap(), admin::Filter::default());
    let filter = parse_purge(&bytes("{\"dead\":true,\"older_than\":\"30s\"}"), now).unwrap();
    assert_eq!((filter.dead, filter.before), (true, Some(TimeMs(70_000))));
    let both = "{\"older_than\":\"30s\",\"before\":\"2030-01-01T00:00:00Z\"}";
    assert!(parse_retry_dead(&bytes(both), now).is_err());
}

proptest! {
    #[test]
    fn no_body_is_too_strange(body in prop::collection::vec(any::<u8>(), 0..200)) {
        crate::http::fuzz::bodies(&body);
    }

    #[test]
    fn no_json_is_too_strange(
        parts in prop::collection::vec(
            prop::sample::select(vec![
                "{", "}", "[", "]", ",", ":", "\"jobs\"", "\"kind\"", "\"k\"", "\"args\"", "null",
                "\"delay\"", "\"5s\"", "1e999", "\"settle\"", "\"queues\"", "\"token\"", "\"1.1\"",
                "\"id\"", "\"retry\"", "\"policy\"", "-0", "\"\\u0000\"", " ", "\"*\"",
            ]),
            0..30,
        ),
    ) {
        crate::http::fuzz::bodies(parts.concat().as_bytes());
    }

    #[test]
    fn no_path_is_too_strange(path in "(/|v1|queues|jobs|%|%2|%ff|%41|[a-z]|\\*|\\.){0,12}") {
        crate::http::fuzz::path(&path);
    }
}
