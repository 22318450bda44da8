//! Which messages are meant where somebody looks for some of a queue, or moves them.

use memchr::memmem;

use super::properties::{headers_of, text_of};
use super::shelf::Stored;
use super::{Message, MessageEnd};
use crate::bounds::check_size;
use crate::ids::TimeMs;
use crate::map::Reader;
use crate::rejection::Rejection;
use crate::wire::wire_struct;

/// Headers that a filter compares, and bytes of each of its texts, at most.
const HEADERS_MAX: usize = 16;
const TEXT_BYTES_MAX: u64 = 1024;

wire_struct! {
    /// Messages that are as each of its parts says; one without parts means all.
    #[derive(Default)]
    pub struct MessageFilter {
        /// One of the routing keys, as a pattern of a topic exchange.
        pub routing_key: Option<String> = 1,
        /// Headers, with their values as texts.
        pub headers: Vec<(String, String)> = 2,
        /// What the body contains.
        pub text: Option<String> = 3,
        /// Published at this instant or later.
        pub since: Option<TimeMs> = 4,
        /// Published before this instant.
        pub until: Option<TimeMs> = 5,
        /// Why it ended the last time.
        pub reason: Option<MessageEnd> = 6,
        /// The queue in which it ended the last time.
        pub died_in: Option<String> = 7,
    }
}

impl MessageFilter {
    /// Whether every message is meant.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Refuses one that is longer than it may be.
    pub(crate) fn check(&self) -> Result<(), Rejection> {
        if self.headers.len() > HEADERS_MAX {
            let (value, allowed) =
                (self.headers.len().to_string(), format!("at most {HEADERS_MAX}"));
            return Err(Rejection::ValueRefused { field: "headers", value, allowed });
        }
        let of_headers = self.headers.iter().flat_map(|(name, value)| [name, value]);
        let all = [
            ("routing_key", self.routing_key.as_ref()),
            ("text", self.text.as_ref()),
            ("died_in", self.died_in.as_ref()),
        ];
        let all = all.into_iter().chain(of_headers.map(|text| ("headers", Some(text))));
        for (field, text) in all {
            check_size(field, text.map_or(0, String::len), TEXT_BYTES_MAX)?;
        }
        Ok(())
    }

    /// Whether the message is meant.
    pub(crate) fn takes(&self, stored: &Stored, reader: &dyn Reader) -> bool {
        let message = &*stored.message;
        let last = message.deaths.first();
        let is_of_key =
            |pattern: &String| message.keys().into_iter().any(|key| is_of_pattern(pattern, key));
        self.routing_key.as_ref().is_none_or(is_of_key)
            && self.since.is_none_or(|since| message.published_at >= since)
            && self.until.is_none_or(|until| message.published_at < until)
            && self.reason.is_none_or(|reason| last.is_some_and(|it| it.reason == reason))
            && self.died_in.as_ref().is_none_or(|queue| last.is_some_and(|it| it.queue == *queue))
            && self.takes_headers(message)
            && self.takes_body(stored, reader)
    }

    fn takes_headers(&self, message: &Message) -> bool {
        if self.headers.is_empty() {
            return true;
        }
        let found = headers_of(&message.properties);
        let has = |(name, wanted): &(String, String)| {
            let mut of_name = found.iter().filter(|(known, _)| known == name);
            of_name.any(|(_, value)| text_of(value).as_ref() == Some(wanted))
        };
        self.headers.iter().all(has)
    }

    fn takes_body(&self, stored: &Stored, reader: &dyn Reader) -> bool {
        let Some(text) = &self.text else { return true };
        if stored.apart.is_none() {
            return memmem::find(&stored.message.body, text.as_bytes()).is_some();
        }
        let whole = stored.clone().with_body(reader);
        memmem::find(&whole.message.body, text.as_bytes()).is_some()
    }
}

/// Whether a routing key is of a pattern of words between dots, where `*` is one word and `#` any
/// number.
fn is_of_pattern(pattern: &str, key: &str) -> bool {
    // A text without bytes has no words.
    let words = |text| str::split(text, '.').filter(|_| !text.is_empty()).collect::<Vec<_>>();
    let (pattern, key) = (words(pattern), words(key));
    let (mut at, mut word) = (0, 0);
    // Where the last `#` stands, and up to which word it goes. Where the rest does not match, it
    // takes one word more.
    let mut any: Option<(usize, usize)> = None;
    while let Some(next) = key.get(word) {
        match pattern.get(at) {
            Some(&"#") => {
                any = Some((at, word));
                at += 1;
            }
            Some(wanted) if *wanted == "*" || wanted == next => (at, word) = (at + 1, word + 1),
            _ => {
                let Some((back, upto)) = any else { return false };
                any = Some((back, upto + 1));
                (at, word) = (back + 1, upto + 1);
            }
        }
    }
    pattern.iter().skip(at).all(|rest| *rest == "#")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_topic_exchanges() {
        let cases = [
            ("a.b", "a.b", true),
            ("a.b", "a.c", false),
            ("a.*", "a.b", true),
            ("a.*", "a", false),
            ("a.*", "a.b.c", false),
            ("#", "", true),
            ("#", "a.b.c", true),
            ("a.#", "a", true),
            ("a.#.z", "a.z", true),
            ("a.#.z", "a.b.z.c.z", true),
            ("a.#.z", "a.b.z.c", false),
            ("#.b.#.c", "a.b.b.c", true),
            ("#.#", "a", true),
            ("", "", true),
            ("", "a", false),
            ("*", "", false),
        ];
        for (pattern, key, wanted) in cases {
            assert_eq!(is_of_pattern(pattern, key), wanted, "{pattern} of {key}");
        }
    }
}
