//! Commands about streams: what each decides, and its answer.

use super::Turn;
use crate::answer::Answer;
use crate::ids::NamespaceId;
use crate::moment::Moment;
use crate::record::Record;
use crate::rejection::Rejection;
use crate::stream::{AppendBatch, AppendDecision, AppendRefusal, Appended, KEYS_OF_BATCH_MAX};
use crate::stream::{StreamAnswer, StreamCommand, TransactionCommand, TriggerCommand};

impl Turn {
    /// `created` creates the namespace, where the command does that.
    pub(super) fn handle_stream(
        &mut self,
        ns: NamespaceId,
        created: Option<Record>,
        command: StreamCommand,
        moment: Moment,
    ) -> Result<Answer, Rejection> {
        let answer = match command {
            StreamCommand::Create { stream, partitions, settings } => {
                let record = self.state.decide_stream_created(ns, &stream, partitions, settings)?;
                self.try_record(created.into_iter().chain([record]).collect::<Vec<_>>())?;
                self.stream_answer(ns, &stream)?
            }
            StreamCommand::Change { stream, settings } => {
                let record = self.state.decide_stream_changed(ns, &stream, settings)?;
                self.record_all(Vec::from_iter(record));
                self.stream_answer(ns, &stream)?
            }
            StreamCommand::AddPartitions { stream, partitions } => {
                let record = self.state.decide_partitions_added(ns, &stream, partitions)?;
                self.record(record);
                self.stream_answer(ns, &stream)?
            }
            StreamCommand::Delete { stream } => {
                let record = self.state.decide_stream_deleted(ns, &stream)?;
                self.record(record);
                StreamAnswer::Deleted
            }
            StreamCommand::Append(batches) => {
                StreamAnswer::Appended(self.append_batches(ns, &batches, moment))
            }
            StreamCommand::Trim { partition, start } => {
                let decided = self.state.decide_trim(ns, partition, start);
                StreamAnswer::Trimmed(decided.map(|(record, start)| {
                    self.record_all(Vec::from_iter(record));
                    start
                }))
            }
            StreamCommand::ForgetAborted { partition, markers } => {
                let record = self.state.decide_aborted_forgotten(ns, partition, &markers);
                self.try_record(Vec::from_iter(record))?;
                StreamAnswer::AbortedForgotten
            }
            StreamCommand::Trigger(command) => self.handle_trigger(ns, command, moment)?,
            StreamCommand::TakeProducerId => {
                let id = self.state.meta.next_producer;
                self.record(Record::ProducerIdTaken { id });
                StreamAnswer::ProducerId(id)
            }
            StreamCommand::CommitOffsets { group, offsets } => {
                let (results, records) =
                    self.state.decide_offsets_committed(ns, &group, &offsets)?;
                self.try_record(records)?;
                StreamAnswer::Committed(results)
            }
            StreamCommand::GetOffsets { group, of } => {
                StreamAnswer::Offsets(self.state.group_offsets(ns, &group, of)?)
            }
            StreamCommand::GroupsUsed { groups } => {
                self.state.groups_used(ns, groups);
                StreamAnswer::GroupsNoted
            }
            StreamCommand::Transact(command) => self.transact_streams(ns, command)?,
            StreamCommand::ForgetGroup { group } => {
                let (record, offsets, more) = self.state.decide_group_forgotten(ns, &group)?;
                self.record_all(Vec::from_iter(record));
                StreamAnswer::GroupForgotten { offsets, more }
            }
        };
        Ok(Answer::Stream(answer))
    }

    fn handle_trigger(
        &mut self,
        ns: NamespaceId,
        command: TriggerCommand,
        moment: Moment,
    ) -> Result<StreamAnswer, Rejection> {
        Ok(match command {
            TriggerCommand::Put { stream, trigger, from_end } => {
                let of = (stream.as_str(), trigger);
                let records = self.state.decide_trigger_put(ns, of, from_end)?;
                self.try_record(records)?;
                StreamAnswer::TriggerPut
            }
            TriggerCommand::Delete { trigger } => {
                let records = self.state.decide_trigger_deleted(ns, &trigger);
                let was_there = !records.is_empty();
                self.try_record(records)?;
                StreamAnswer::TriggerDeleted(was_there)
            }
            TriggerCommand::Replay { stream, trigger, from } => {
                let of = (stream.as_str(), trigger);
                let (records, events) = self.state.decide_replay(ns, of, &from)?;
                self.try_record(records)?;
                StreamAnswer::Replaying(events)
            }
            TriggerCommand::Fire(fire) => {
                let records = self.state.decide_fired(ns, &fire, moment)?;
                let fired = records.is_some();
                self.record_entering(records.unwrap_or_default(), moment)?;
                StreamAnswer::Fired(fired)
            }
        })
    }

    fn transact_streams(
        &mut self,
        ns: NamespaceId,
        TransactionCommand { id, ask }: TransactionCommand,
    ) -> Result<StreamAnswer, Rejection> {
        let decided = self.state.decide_transact(ns, &id, ask)?;
        Ok(StreamAnswer::Transacted(match decided {
            Ok((records, answer)) => {
                self.try_record(records)?;
                Ok(answer)
            }
            Err(refusal) => Err(refusal),
        }))
    }

    /// Appends what it can of some batches. Each key is looked up: no more of them are taken than
    /// fit into a turn.
    fn append_batches(
        &mut self,
        ns: NamespaceId,
        batches: &[AppendBatch],
        moment: Moment,
    ) -> Vec<Result<Appended, AppendRefusal>> {
        let mut keys = 0;
        let append = |append: &AppendBatch| {
            keys += append.keys.len();
            if keys > KEYS_OF_BATCH_MAX {
                return Err(AppendRefusal::TooLarge);
            }
            self.append_batch(ns, append, moment)
        };
        batches.iter().map(append).collect()
    }

    fn append_batch(
        &mut self,
        ns: NamespaceId,
        append: &AppendBatch,
        moment: Moment,
    ) -> Result<Appended, AppendRefusal> {
        match self.state.decide_append(ns, append, moment.at)? {
            AppendDecision::Replayed(appended) => Ok(appended),
            AppendDecision::Append(record, appended) => {
                let recorded = self.try_record([record]);
                recorded.map(|()| appended).map_err(|_| AppendRefusal::TooLarge)
            }
        }
    }

    fn stream_answer(&self, ns: NamespaceId, name: &str) -> Result<StreamAnswer, Rejection> {
        let stream = self.state.streams.named(ns, name);
        let stream = stream.ok_or_else(|| Rejection::StreamUnknown { stream: name.to_owned() })?;
        Ok(StreamAnswer::Stream(Box::new(self.state.stream_view(stream))))
    }
}
