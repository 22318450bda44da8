//! What is said of a body that is no JSON, and of one that lacks a field, in the words of this API.

use super::text::shorten;

/// What the parser says of text that is no JSON.
pub(super) fn syntax(message: &str) -> String {
    let plain = match message {
        "EOF while parsing a list" => "the body ends within an array",
        "EOF while parsing an object" => "the body ends within an object",
        "EOF while parsing a string" => "the body ends within a string",
        "EOF while parsing a value" => "the body ends where a value is expected",
        "expected ident" => "expected true, false or null",
        "invalid unicode code point" => "a \\u escape stands for no character",
        "lone leading surrogate in hex escape" | "unexpected end of hex escape" => {
            "a \\u escape is half of a surrogate pair"
        }
        "trailing characters" => "something follows the end of the value",
        other => other,
    };
    shorten(plain)
}

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
