//! Gates: what is behind one is found by looking at all jobs.

use longshore_engine::{
    Answer, BlockedBy, Gate, GateAnswer, GateChange, GateCommand, GateId, GateView, Instruction,
    Job, JobId, NamespaceId, Rejection, Start, TimeMs,
};

use super::{RefJob, Reference, Refusable, refused};

#[derive(Clone, Debug)]
pub(crate) struct RefGate {
    pub(crate) ns: NamespaceId,
    pub(crate) name: String,
    pub(crate) gate: Gate,
}

fn is_about(of: &RefGate, job: &Job) -> bool {
    let gate = &of.gate;
    job.options.gates.contains(&of.name)
        || gate.queues.contains(&job.queue)
        || gate.kinds.contains(&job.kind)
}

fn in_order(names: &[String]) -> Vec<String> {
    let mut names = names.to_vec();
    names.sort();
    names.dedup();
    names
}

impl Reference {
    /// The closed gates that hold a job back.
    pub(super) fn held_by_gates(&self, of: &RefJob) -> Vec<BlockedBy> {
        let closed = self.gates.iter().filter(|it| it.ns == of.ns && it.gate.closed);
        let mut closed: Vec<_> = closed.filter(|it| is_about(it, &of.job)).collect();
        closed.sort_by(|a, b| (a.name.len(), &a.name).cmp(&(b.name.len(), &b.name)));
        let told = closed.into_iter().map(|it| BlockedBy::Gate {
            name: it.name.clone(),
            reason: it.gate.reason.clone(),
            expires_at: it.gate.expires_at,
        });
        told.collect()
    }

    /// What the worker of a job that runs shall do.
    pub(super) fn instruct(&self, ns: NamespaceId, id: JobId) -> Instruction {
        let job = self.job(ns, id).expect("it runs");
        match job.instruction() {
            Instruction::Continue if job.job.options.at_most_once => Instruction::Continue,
            Instruction::Continue if !self.held_by_gates(job).is_empty() => {
                Instruction::Interrupt { reason: "gate" }
            }
            Instruction::Continue if self.held_tag(job).is_some() => {
                Instruction::Interrupt { reason: "hold" }
            }
            told => told,
        }
    }

    pub(super) fn check_gates(&self, gates: &[String]) -> Refusable<()> {
        if gates.len() > 8 {
            return Err(refused("gates"));
        }
        gates.iter().try_for_each(|gate| self.check_name("gates", gate))
    }

    pub(super) fn of_gates(&mut self, ns: NamespaceId, command: GateCommand) -> Refusable<Answer> {
        let name = match command {
            GateCommand::Change { name, change } => {
                self.change_gate(ns, &name, &change)?;
                name
            }
            GateCommand::Delete { name } => {
                self.gate_at(ns, &name)?;
                self.gates.retain(|it| it.ns != ns || it.name != name);
                return Ok(Answer::Gates(GateAnswer::Deleted));
            }
            GateCommand::Get { name } => name,
            GateCommand::List => {
                let mut all: Vec<_> = self.gates.iter().filter(|it| it.ns == ns).collect();
                all.sort_by(|a, b| a.name.cmp(&b.name));
                let views = all.into_iter().map(|it| self.gate_view(it)).collect();
                return Ok(Answer::Gates(GateAnswer::Gates(views)));
            }
        };
        let at = self.gate_at(ns, &name)?;
        Ok(Answer::Gates(GateAnswer::Gate(Box::new(self.gate_view(&self.gates[at])))))
    }

    fn change_gate(&mut self, ns: NamespaceId, name: &str, change: &GateChange) -> Refusable<()> {
        self.check_name("gate", name)?;
        for name in change.queues.iter().chain(&change.kinds).flatten() {
            self.check_name("queues", name)?;
        }
        let at = self.gate_at(ns, name).ok();
        let new = Gate {
            id: GateId(self.last_gate + 1),
            since: self.now,
            closed: false,
            reason: None,
            expires_at: None,
            queues: Vec::new(),
            kinds: Vec::new(),
        };
        let mut gate = at.map_or(new, |at| self.gates[at].gate.clone());
        if let Some(wanted) = &change.closed {
            if !wanted.closed && (wanted.reason.is_some() || wanted.expiry.is_some()) {
                return Err(refused("reason"));
            }
            let expires_at = wanted.expiry.map(|start| match start {
                Start::At(at) => at,
                Start::After(ms) => self.now.plus(ms),
            });
            if expires_at.is_some_and(|at| at <= self.now) {
                return Err(refused("expires_at"));
            }
            if gate.closed != wanted.closed {
                gate.since = self.now;
            }
            (gate.closed, gate.expires_at) = (wanted.closed, expires_at);
            gate.reason.clone_from(&wanted.reason);
        }
        if let Some(queues) = &change.queues {
            gate.queues = in_order(queues);
        }
        if let Some(kinds) = &change.kinds {
            gate.kinds = in_order(kinds);
        }
        if let Some(at) = at {
            self.gates[at].gate = gate;
        } else {
            self.last_gate += 1;
            self.gates.push(RefGate { ns, name: name.to_owned(), gate });
        }
        Ok(())
    }

    fn gate_at(&self, ns: NamespaceId, name: &str) -> Refusable<usize> {
        let at = self.gates.iter().position(|it| it.ns == ns && it.name == name);
        at.ok_or_else(|| Rejection::GateUnknown { name: name.to_owned() })
    }

    fn gate_view(&self, of: &RefGate) -> GateView {
        let runs = |it: &&RefJob| it.ns == of.ns && it.run.is_some() && is_about(of, &it.job);
        let running = self.jobs.iter().filter(runs).count() as u64;
        GateView { name: of.name.clone(), gate: of.gate.clone(), running }
    }

    /// Gates whose time is over open.
    pub(super) fn open_gates(&mut self) {
        for it in &mut self.gates {
            if it.gate.expires_at.is_some_and(|at| at <= self.now) {
                (it.gate.closed, it.gate.since) = (false, self.now);
                (it.gate.reason, it.gate.expires_at) = (None, None);
            }
        }
    }

    pub(super) fn next_opening(&self) -> Option<TimeMs> {
        self.gates.iter().filter_map(|it| it.gate.expires_at).min()
    }

    pub(super) fn drop_gates(&mut self, ns: NamespaceId) {
        self.gates.retain(|it| it.ns != ns);
    }
}
