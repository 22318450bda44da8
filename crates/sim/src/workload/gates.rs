//! Gates: one of which somebody was told that it is closed stays so until somebody tries to change
//! that or its time is over, and each job stands in the part of its lane that its gates make.

use std::collections::{BTreeMap, BTreeSet};

use longshore_engine::wire::Wire;
use longshore_engine::{Answer, Command, GateAnswer, GateChange, GateClosed, GateCommand, Start};
use longshore_engine::{Delivery, Gate, JobId, JobState, JobView, TimeMs};

use super::{Check, KINDS, QUEUES};
use crate::map::SimTree;
use crate::random::Random;

/// The first bytes of keys, as the engine's catalogue of keys has them.
const LANE_KEY_FIRST: u8 = 6;
pub(crate) const GATE_KEY_FIRST: u8 = 171;
const SET_KEY_FIRST: u8 = 172;
pub(crate) const SET_JOBS_KEY_FIRST: u8 = 234;

/// Gates that jobs name, and one that is over queues and kinds.
pub(crate) const GATES: [&str; 6] = ["bank", "disk", "mail", "search", "shop", "all"];

pub(crate) fn sample(random: &mut Random) -> Command {
    let name = (*random.pick(&GATES)).to_owned();
    if random.percent(15) {
        return Command::Gates(GateCommand::Delete { name });
    }
    let closed = random.percent(50);
    let expiry = (closed && random.percent(70)).then(|| Start::After(1 + random.below(20_000)));
    let mut change = GateChange {
        closed: Some(GateClosed { closed, reason: None, expiry }),
        ..GateChange::default()
    };
    if name == "all" {
        change.queues = random.maybe(50, |random| vec![(*random.pick(&QUEUES)).to_owned()]);
        change.kinds = random.maybe(50, |random| vec![(*random.pick(&KINDS)).to_owned()]);
    }
    Command::Gates(GateCommand::Change { name, change })
}

/// The number of a namespace, and the name of a gate of its.
type GateKey = (usize, String);

/// What is known of gates.
#[derive(Debug, Default)]
pub(crate) struct KnownGates {
    closed: BTreeMap<GateKey, Gate>,
    /// Of which somebody was told that they are open, or gone.
    open: BTreeSet<GateKey>,
    /// Attempts to change a gate, or to remove it, of which nobody heard yet.
    untold: BTreeMap<GateKey, u32>,
}

fn changed(command: &GateCommand) -> Option<&String> {
    match command {
        GateCommand::Change { name, .. } | GateCommand::Delete { name } => Some(name),
        GateCommand::Get { .. } | GateCommand::List => None,
    }
}

impl KnownGates {
    /// From now on the gate may be open.
    pub(crate) fn tried(&mut self, namespace: usize, command: &GateCommand) {
        let Some(name) = changed(command) else { return };
        let key = (namespace, name.clone());
        self.closed.remove(&key);
        self.open.remove(&key);
        *self.untold.entry(key).or_default() += 1;
    }

    /// What became of one of these attempts.
    pub(crate) fn told(&mut self, namespace: usize, command: &GateCommand, answer: &Answer) {
        let Some(name) = changed(command) else { return };
        let key = (namespace, name.clone());
        let untold = self.untold.entry(key.clone()).or_default();
        *untold = untold.saturating_sub(1);
        match answer {
            _ if *untold > 0 => {}
            Answer::Gates(GateAnswer::Gate(view)) if view.gate.closed => {
                self.closed.insert(key, view.gate.clone());
            }
            Answer::Gates(GateAnswer::Gate(_) | GateAnswer::Deleted) => {
                self.open.insert(key);
            }
            _ => {}
        }
    }

    /// Whether a job is handed over at an instant although a gate that it depends on is closed.
    pub(crate) fn check(
        &self,
        namespace: usize,
        (job, gates): (&Delivery, &[String]),
        now: TimeMs,
    ) -> Check {
        for ((of, name), gate) in &self.closed {
            let about = gates.contains(name)
                || gate.queues.contains(&job.queue)
                || gate.kinds.contains(&job.kind);
            let open = gate.expires_at.is_some_and(|at| at <= now);
            if *of == namespace && about && !open {
                return Err(format!("job {} was handed over, and gate {name} is closed", job.id));
            }
        }
        Ok(())
    }

