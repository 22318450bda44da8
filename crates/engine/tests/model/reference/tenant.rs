//! Tenants: who is next is found by looking at all that waits.

use longshore_engine::{BlockedBy, JobId, NamespaceId, Place, TimeMs, Token};

use super::{RefJob, Reference};

/// Where a tenant stands in a queue and priority.
#[derive(Clone, Debug)]
pub(crate) struct RefTurn {
    ns: NamespaceId,
    queue: String,
    priority: u8,
    tenant: String,
    used: u32,
    /// When its last turn ended, and the counter of the grant that ended it.
    ended: Option<(TimeMs, u64)>,
    /// First jobs of lines that did not move at ends of turns, and where they stand.
    kept: Vec<(JobId, (TimeMs, Place))>,
}

impl RefTurn {
    fn is_of(&self, of: &RefJob) -> bool {
        let options = &of.job.options;
        self.ns == of.ns
            && self.queue == of.job.queue
            && self.priority == options.priority
            && options.tenant.as_ref() == Some(&self.tenant)
    }
}

fn slot(of: &RefJob) -> (TimeMs, Place) {
    (of.job.available_at, of.job.place)
}

impl Reference {
    /// Forgets what was known of tenants without jobs. Before a job enters, that is what is known.
    pub(crate) fn forget_tenants(&mut self) {
        let mut turns = std::mem::take(&mut self.turns);
        let lives = |turn: &RefTurn| {
            let mut jobs = self.jobs.iter().filter(|job| job.job.phase.is_unfinished());
            jobs.any(|job| turn.is_of(job))
        };
        turns.retain(lives);
        self.turns = turns;
    }

    /// How many tenants have jobs that have not ended, each once per queue and priority.
    pub(crate) fn tenants(&self) -> usize {
        let unfinished = self.jobs.iter().filter(|job| job.job.phase.is_unfinished());
        let of = unfinished.filter_map(|it| {
            let options = &it.job.options;
            Some((it.ns, &it.job.queue, options.priority, options.tenant.as_ref()?))
        });
        of.collect::<std::collections::BTreeSet<_>>().len()
    }

    /// Whether a job waits for turns of its tenant.
    pub(crate) fn takes_turns(of: &RefJob) -> bool {
        of.job.options.tenant.is_some() && of.job.options.limit.is_none()
    }

    /// Whether no other job of its line comes before it.
    pub(super) fn is_first_of_tenant(&self, of: &RefJob) -> bool {
        let options = &of.job.options;
        if !Self::takes_turns(of) {
            return true;
        }
        !self.jobs.iter().any(|other| {
            let it = &other.job.options;
            other.ns == of.ns
                && other.job.queue == of.job.queue
                && other.job.kind == of.job.kind
                && (it.priority, &it.tenant) == (options.priority, &options.tenant)
                && it.gates == options.gates
                && it.limits == options.limits
                && Self::takes_turns(other)
                && slot(other) < slot(of)
                && self.is_filed(other)
        })
    }

    /// Where a job stands among those that may be handed out.
    pub(super) fn stands(&self, of: &RefJob) -> (TimeMs, Place) {
        let own = slot(of);
        if !Self::takes_turns(of) {
            return own;
        }
        let Some(turn) = self.turns.iter().find(|turn| turn.is_of(of)) else { return own };
        if let Some((_, kept)) = turn.kept.iter().find(|(id, _)| *id == of.job.id) {
            return *kept;
        }
        let Some((at, counter)) = turn.ended else { return own };
        own.max((at, Place(1 << 63 | counter << 40 | own.1.0)))
    }

    /// Whether other tenants come first since the job's had its turn.
    pub(super) fn had_turn(&self, of: &RefJob) -> Option<BlockedBy> {
        let tenant = of.job.options.tenant.clone().filter(|_| Self::takes_turns(of))?;
        let turn = self.turns.iter().find(|turn| turn.is_of(of))?;
        let ended = turn.ended.is_some_and(|(at, _)| of.job.available_at <= at);
        ended.then_some(BlockedBy::TenantTurn { tenant })
    }

    fn is_head(&self, of: &RefJob) -> bool {
        self.is_filed(of) && Self::takes_turns(of) && self.is_first_of_tenant(of)
    }

    /// Who is not the first of a line any more has no place that it keeps.
    pub(super) fn forget_kept(&mut self) {
        let mut turns = std::mem::take(&mut self.turns);
        for turn in &mut turns {
            let ns = turn.ns;
            turn.kept.retain(|(id, _)| self.job(ns, *id).is_some_and(|job| self.is_head(job)));
        }
        self.turns = turns;
    }

    /// A job stands in none of the lines any more where it kept a place.
    pub(super) fn forget_kept_of(&mut self, id: JobId) {
        for turn in &mut self.turns {
            turn.kept.retain(|(kept, _)| *kept != id);
        }
    }

    /// A job is about to be handed over.
    pub(super) fn take_turn(&mut self, of: &RefJob, token: Token) {
        let Some(tenant) = of.job.options.tenant.clone().filter(|_| Self::takes_turns(of)) else {
            return;
        };
        let (ns, now) = (of.ns, self.now);
        let weights = self.queue_named(ns, &of.job.queue).map(|it| it.settings.tenants.clone());
        let weights = weights.unwrap_or_default();
        let weight = weights.iter().find(|it| it.tenant == tenant).map_or(1, |it| it.weight);
        if !self.turns.iter().any(|turn| turn.is_of(of)) {
            let (queue, priority) = (of.job.queue.clone(), of.job.options.priority);
            self.turns.push(RefTurn {
                ns,
                queue,
                priority,
                tenant,
                used: 0,
                ended: None,
                kept: Vec::new(),
            });
        }
        let turn = self.turns.iter_mut().find(|turn| turn.is_of(of)).expect("it was added");
        turn.used += 1;
        if turn.used < weight {
            return;
        }
        let turn = turn.clone();
        let deadline_ms = self.deadline_ms(of);
        let lines = self.jobs.iter().filter(|job| turn.is_of(job) && self.is_head(job));
        let kept = lines.filter(|job| self.deadline_ms(job) != deadline_ms);
        let kept = kept.map(|job| (job.job.id, self.stands(job))).collect();
        let turn = self.turns.iter_mut().find(|turn| turn.is_of(of)).expect("it was added");
        (turn.used, turn.ended, turn.kept) = (0, Some((now, token.counter)), kept);
    }
}
