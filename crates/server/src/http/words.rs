//! What is said of a body that lacks a field, in the words of this API.

/// What a field has to hold, for the refusal of a body that lacks it.
pub(super) fn needed(field: &str) -> &'static str {
    match field {
        "kind" => "the name of the job's type, a string",
        "token" => crate::api::TokenText::EXPECTED,
        "id" => crate::api::JobIdText::EXPECTED,
        "verdict" => "\"ack\", \"fail\", \"snooze\", \"release\", \"discard\" or \"interrupt\"",
        "delay" | "base" => crate::api::DURATION_EXPECTED,
        "policy" => "\"sidekiq\", \"constant\" or \"exponential\"",
        "cursor" => "any JSON value",
        "jobs" => "an array of jobs",
        "settle" => "an array of runs, each with id, token and verdict",
        "queue" => "the name of a queue, a string",
        "queues" => "an array of names of queues; \"*\" means all",
        "worker" | "session" => "a name, a string",
        _ => "a value",
    }
}
