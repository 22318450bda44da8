//! The lives of the process: how it starts, stops and ends, and what becomes of the disk meanwhile.

use longshore_journal::disk::Disk;
use longshore_journal::{Crash, inspect_on};

use super::Simulation;
use crate::network::Arrival;
use crate::node::{Node, StartError};
use crate::workload::Check;

impl Simulation {
    pub(super) fn crash(&mut self) {
        if self.random.percent(50) {
            let (changes, crash) = (self.random.below(20), self.any_crash());
            self.trace.note(format_args!("{crash:?} after {changes} changes of the disk"));
            let in_events = self.random.percent(30);
            self.store.crash_after(changes, crash, in_events);
        } else if self.node.is_some() {
            self.end("crash");
        }
    }

    fn any_crash(&mut self) -> Crash {
        *self.random.pick(&[Crash::Kill, Crash::PowerCut, Crash::PowerCutLosingAll])
    }

    /// The process ends at once, and perhaps the power with it.
    pub(crate) fn end(&mut self, why: &str) {
        let crash = self.any_crash();
        self.trace.note(format_args!("{why}: {crash:?}"));
        self.node = None;
        self.store.crash(crash);
        self.events.lost();
        if let Some(relay) = &mut self.relay {
            relay.lost();
        }
        if let Some(fired) = &mut self.fired {
            fired.lost();
        }
        if let Some(breaches) = &mut self.breaches {
            breaches.lost();
        }
        self.give_back.clear();
        self.unreached.clear();
        self.gone_callers.clear();
        self.refusing = false;
        for client in self.network.cut_all() {
            if let Some(client) = self.clients.get_mut(client) {
                client.lost();
            }
        }
        // Their streams went with the server.
        for client in &mut self.clients {
            client.stream_broke();
            client.take_gone();
        }
        self.gone.clear();
        self.note_mono();
        if let Some(peers) = &mut self.peers {
            peers.crashed();
        }
    }

    /// The process stops as asked. At rest a bit may flip.
    pub(super) fn stop(&mut self) -> Check {
        let clock = self.now();
        let Some(node) = &mut self.node else { return Ok(()) };
        self.trace.note(format_args!("stop"));
        let Ok(Some(released)) = node.stop(&mut self.store, clock) else {
            self.end("stopping failed");
            return Ok(());
        };
        // Without space for events the journal keeps them.
        let position = node.turn().position();
        if node.streams.synced().is_none_or(|synced| synced >= position) {
            node.watch.check_end(position)?;
        }
        self.release(released)?;
        while let Some((client, reply_to, answer)) = self.network.deliver_answer(&mut self.random) {
            self.arrive(client, Arrival::Answer(reply_to, answer));
        }
        self.end("stopped");
        if self.random.percent(60) {
            self.flip_bit();
        }
        Ok(())
    }

    fn flip_bit(&mut self) {
        let disk = &self.store.disk;
        let names = disk.names().unwrap_or_default();
        if names.is_empty() {
            return;
        }
        let name = self.random.pick(&names).clone();
        let bytes = disk.bytes(&name).unwrap_or_default();
        // Most of a segment is room for what comes.
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1);
        let (offset, bit) = (self.random.below(used + 8), self.random.below(8) as u8);
        disk.flip_bit(&name, offset, bit);
        self.trace.note(format_args!("bit {bit} of byte {offset} of {name} flips"));
        self.flipped = Some((name, offset, bit));
    }

    pub(crate) fn start(&mut self) -> Check {
        self.clock.boot(&mut self.random);
        let clock = self.now();
        self.trace.note(format_args!("start at {} {}", clock.wall, clock.mono));
        let (limits, canary) = (&self.limits, self.canary);
        let (random, trace) = (&mut self.random, &mut self.trace);
        match Node::start(&mut self.store, clock, limits, canary, random, trace) {
            Ok(node) => {
                self.lives += 1;
                self.flipped = None;
                self.shadow.order.begins(self.clock.mono());
                self.events.check(&node.streams)?;
                self.node = Some(node);
                if let Some(peers) = &mut self.peers {
                    peers.started(clock.mono);
                }
                self.check_state()
            }
            Err(StartError::Refused(why)) => {
                self.trace.note(format_args!("refused: {why}"));
                let report = inspect_on(&self.store.disk, None);
                self.trace.note(format_args!("verify says: {report:?}"));
                let Some((name, offset, bit)) = self.flipped.take() else {
                    return Err(format!("refused without damage: {why}"));
                };
                self.refusals += 1;
                self.store.disk.flip_bit(&name, offset, bit);
                Ok(())
            }
            Err(StartError::Ended(why)) => {
                self.end(&why);
                Ok(())
            }
            Err(StartError::Violation(what)) => Err(what),
        }
    }
}
