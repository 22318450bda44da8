//! What a worker tells, carried out: each a future of its own, so that many can be under way. What
//! it resolves to goes to the worker.

use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_engine::ask::{AddCredit, Ask, CheckpointJobs, ExtendSession, SettleJobs, StartJobs};
use longshore_engine::query::{self, Lookup};
use longshore_engine::{EndKind, Holder, Instruction, JobId, Reader, Rejection, Settlement, Token};
use longshore_proto::v1::{self, instruction::What, server_message::Message};

use super::intake::Telling as Credit;
use super::{End, protocol};
use crate::grpc::job_in::{checkpoint, lease, settlement};
use crate::grpc::job_out::lease_ref;
use crate::grpc::refusal::problem_of;
use crate::http::app::App;
use crate::http::look::{ask, slow_down_ms};
use crate::http::refusal::Refusal;
use crate::http::text::shorten;
use crate::workers::{Wanted, Worker};

/// How long after the answer the shard is asked again about a run whose timeout should have ended.
const TIMED_OUT_AGAIN: Duration = Duration::from_millis(100);

/// What one message may be about, at most.
const RUNS_MAX: usize = 1000;

/// The messages that answer.
pub(super) type Answers = Result<Vec<Message>, End>;

/// What the futures share.
#[derive(Clone, Debug)]
pub(super) struct Telling {
    pub(super) app: Arc<App>,
    pub(super) worker: Arc<Worker>,
}

fn bounded(field: &str, count: usize) -> Result<(), End> {
    if count <= RUNS_MAX {
        return Ok(());
    }
    let what = format!("{field} has {count} entries; allowed: at most {RUNS_MAX} in one message");
    Err(protocol(&what).into())
}

/// The engine's word for a run, as a message.
pub(super) fn instruction(of: Instruction) -> v1::Instruction {
    let what = match of {
        Instruction::Continue => What::Continue(v1::instruction::Continue {}),
        Instruction::Cancel => What::Cancel(v1::instruction::Cancel {}),
        Instruction::Interrupt { reason } => {
            What::Interrupt(v1::instruction::Interrupt { reason: reason.to_owned() })
        }
    };
    v1::Instruction { what: Some(what) }
}

/// What a run shall do, pushed to its worker.
pub(super) fn run_control(id: JobId, token: Token, what: Option<Instruction>) -> v1::RunControl {
    let v1::LeaseRef { id, token } = lease_ref((id, token));
    v1::RunControl { id, token, instruction: what.map(instruction) }
}

impl Telling {
    pub(super) async fn ask<C: Ask>(&self, command: C) -> Result<C::Answer, Refusal> {
        ask(&self.app, &self.worker.key.namespace, command).await
    }

    /// The lease is the worker's no longer, however that came.
    fn forget_lost(&self, id: JobId, token: Token, rejection: &Rejection) {
        if matches!(rejection, Rejection::LeaseLost { .. } | Rejection::JobUnknown { .. }) {
            self.worker.remove_run(id, token);
        }
    }

    /// Settles runs, each on its own, and gives the shard credit with it.
    pub(super) async fn settle(self, told: Option<v1::Settle>, credit: Option<Credit>) -> Answers {
        let answers = told.is_some();
        let told = told.unwrap_or_default();
        bounded("settlements", told.settlements.len())?;
        let mut results = Vec::with_capacity(told.settlements.len());
        let mut settlements = Vec::with_capacity(told.settlements.len());
        for one in told.settlements {
            let named = (shorten(&one.id), shorten(&one.token));
            match settlement(one, &self.app.bounds) {
                Ok(settlement) => settlements.push((named, settlement)),
                Err(refusal) => results.push(refused(named, Some(&refusal))),
            }
        }
        let (named, settlements): (Vec<_>, Vec<Settlement>) = settlements.into_iter().unzip();
        let keys: Vec<_> = settlements.iter().map(|one| (one.id, one.token)).collect();
        let told = named.into_iter().zip(keys);
        let settled = match &credit {
            Some(Credit { consumer, credit, .. }) => {
                let (consumer, credit) = (*consumer, *credit);
                self.ask(AddCredit { consumer, credit, settle: settlements }).await
            }
            None if settlements.is_empty() => Ok(Vec::new()),
            None => self.ask(SettleJobs(settlements)).await,
        };
        match settled {
            Ok(settled) => {
                if let Some(credit) = credit {
                    credit.arrived();
                }
                let settled = told.zip(settled);
                results.extend(settled.map(|((named, key), end)| self.settled(named, key, end)));
            }
            Err(refusal) => results.extend(told.map(|(named, _)| refused(named, Some(&refusal)))),
        }
        let told = answers.then_some(Message::Settled(v1::Settled { results }));
        Ok(Vec::from_iter(told))
    }

