//! The parameters that say which jobs or messages are meant.

use super::made::parameter;
use super::{CURSOR, LIMIT};
use crate::http::route::{Parameter, ParameterKind};

/// Which jobs are listed: the words of the filter of an operation, and the page.
pub(super) const LISTED_JOBS: &[Parameter] = &[
    parameter("queue", ParameterKind::Text, "Only of this queue."),
    parameter("state", ParameterKind::State, "Only in this state."),
    parameter("kind", ParameterKind::Text, "Only of this kind."),
    parameter("tag", ParameterKind::Text, "Only with this tag."),
    parameter("ordering_key", ParameterKind::Text, "Only of this ordering key."),
    parameter("tenant", ParameterKind::Text, "Only of this tenant."),
    parameter("error", ParameterKind::Text, "Only those whose last error is of this type."),
    parameter("text", ParameterKind::Text, "Only those whose args contain this text."),
    parameter(
        "older_than",
        ParameterKind::Duration,
        "Only what was enqueued (what has ended: ended) longer ago than this.",
    ),
    parameter(
        "newer_than",
        ParameterKind::Duration,
        "Only what was enqueued (what has ended: ended) no longer ago than this.",
    ),
    parameter(
        "before",
        ParameterKind::Text,
        "Only what was enqueued (what has ended: ended) before this instant.",
    ),
    parameter(
        "since",
        ParameterKind::Text,
        "Only what was enqueued (what has ended: ended) at this instant or later.",
    ),
    parameter(
        "held",
        ParameterKind::Flag,
        "True: only jobs that a worker with a stream has and has not started, as far as is known. \
         False: only others.",
    ),
    CURSOR,
    LIMIT,
];

/// Which messages of a queue are meant.
pub(super) const MEANT_MESSAGES: &[Parameter] = &[
    CURSOR,
    LIMIT,
    parameter(
        "routing_key",
        ParameterKind::Text,
        "Only those with this key; `*` is one word, `#` any number.",
    ),
    parameter("header", ParameterKind::Text, "Only those with this header: `NAME=VALUE`."),
    parameter("text", ParameterKind::Text, "Only those whose body contains this."),
    parameter("since", ParameterKind::Text, "Only those published at this instant or later."),
    parameter("until", ParameterKind::Text, "Only those published before this instant."),
    parameter("reason", ParameterKind::Text, "Only dead letters that ended last for this."),
    parameter("died_in", ParameterKind::Text, "Only dead letters that ended last in this queue."),
];
