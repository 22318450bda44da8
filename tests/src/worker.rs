//! A worker: leases and settles, one request per turn of its loop, repeats a turn that got no
//! answer, sometimes settles late or twice, and writes down what it sees.

use std::collections::VecDeque;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::history::{Event, Leased, Recorder, now_us};
use crate::http::{Answer, Client};
use crate::producer::{QUEUES, address_in, base};
use crate::random::Random;

/// How long to wait where nobody is there.
const PAUSE: Duration = Duration::from_millis(10);

/// How long a lease holds: short, so that what is lost comes back soon.
const LEASE_US: u64 = 2_000_000;

/// What a worker is told to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Order {
    /// Go on.
    Work,
    /// Settle what is left and end.
    Finish,
    /// End at once: there is no server any more.
    Abandon,
}

/// A settlement to be sent.
#[derive(Clone, Debug)]
struct Settlement {
    id: String,
    token: (u64, u64),
    verdict: &'static str,
    /// The turn that it waits for.
    turn: u64,
}

impl Settlement {
    fn body(&self) -> Value {
        let mut body = json!({
            "id": self.id,
            "token": format!("{}.{}", self.token.0, self.token.1),
            "verdict": self.verdict,
        });
        match self.verdict {
            "fail" => {
                body["error"] = json!({ "type": "Oops", "message": "told to fail" });
                body["retry_in"] = json!("0s");
            }
            "snooze" => body["delay"] = json!("20ms"),
            _ => {}
        }
        body
    }
}

/// A worker and what it counts on.
#[derive(Debug)]
pub struct Worker<'w> {
    /// Its name.
    pub name: String,
    /// A word for this life of it.
    pub session: String,
    /// The namespace that it works for.
    pub namespace: &'w str,
    /// The file with the server's present address.
    pub address: &'w Path,
    /// Where it decides what to do.
    pub random: Random,
    /// Where it writes what it sees.
    pub recorder: Recorder,
}

impl Worker<'_> {
    /// Works until told otherwise.
    pub fn run(mut self, order: impl Fn() -> Order) -> Result<()> {
        let mut client = Client::new("");
        let mut due: VecDeque<Settlement> = VecDeque::new();
        for turn in 1.. {
            let stopping = order() != Order::Work;
            if stopping && due.is_empty() {
                return Ok(());
            }
            let ready = |one: &Settlement| stopping || one.turn <= turn;
            let (now, later): (Vec<_>, Vec<_>) = due.into_iter().partition(ready);
            due = later.into();
            match self.turn(&mut client, turn, &now, &order)? {
                Some(more) => due.extend(more),
                None => return Ok(()),
            }
        }
        Ok(())
    }

    /// One turn: settles `now` and leases, unless it is the last one. `None` where it was told to
    /// give up.
    fn turn(
        &mut self,
        client: &mut Client,
        turn: u64,
        now: &[Settlement],
        order: &impl Fn() -> Order,
    ) -> Result<Option<Vec<Settlement>>> {
        for one in now {
            self.recorder.write(&Event::SettleSent {
                at_us: now_us(),
                id: one.id.clone(),
                token: one.token,
                verdict: one.verdict.to_owned(),
            })?;
        }
        let settle: Vec<Value> = now.iter().map(Settlement::body).collect();
        let max = if order() == Order::Work { 1 + self.random.below(40) } else { 0 };
        let body = json!({
            "queues": if self.random.once_in(3) { vec!["*"] } else { QUEUES.to_vec() },
            "max": max,
            "wait": "200ms",
            "lease": format!("{}ms", LEASE_US / 1000),
            "worker": self.name,
            "session": self.session,
            "turn": turn,
            "seen": turn - 1,
            "settle": settle,
        });
        let path = format!("{}/lease", base(self.namespace));
        let sent_us = now_us();
        while order() != Order::Abandon {
            client.turn_to(&address_in(self.address));
            match client.post(&path, &body) {
                Ok(answer) if answer.is_success() => {
                    self.settled(now, &answer)?;
                    return self.leased(turn, sent_us, &answer).map(Some);
                }
                Ok(answer) if answer.status < 500 => {
                    let what = format!("a lease was refused: {}", answer.body);
                    self.recorder.write(&Event::Wrong { what })?;
                    return Ok(Some(Vec::new()));
                }
                // The same turn again has the same effect and the same answer.
                Ok(_) | Err(_) => thread::sleep(PAUSE),
            }
        }
        Ok(None)
    }

    fn settled(&mut self, now: &[Settlement], answer: &Answer) -> Result<()> {
        let settled = answer.body.get("settled").and_then(Value::as_array);
        for (one, told) in now.iter().zip(settled.into_iter().flatten()) {
            let (id, token) = (one.id.clone(), one.token);
            let word = |value: &Value| value.as_str().map(str::to_owned);
            let event = match (word(&told["settled"]), word(&told["error"]["code"])) {
                (Some(verdict), _) => Event::Settled { id, token, verdict },
                (None, Some(code)) => Event::SettleRefused { id, token, code },
                (None, None) => Event::Wrong { what: format!("settled: {told}") },
            };
            self.recorder.write(&event)?;
        }
        let count = settled.map_or(0, Vec::len);
        if count != now.len() {
            let what = format!("{} settlements got {count} answers", now.len());
            self.recorder.write(&Event::Wrong { what })?;
        }
        Ok(())
    }

    fn leased(&mut self, turn: u64, sent_us: u64, answer: &Answer) -> Result<Vec<Settlement>> {
        let at_us = now_us();
        let mut due = Vec::new();
        let jobs = answer.body.get("jobs").and_then(Value::as_array);
        for job in jobs.into_iter().flatten() {
            let leased = read_job(job, self.namespace, sent_us, at_us)
                .with_context(|| format!("a leased job is {job}"))?;
            due.extend(self.plan(&leased, turn));
            self.recorder.write(&Event::Leased(leased))?;
        }
        Ok(due)
    }

    /// What becomes of a job: mostly an ack at the next turn.
    fn plan(&mut self, leased: &Leased, turn: u64) -> Vec<Settlement> {
        let mut next = Settlement {
            id: leased.id.clone(),
            token: leased.token,
            verdict: "ack",
            turn: turn + 1,
        };
        next.verdict = match self.random.below(40) {
            0 | 1 => "fail",
            2 => "release",
            3 => "snooze",
            4 => "discard",
            _ => "ack",
        };
        match self.random.below(40) {
            // Too late for most leases, or just in time.
            0 => next.turn += 30,
            // Never.
            1 => return Vec::new(),
            // Twice, and the second time something else.
            2 | 3 => {
                let second = Settlement { verdict: "release", turn: next.turn + 1, ..next.clone() };
                return vec![next, second];
            }
            _ => {}
        }
        vec![next]
    }
}

fn read_job(job: &Value, namespace: &str, sent_us: u64, at_us: u64) -> Option<Leased> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let (epoch, counter) = job["token"].as_str()?.split_once('.')?;
    Some(Leased {
        sent_us,
        at_us,
        namespace: namespace.to_owned(),
        id: text(&job["id"])?,
        label: text(&job["args"]["label"])?,
        key: text(&job["ordering_key"]),
        token: (epoch.parse().ok()?, counter.parse().ok()?),
        lease_us: LEASE_US,
    })
}