    fn settled(
        &self,
        named: (String, String),
        (id, token): (JobId, Token),
        end: Result<EndKind, Rejection>,
    ) -> v1::SettleResult {
        match end {
            Ok(_) => {
                self.worker.remove_run(id, token);
                refused(named, None)
            }
            Err(rejection) => {
                self.forget_lost(id, token, &rejection);
                refused(named, Some(&Refusal::of_settlement(rejection)))
            }
        }
    }

    /// Saves how far runs have come, each on its own.
    pub(super) async fn checkpoint(self, told: v1::Checkpoints) -> Answers {
        bounded("checkpoints", told.checkpoints.len())?;
        let mut results = Vec::with_capacity(told.checkpoints.len());
        let (mut named, mut saved) = (Vec::new(), Vec::new());
        for one in told.checkpoints {
            let name = (shorten(&one.id), shorten(&one.token), one.seq);
            match checkpoint(one, &self.app.bounds) {
                Ok(one) => {
                    let progress = (one.progress, one.progress_text.clone());
                    named.push((name, one.id, one.token, progress, one.cursor.is_some()));
                    saved.push(one);
                }
                Err(refusal) => results.push(not_saved(name, &refusal)),
            }
        }
        if saved.is_empty() {
            return Ok(vec![Message::Checkpointed(v1::Checkpointed { results })]);
        }
        match self.ask(CheckpointJobs(saved)).await {
            Ok(extended) => {
                for ((name, id, token, (progress, text), goes_on), told) in
                    named.into_iter().zip(extended)
                {
                    results.push(match told {
                        Ok(told) => {
                            self.worker.run_started(id, progress, text);
                            let (id, token, seq) = name;
                            let instruction = Some(self.instruction(told, goes_on));
                            v1::CheckpointResult { id, token, seq, instruction, refused: None }
                        }
                        Err(rejection) => {
                            self.forget_lost(id, token, &rejection);
                            not_saved(name, &rejection.into())
                        }
                    });
                }
            }
            Err(refusal) => {
                results.extend(named.into_iter().map(|(name, ..)| not_saved(name, &refusal)));
            }
        }
        Ok(vec![Message::Checkpointed(v1::Checkpointed { results })])
    }

    /// What a run shall do after a checkpoint: the worker as a whole may be asked to leave or to be
    /// quiet, and the disk may be low. `goes_on`: another run can go on from its cursor.
    fn instruction(&self, told: Instruction, goes_on: bool) -> v1::Instruction {
        if told != Instruction::Continue {
            return instruction(told);
        }
        match self.worker.wanted() {
            Wanted::Terminate => {
                return instruction(Instruction::Interrupt { reason: "terminate" });
            }
            Wanted::Quiet if goes_on => {
                return instruction(Instruction::Interrupt { reason: "quiet" });
            }
            Wanted::Quiet | Wanted::Working => {}
        }
        match slow_down_ms(&self.app) {
            Some(wait_ms) => {
                let what = What::SlowDown(v1::instruction::SlowDown { wait_ms });
                v1::Instruction { what: Some(what) }
            }
            None => instruction(told),
        }
    }

    /// Notes that jobs run.
    pub(super) async fn start(self, told: v1::Started) -> Answers {
        bounded("jobs", told.jobs.len())?;
        let (mut jobs, mut lost) = (Vec::with_capacity(told.jobs.len()), Vec::new());
        for job in told.jobs {
            if let Ok(lease) = lease(&job.id, &job.token) {
                jobs.push(lease);
            } else {
                let (id, token) = (shorten(&job.id), shorten(&job.token));
                lost.push(v1::LeaseRef { id, token });
            }
        }
        let mut runs = Vec::new();
        if !jobs.is_empty() {
            let told = self.ask(StartJobs(jobs.clone())).await?;
            for ((id, token), told) in jobs.into_iter().zip(told) {
                let Ok(told) = told else {
                    self.worker.remove_run(id, token);
                    lost.push(lease_ref((id, token)));
                    continue;
                };
                self.worker.run_started(id, None, None);
                if told != Instruction::Continue {
                    runs.push(run_control(id, token, Some(told)));
                }
            }
        }
        let mut answers = Vec::new();
        if !lost.is_empty() {
            answers.push(Message::NotStarted(v1::NotStarted { jobs: lost }));
        }
        if !runs.is_empty() {
            answers.push(Message::Control(self.control(runs)));
        }
        Ok(answers)
    }

