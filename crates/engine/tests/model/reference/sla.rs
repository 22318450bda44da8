//! Service levels: what they are about and how long they give, which is all that hands out by.

use longshore_engine::{
    Answer, Job, NamespaceId, Rejection, Sla, SlaAnswer, SlaCommand, SlaCount, SlaSettings,
    SlaTarget, SlaView, TimeMs,
};

use super::{RefJob, Reference, Refusable, refused};

#[derive(Clone, Debug)]
pub(crate) struct RefSla {
    pub(super) ns: NamespaceId,
    pub(super) name: String,
    pub(super) settings: SlaSettings,
}

/// How long jobs without a level have.
const NONE_MS: u64 = 3_600_000;

fn is_about(of: &RefSla, job: &Job) -> bool {
    match &of.settings.target {
        SlaTarget::Queue { name } => *name == job.queue,
        SlaTarget::Kind { name } => *name == job.kind,
        SlaTarget::Schedule { .. } => false,
    }
}

/// A level of which nothing but its name and its settings is compared.
fn view(of: &RefSla) -> SlaView {
    let (settings, since) = (of.settings.clone(), TimeMs(0));
    SlaView {
        name: of.name.clone(),
        sla: Sla { settings, since, breached_at: None, breaches: 0, last_at: None },
        windows: [SlaCount::default(); 3],
        late: 0,
        at_risk: 0,
        oldest_ms: None,
        running: 0,
        arrivals_per_second: 0.0,
        run_ms: None,
        workers_needed: None,
    }
}

impl Reference {
    /// The slot of a job with its deadline in place of its time.
    pub(super) fn by_deadline(&self, of: &RefJob) -> (TimeMs, longshore_engine::Place) {
        let (at, place) = self.stands(of);
        (at.plus(self.deadline_ms(of)), place)
    }

    /// How long a job has by its levels.
    pub(super) fn deadline_ms(&self, of: &RefJob) -> u64 {
        let all = self.slas.iter().filter(|it| it.ns == of.ns && is_about(it, &of.job));
        let least = all.map(|it| it.settings.goal.within_ms()).min().unwrap_or(NONE_MS);
        least.min(NONE_MS)
    }

    pub(super) fn of_sla(&mut self, ns: NamespaceId, command: SlaCommand) -> Refusable<Answer> {
        let named = |name: &str, all: &[RefSla]| {
            let found = all.iter().position(|it| it.ns == ns && it.name == name);
            found.ok_or_else(|| Rejection::SlaUnknown { name: name.to_owned() })
        };
        let at = match command {
            SlaCommand::Put { name, settings } => {
                if settings.goal.within_ms() == 0
                    || settings.goal.within_ms() > self.limits.horizon_ms_max
                {
                    return Err(refused("within"));
                }
                self.slas.retain(|it| it.ns != ns || it.name != name);
                self.slas.push(RefSla { ns, name, settings: *settings });
                self.slas.len() - 1
            }
            SlaCommand::Delete { name } => {
                let at = named(&name, &self.slas)?;
                self.slas.remove(at);
                return Ok(Answer::Sla(SlaAnswer::Deleted));
            }
            SlaCommand::Get { name } => named(&name, &self.slas)?,
            SlaCommand::List => {
                let mut all: Vec<_> = self.slas.iter().filter(|it| it.ns == ns).collect();
                all.sort_by(|a, b| a.name.cmp(&b.name));
                return Ok(Answer::Sla(SlaAnswer::Slas(all.into_iter().map(view).collect())));
            }
        };
        Ok(Answer::Sla(SlaAnswer::Sla(Box::new(view(&self.slas[at])))))
    }

    pub(super) fn drop_slas(&mut self, ns: NamespaceId) {
        self.slas.retain(|it| it.ns != ns);
    }
}
