//! Whether a message fits the server that it enters, and with which properties it does. It knows
//! nothing of connections.

use bytes::Bytes;
use longshore_amqp::codec::methods::BasicDeliver;
use longshore_amqp::codec::{EMPTY_FRAME_BYTES, Properties, Short, Table, Value};

/// Headers by which a message would be routed once more.
const ROUTING_HEADERS: [&str; 3] = ["CC", "BCC", "x-delay"];

/// Where a message came from, since it enters here by the name of its queue.
const EXCHANGE_HEADER: &str = "x-shovel-exchange";
const KEY_HEADER: &str = "x-shovel-routing-key";

/// Which run has moved a message last.
const RUN_HEADER: &str = "x-shovel-run";

/// Bytes of a content header before its properties: class, weight and the size of the body.
const HEADER_HEAD_BYTES: usize = 12;

/// What fits there.
#[derive(Clone, Debug)]
pub(super) struct Fit {
    /// Bytes of a frame.
    pub(super) frame_max: usize,
    /// Bytes of a body.
    pub(super) body_bytes_max: u64,
    /// As whom messages are published.
    pub(super) user: String,
    /// A text that no other run has.
    pub(super) run: String,
}

impl Fit {
    /// Why a body of that size does not fit.
    pub(super) fn refuses_body(&self, bytes: u64) -> Option<String> {
        let max = self.body_bytes_max;
        (bytes > max).then(|| format!("a body may have {max} bytes there"))
    }

    /// Whether this run has moved the message already: both ends are one server.
    pub(super) fn is_back(&self, given: &Properties) -> bool {
        let run = given.headers.as_ref().and_then(|headers| headers.get(RUN_HEADER));
        run.is_some_and(|run| run.as_text() == Some(&*self.run))
    }

    /// The properties with which a message enters: its own, without what would route it once more
    /// or is refused of another user, and with where it came from, where that fits. Otherwise why
    /// its own do not fit.
    pub(super) fn properties(
        &self,
        mut given: Properties,
        deliver: &BasicDeliver,
    ) -> Result<Bytes, String> {
        let mut headers = given.headers.take().unwrap_or_default();
        for name in ROUTING_HEADERS.into_iter().chain([RUN_HEADER]) {
            if headers.get(name).is_some() {
                headers = headers.without(name);
            }
        }
        given.user_id = given.user_id.filter(|user| user.as_text() == Some(&*self.user));
        given.headers = Some(self.told(&headers, deliver));
        let whole = given.to_bytes();
        if self.takes_header(&whole) {
            return Ok(whole);
        }
        given.headers = Some(headers).filter(|headers| !headers.is_empty());
        let own = given.to_bytes();
        if self.takes_header(&own) {
            return Ok(own);
        }
        let (bytes, max) = (own.len(), self.frame_max);
        Err(format!("its properties have {bytes} bytes, and a frame may have {max} there"))
    }

    fn takes_header(&self, properties: &Bytes) -> bool {
        EMPTY_FRAME_BYTES + HEADER_HEAD_BYTES + properties.len() <= self.frame_max
    }

    /// Headers with where the message came from, and which run moves it.
    fn told(&self, headers: &Table, deliver: &BasicDeliver) -> Table {
        let texts = [(EXCHANGE_HEADER, &deliver.exchange), (KEY_HEADER, &deliver.routing_key)];
        // Of a message that was moved before, the first place counts.
        let new = texts.into_iter().filter(|(name, _)| headers.get(name).is_none());
        let new = new.map(|(name, text)| (Short::cut(name), Value::Text(text.as_bytes().clone())));
        let run = (Short::cut(RUN_HEADER), Value::text(&self.run));
        Table::of_fields(headers.fields().chain(new).chain([run]))
    }
}

#[cfg(test)]
mod tests {
    use longshore_amqp::codec::{ContentHeader, write_header};

    use super::*;

    fn fit(frame_max: usize) -> Fit {
        let (user, run) = ("app".to_owned(), "a run".to_owned());
        Fit { frame_max, body_bytes_max: 1000, user, run }
    }

    fn with(bytes: usize) -> Properties {
        let headers = Table::of([("own", Value::text(&"x".repeat(bytes)))]);
        Properties { headers: Some(headers), ..Properties::default() }
    }

    fn headers_of(bytes: Bytes) -> Table {
        Properties::from_bytes(bytes).unwrap().headers.unwrap_or_default()
    }

    #[test]
    fn the_headers_that_are_added_give_way_and_the_others_do_not() {
        let (fit, deliver) = (fit(4096), BasicDeliver::default());
        let mut seen = [0; 3];
        for bytes in 3900..4200 {
            match fit.properties(with(bytes), &deliver) {
                Ok(properties) => {
                    let mut frame = Vec::new();
                    write_header(&mut frame, 1, 0, &properties);
                    assert!(frame.len() <= 4096, "{bytes}");
                    let headers = headers_of(properties);
                    assert!(headers.get("own").is_some(), "{bytes}");
                    seen[usize::from(headers.get(RUN_HEADER).is_none())] += 1;
                }
                Err(_) => seen[2] += 1,
            }
        }
        assert!(seen.iter().all(|it| *it > 10), "{seen:?}");
    }

    #[test]
    fn a_message_of_the_same_run_is_known() {
        let (fit, deliver) = (fit(4096), BasicDeliver::default());
        let properties = fit.properties(with(1), &deliver).unwrap();
        let moved = Properties::from_bytes(properties).unwrap();
        assert!(fit.is_back(&moved) && !fit.is_back(&with(1)));
        let another = Fit { run: "another run".to_owned(), ..fit };
        assert!(!another.is_back(&moved));
        let again = Properties::from_bytes(another.properties(moved, &deliver).unwrap()).unwrap();
        assert!(another.is_back(&again), "the last run counts");
    }

    #[test]
    fn bodies_and_headers_are_measured() {
        assert!(fit(4096).refuses_body(1000).is_none());
        assert!(fit(4096).refuses_body(1001).is_some());
        let header = ContentHeader::default();
        let mut out = Vec::new();
        header.write(&mut out);
        assert_eq!(out.len(), HEADER_HEAD_BYTES + header.properties.to_bytes().len());
    }
}
