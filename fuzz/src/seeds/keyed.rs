//! Records of answers that are kept for keys, with all fields filled.

use bytes::Bytes;
use longshore_engine::{CommandKey, KeptAnswer, Record, TimeMs};

/// One of each.
pub(super) fn records(at: TimeMs) -> Vec<(&'static str, Record)> {
    let key = CommandKey { owner: [1; 16], key: [2; 32], content: [3; 16] };
    let kept = KeptAnswer { number: 7, at, key, answer: Bytes::from_static(b"202\n\n{}") };
    vec![
        ("answer-kept", Record::AnswerKept { kept: Box::new(kept) }),
        ("answers-forgotten", Record::AnswersForgotten { through: 7 }),
    ]
}