    /// Tells which of these runs, whose timeouts have ended, are lost. It extends none of them, and
    /// asks about the others again once it was answered and a while has passed.
    pub(super) async fn timed_out(self, runs: Vec<(JobId, Token)>) -> Answers {
        let mut lost = Vec::new();
        for part in runs.chunks(RUNS_MAX) {
            // They have started: that is heard for the second time and changes nothing.
            let told = match self.ask(StartJobs(part.to_vec())).await {
                Ok(told) => told.iter().map(|it| Some(it.is_ok())).collect(),
                Err(_) => vec![None; part.len()],
            };
            let again = Instant::now() + TIMED_OUT_AGAIN;
            for (run, stands) in part.iter().zip(told) {
                if stands != Some(false) {
                    self.worker.times_out_at(*run, again);
                } else if self.worker.remove_run(run.0, run.1) {
                    lost.push(run_control(run.0, run.1, None));
                }
            }
        }
        if lost.is_empty() {
            return Ok(Vec::new());
        }
        Ok(vec![Message::Control(self.control(lost))])
    }

    /// Tells which of these runs are lost, and keeps them out of what is told of the worker. It
    /// extends none of them and starts none.
    pub(super) async fn let_go(self, runs: Vec<(JobId, Token)>) -> Answers {
        let mut lost = Vec::new();
        for part in runs.chunks(RUNS_MAX) {
            let (part, namespace) = (part.to_vec(), self.worker.key.namespace.clone());
            let look = move |reader: &dyn Reader, now| {
                let has = |(id, token): &(JobId, Token)| match query::find_job(
                    reader, &namespace, *id, now,
                ) {
                    Lookup::Found(view) => view.lease.is_some_and(|it| it.token == *token),
                    _ => false,
                };
                part.into_iter().filter(|run| !has(run)).collect::<Vec<_>>()
            };
            // A shard that does not answer now is asked again.
            let gone = self.app.node.read(&self.worker.key.namespace, look).await;
            for (id, token) in gone.unwrap_or_default() {
                // What was settled meanwhile is not lost.
                if self.worker.remove_run(id, token) {
                    lost.push(run_control(id, token, None));
                }
            }
        }
        if lost.is_empty() {
            return Ok(Vec::new());
        }
        Ok(vec![Message::Control(self.control(lost))])
    }

    /// Extends everything that the session has.
    pub(super) async fn beat(self, told: v1::Heartbeat, holder: Holder) -> Answers {
        self.worker.set_memory(told.memory_bytes);
        let known = self.worker.leases();
        let view = self.ask(ExtendSession { holder, known }).await?;
        let told = view.told.into_iter();
        let mut runs: Vec<_> =
            told.map(|(id, token, what)| run_control(id, token, Some(what))).collect();
        for (id, token) in view.lost {
            // What was settled meanwhile is not lost.
            if self.worker.remove_run(id, token) {
                runs.push(run_control(id, token, None));
            }
        }
        let mut answers = Vec::new();
        if !runs.is_empty() {
            answers.push(Message::Control(self.control(runs)));
        }
        answers.push(Message::Beat(v1::Beat {}));
        Ok(answers)
    }

    /// What runs shall do, and what the worker shall.
    pub(super) fn control(&self, runs: Vec<v1::RunControl>) -> v1::Control {
        let worker = i32::from(crate::grpc::job_out::state(self.worker.wanted()));
        v1::Control { runs, worker }
    }
}

fn refused((id, token): (String, String), refusal: Option<&Refusal>) -> v1::SettleResult {
    v1::SettleResult { id, token, refused: refusal.map(problem_of) }
}

fn not_saved((id, token, seq): (String, String, u64), refusal: &Refusal) -> v1::CheckpointResult {
    v1::CheckpointResult { id, token, seq, instruction: None, refused: Some(problem_of(refusal)) }
}
