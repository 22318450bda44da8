//! What a job's producer asked for, in 16 bytes: a repeated request has the same, any other has
//! another. Part of the format: it is stored beside the ids that clients chose.

use sha2::{Digest, Sha256};

use crate::api::{NewJob, RetryText};

/// SHA-256, cut to 16 bytes, over each field as tag, length and bytes. Delays count as they were
/// given, not as the instant that they lead to; JSON counts without white space between tokens.
pub(super) fn fingerprint(queue: &str, job: &NewJob<'_>) -> [u8; 16] {
    // Every field is named: one that is added has to be written below, under the next free tag
    // (32), or a repeated id with another value of it would count as the same request.
    let NewJob {
        id: _,
        queue: _,
        kind,
        args,
        priority,
        run_at,
        delay,
        ordering_key,
        at_most_once,
        ttl,
        expires_at,
        timeout,
        lease,
        max_attempts,
        max_age,
        retain,
        tags,
        metadata,
        traceparent,
        retry,
        cursor,
        unique,
        limit,
        limits,
        gates,
        tenant,
        version,
    } = job;
    let mut form = Form(Sha256::new());
    form.text(1, Some(queue));
    form.text(2, Some(kind));
    form.json(3, args.as_ref().map_or("{}", |args| args.get()));
    form.number(4, priority.map(u64::from));
    form.number(5, run_at.map(|at| at.0));
    form.number(6, delay.map(|delay| delay.0));
    form.text(7, ordering_key.as_deref());
    form.number(8, at_most_once.map(u64::from));
    form.number(9, ttl.map(|ttl| ttl.0));
    form.number(10, expires_at.map(|at| at.0));
    form.number(11, timeout.map(|timeout| timeout.0));
    form.number(12, lease.map(|lease| lease.0));
    form.number(13, max_attempts.map(u64::from));
    form.number(14, max_age.map(|age| age.0));
    form.number(15, retain.map(|retain| retain.0));
    for tag in tags.iter().flatten() {
        form.text(16, Some(tag));
    }
    if let Some(metadata) = metadata {
        form.json(17, metadata.get());
    }
    form.text(18, traceparent.as_deref());
    form.retry(retry.as_ref());
    if let Some(cursor) = cursor {
        form.json(25, cursor.get());
    }
    if let Some(unique) = unique {
        form.field(26, &serde_json::to_vec(unique).unwrap_or_default());
    }
    let further = limits.iter().flatten().map(|limit| (31, limit));
    for (tag, limit) in limit.iter().map(|limit| (27, limit)).chain(further) {
        form.field(tag, &serde_json::to_vec(limit).unwrap_or_default());
    }
    for gate in gates.iter().flatten() {
        form.text(28, Some(gate));
    }
    form.text(29, tenant.as_deref());
    form.number(30, version.map(u64::from));
    form.finish()
}

struct Form(Sha256);

impl Form {
    fn field(&mut self, tag: u8, bytes: &[u8]) {
        self.0.update([tag]);
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    fn text(&mut self, tag: u8, text: Option<&str>) {
        if let Some(text) = text {
            self.field(tag, text.as_bytes());
        }
    }

    fn number(&mut self, tag: u8, number: Option<u64>) {
        if let Some(number) = number {
            self.field(tag, &number.to_le_bytes());
        }
    }

    fn json(&mut self, tag: u8, json: &str) {
        let (mut quoted, mut escaped) = (false, false);
        let mut tokens = Vec::with_capacity(json.len());
        for byte in json.bytes() {
            if escaped {
                escaped = false;
            } else if quoted && byte == b'\\' {
                escaped = true;
            } else if byte == b'"' {
                quoted = !quoted;
            }
            if quoted || !byte.is_ascii_whitespace() {
                tokens.push(byte);
            }
        }
        self.field(tag, &tokens);
    }

    fn retry(&mut self, retry: Option<&RetryText>) {
        match retry {
            None => {}
            Some(RetryText::Sidekiq) => self.number(19, Some(0)),
            Some(RetryText::Constant { delay }) => self.number(20, Some(delay.0)),
            Some(RetryText::Exponential { base, factor, cap, jitter }) => {
                self.number(21, Some(base.0));
                self.number(22, factor.map(f64::to_bits));
                self.number(23, cap.map(|cap| cap.0));
                self.number(24, jitter.map(f64::to_bits));
            }
        }
    }

    fn finish(self) -> [u8; 16] {
        let digest: [u8; 32] = self.0.finalize().into();
        std::array::from_fn(|index| digest[index])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(queue: &str, body: &str) -> [u8; 16] {
        fingerprint(queue, &serde_json::from_str(body).unwrap())
    }

    #[test]
    fn the_same_request_has_the_same_fingerprint() {
        let plain = of("q", "{\"kind\":\"k\",\"args\":{\"a\": [1, 2]},\"delay\":\"60s\"}");
        assert_eq!(plain, of("q", "{\"delay\":\"1m\",\"args\":{\"a\":[1,2]},\"kind\":\"k\"}"));
        assert_eq!(of("q", "{\"kind\":\"k\"}"), of("q", "{\"kind\":\"k\",\"args\":{ }}"));
    }

    #[test]
    fn any_other_request_has_another() {
        let bodies = [
            "{\"kind\":\"k\"}",
            "{\"kind\":\"l\"}",
            "{\"kind\":\"k\",\"args\":null}",
            "{\"kind\":\"k\",\"args\":\"a b\"}",
            "{\"kind\":\"k\",\"args\":\"ab\"}",
            "{\"kind\":\"k\",\"args\":\"\\\" \"}",
            "{\"kind\":\"k\",\"delay\":\"1s\"}",
            "{\"kind\":\"k\",\"ttl\":\"1s\"}",
            "{\"kind\":\"k\",\"cursor\":1}",
            "{\"kind\":\"k\",\"unique\":{}}",
            "{\"kind\":\"k\",\"limit\":{\"name\":\"a\",\"key\":\"b\"}}",
            "{\"kind\":\"k\",\"unique\":{\"on_conflict\":\"existing\"}}",
            "{\"kind\":\"k\",\"tags\":[\"a\",\"b\"]}",
            "{\"kind\":\"k\",\"tags\":[\"ab\"]}",
            "{\"kind\":\"k\",\"retry\":{\"policy\":\"sidekiq\"}}",
            "{\"kind\":\"k\",\"retry\":{\"policy\":\"constant\",\"delay\":\"1s\"}}",
            "{\"kind\":\"k\",\"retry\":{\"policy\":\"exponential\",\"base\":\"1s\"}}",
        ];
        let mut all: Vec<_> = bodies.iter().map(|body| of("q", body)).collect();
        all.push(of("p", bodies[0]));
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn the_fingerprint_is_part_of_the_format() {
        let stored = of("q", "{\"kind\":\"k\",\"priority\":3}");
        assert_eq!(stored, GOLDEN);
    }

    const GOLDEN: [u8; 16] =
        [61, 163, 160, 215, 81, 158, 200, 64, 147, 79, 0, 116, 137, 102, 87, 133];
}