    /// Whether those stand open of which somebody was told so: they hold nothing back.
    pub(crate) fn check_open(&self, map: &SimTree) -> Check {
        for (namespace, name) in &self.open {
            // Namespaces are numbered from 1 on, and the closed gates of each stand together.
            let of = (*namespace as u32 + 1).to_be_bytes();
            let counted = (name.len() as u16).to_be_bytes();
            let key = [&[GATE_KEY_FIRST][..], &of, &[1], &counted, name.as_bytes()].concat();
            if map.entries.contains_key(&key) {
                return Err(format!("gate {name} was told as open, and is closed"));
            }
        }
        Ok(())
    }

    /// Whether all stand that somebody was told of and whose time is not over.
    pub(crate) fn check_standing(&self, map: &SimTree, now: TimeMs) -> Check {
        let keys = vec![GATE_KEY_FIRST]..vec![GATE_KEY_FIRST + 1];
        let gates = map.entries.range(keys).map(|(_, value)| Gate::from_bytes(value));
        let gates: Result<Vec<Gate>, _> = gates.collect();
        let gates = gates.map_err(|error| format!("a gate: {error}"))?;
        for ((_, name), gate) in &self.closed {
            let open = gate.expires_at.is_some_and(|at| at <= now);
            if !open && !gates.contains(gate) {
                return Err(format!("gate {name} was told as {gate:?}, and does not stand"));
            }
        }
        Ok(())
    }
}

/// `jobs` are those of each namespace, by its number as keys have it. What stands in a part of a
/// lane names the gates that make that part, and a set of gates is needed by as many jobs as name
/// it and have not ended, or are dead.
pub(crate) fn check(map: &SimTree, jobs: &[(u32, Vec<JobView>)]) -> Check {
    check_counts(map, jobs)?;
    let gates: BTreeMap<(u32, JobId), &Vec<String>> = jobs
        .iter()
        .flat_map(|(ns, views)| views.iter().map(move |view| ((*ns, view.job.id), view)))
        .map(|(key, view)| (key, &view.job.options.gates))
        .collect();
    for (key, value) in map.entries.range(vec![LANE_KEY_FIRST]..vec![LANE_KEY_FIRST + 1]) {
        let ns = key.get(1..5).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
        let part = key.get(10..12).and_then(|bytes| bytes.try_into().ok());
        let (Some(ns), Some(part)) = (ns, part.map(u16::from_be_bytes)) else {
            return Err(format!("key {key:02x?} is no lane's"));
        };
        let id = JobId::from_bytes(value).map_err(|error| format!("a lane: {error}"))?;
        let set = (part & 0x7fff) >> 1;
        let named = [&[SET_KEY_FIRST][..], &ns.to_be_bytes(), &set.to_be_bytes()].concat();
        let named = map.entries.get(&named).map(Vec::<String>::from_bytes);
        let named = named.transpose().map_err(|error| format!("a set of gates: {error}"))?;
        let Some(own) = gates.get(&(ns, id)) else { continue };
        if named.as_ref().unwrap_or(&Vec::new()) != *own {
            return Err(format!("job {id} names {own:?} and stands in the part of {named:?}"));
        }
    }
    Ok(())
}

fn check_counts(map: &SimTree, jobs: &[(u32, Vec<JobView>)]) -> Check {
    let mut wanted = BTreeMap::new();
    for (ns, view) in jobs.iter().flat_map(|(ns, views)| views.iter().map(move |it| (ns, it))) {
        let needs = view.job.phase.is_unfinished() || view.state() == JobState::Dead;
        if needs && !view.job.options.gates.is_empty() {
            *wanted.entry((*ns, view.job.options.gates.clone())).or_insert(0_u64) += 1;
        }
    }
    let mut found = BTreeMap::new();
    for (key, gates) in map.entries.range(vec![SET_KEY_FIRST]..vec![SET_KEY_FIRST + 1]) {
        let of = key.get(1..5).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
        let ns = of.ok_or("a set of gates of no namespace")?;
        let gates = Vec::<String>::from_bytes(gates).map_err(|error| format!("a set: {error}"))?;
        let rest = key.get(1..).unwrap_or_default();
        let jobs = map.entries.get(&[&[SET_JOBS_KEY_FIRST][..], rest].concat());
        let jobs = jobs.map(u64::from_bytes).transpose().map_err(|error| error.to_string())?;
        let jobs = jobs.ok_or_else(|| format!("jobs of the gates {gates:?} are not counted"))?;
        if jobs > 0 && found.insert((ns, gates.clone()), jobs).is_some() {
            return Err(format!("the gates {gates:?} have two numbers"));
        }
    }
    if found != wanted {
        return Err(format!("sets of gates are needed by {found:?} jobs, and by {wanted:?}"));
    }
    Ok(())
}
