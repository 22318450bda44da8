//! Has the folders opened that crashes of a recording may leave, by several threads at a time, and
//! gathers what is wrong.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::{Context, Result};

use super::choices::choices;
use super::client::Clients;
use super::files::Files;
use super::image::Image;
use super::judge::{Found, Judge, judge};
use super::record::{Recording, Start};
use super::walk::{Moment, walk};
use crate::random::Random;

/// How many folders wait to be opened.
const WAITING_MAX: usize = 16;

/// How much is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Choices drawn by chance at each moment, beside those that are always looked at.
    pub samples: usize,
    /// Folders of one moment, at most.
    pub images_max: usize,
    /// After so many wrong ones it ends.
    pub wrong_max: usize,
}

/// What was looked at, and what is wrong.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Moments at which it crashed.
    pub moments: usize,
    /// Folders that were opened; those with the same contents count once.
    pub opened: usize,
    /// What is wrong.
    pub wrong: Vec<Wrong>,
}

/// Something that is wrong.
#[derive(Debug)]
pub struct Wrong {
    /// What, and after which crash.
    pub what: String,
    /// What the crash left.
    pub image: Image,
}

/// One folder to be opened.
struct Case {
    image: Image,
    fingerprint: u64,
    clients: Arc<Clients>,
    name: String,
}

/// What those who open folders share.
#[derive(Default)]
struct Shared {
    /// What was found, by fingerprint.
    found: Mutex<HashMap<u64, Arc<Result<Found>>>>,
    opened: AtomicUsize,
    wrong: Mutex<Vec<Wrong>>,
}

/// Enumerates the crashes of a recording. Syncs of what `ignored` says count for nothing.
pub fn enumerate(
    recording: &Recording,
    effort: Effort,
    ignored: &dyn Fn(&str) -> bool,
) -> Result<Outcome> {
    let shared = Shared::default();
    let (sender, receiver) = sync_channel(WAITING_MAX);
    let receiver = Mutex::new(receiver);
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let mut random = Random::new(1);
    let mut seen = HashSet::new();
    let mut moments = 0;
    thread::scope(|scope| {
        let threads: Vec<_> =
            (0..workers).map(|_| scope.spawn(|| shared.work(&receiver))).collect();
        let walked = walk(recording, ignored, &mut |moment| {
            moments += 1;
            for case in cases(moment, effort, &mut random) {
                // The same folder may be right at one moment and wrong after the next answer.
                if seen.insert((case.fingerprint, moment.history.len())) {
                    sender.send(case).context("nobody opens folders")?;
                }
            }
            let enough = lock(&shared.wrong).len() >= effort.wrong_max;
            Ok(if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        });
        // Tells the workers that no more comes.
        drop(sender);
        threads.into_iter().try_for_each(|it| it.join().expect("a worker does not panic"))?;
        walked
    })?;
    let wrong = shared.wrong.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Outcome { moments, opened: shared.opened.into_inner(), wrong })
}

/// What the next server starts from, after a moment that is drawn by chance from those of which
/// `left` says what they leave.
pub fn draw(
    recording: &Recording,
    count: usize,
    random: &mut Random,
    left: &dyn Fn(&Moment<'_>, &mut Random) -> Option<Files>,
) -> Result<Vec<Start>> {
    let mut drawn = Vec::new();
    let mut moments = 0;
    walk(recording, &|_| false, &mut |moment| {
        if let Some(files) = left(moment, random) {
            moments += 1;
            // In the end each of them had the same chance.
            let some = random.below(moments) as usize;
            let more = drawn.len() < count;
            let place = if more { drawn.len() } else { some };
            let start = Start { files: files.for_next(), history: moment.history.to_vec() };
            match drawn.get_mut(place) {
                Some(drawn) => *drawn = start,
                None if more => drawn.push(start),
                None => {}
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(drawn)
}

/// A disk as a loss of power may leave it.
pub fn after_power_loss(moment: &Moment<'_>, random: &mut Random) -> Files {
    let choices = choices(moment.files, 8, random);
    let choice = &choices[random.below(choices.len() as u64) as usize];
    Files::of(&Image::of(moment.files, choice))
}

/// Folders that a crash at this moment may leave.
fn cases(moment: &Moment<'_>, effort: Effort, random: &mut Random) -> Vec<Case> {
    let mut all = choices(moment.files, effort.samples, random);
    while all.len() > effort.images_max {
        // The first two are the extremes.
        all.swap_remove(2 + random.below(all.len() as u64 - 2) as usize);
    }
    let clients = Arc::new(moment.clients.clone());
    let case = |choice| {
        let image = Image::of(moment.files, &choice);
        let name = format!("{}, {choice:?}", moment.name);
        Case { fingerprint: image.fingerprint(), image, clients: Arc::clone(&clients), name }
    };
    all.into_iter().map(case).collect()
}

impl Outcome {
    /// Everything that is wrong, in words, and where the folders now lie; nothing if all is right.
    pub fn report(&self) -> Result<String> {
        let mut report = String::new();
        for Wrong { what, image } in &self.wrong {
            let folder = tempfile::Builder::new().prefix("crash-image-").tempdir()?;
            image.write(folder.path())?;
            let _ = writeln!(report, "{what}\n  {} has it", folder.keep().display());
        }
        Ok(report)
    }
}

impl Shared {
    fn work(&self, receiver: &Mutex<Receiver<Case>>) -> Result<()> {
        let opener = Judge::new()?;
        loop {
            let Ok(case) = lock(receiver).recv() else { return Ok(()) };
            let known = lock(&self.found).get(&case.fingerprint).cloned();
            let found = known.unwrap_or_else(|| {
                self.opened.fetch_add(1, Ordering::Relaxed);
                let found = Arc::new(opener.open(&case.image));
                lock(&self.found).insert(case.fingerprint, Arc::clone(&found));
                found
            });
            let wrong = match &*found {
                Ok(found) => judge(found, &case.clients).err().map(|error| format!("{error:#}")),
                Err(error) => Some(format!("{error:#}")),
            };
            if let Some(wrong) = wrong {
                let what = format!("{wrong}\n  {}", case.name);
                lock(&self.wrong).push(Wrong { what, image: case.image });
            }
        }
    }
}

/// No code between lock and unlock panics half-way through a change.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
