//! Makes second copies for as long as the server runs: the journal of each shard piece by piece,
//! all the time, and bases now and then or when somebody wants one. Nothing of the server waits for
//! it, and what it keeps of the journal is bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use longshore_engine::Position;
use longshore_node::{JournalPin, Source, wall_now};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

use crate::base::BaseMaker;
use crate::catalogue::Catalogue;
use crate::error::BackupError;
use crate::journal::Pieces;
use crate::names::{Line, first_of, taken_of};
use crate::piece::{PIECE_BYTES_MAX, Piece};
use crate::place::Place;
use crate::retention::{read_catalogue, tidy};
use crate::status::{BaseTold, Status};

/// How long is waited after a failure, at first and at most; twice as long each time.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// How often is looked whether the journal has grown too much.
const LOOK: Duration = Duration::from_millis(500);

/// How copies are sent all the time.
#[derive(Clone, Debug)]
pub struct Shipping {
    /// Where to.
    pub place: Place,
    /// How often what is new of the journal is sent.
    pub every: Duration,
    /// How often a base is made.
    pub base_every: Duration,
    /// For how long any time can be gone back to.
    pub keep: Duration,
}

/// A base that somebody wants.
#[derive(Debug)]
pub struct Wanted {
    /// Where to; where copies are sent all the time, if this is none.
    pub place: Option<Place>,
    /// Hears when it is whole, or why it is not.
    pub reply: oneshot::Sender<Result<Made, String>>,
}

/// A base that was made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Made {
    /// Where it is.
    pub to: String,
    /// What it consists of.
    pub catalogue: Catalogue,
}

/// What makes copies of one store.
#[derive(Debug)]
pub struct Service {
    line: Line,
    sources: Vec<Source>,
    shipping: Option<Shipping>,
    /// Bytes of journal that a shard may keep for a copy.
    journal_bytes_max: u64,
    status: Arc<Status>,
    needs_base: AtomicBool,
    /// What is known of the place where copies are sent all the time: what an attempt at a base
    /// has sent is not sent again by the next one.
    maker: tokio::sync::Mutex<Option<BaseMaker>>,
}

/// The journal of one shard that is sent all the time.
struct ShardShipping {
    index: usize,
    source: Source,
    pin: Option<(JournalPin, Position)>,
    /// Its pieces, and from where on they have no gap.
    pieces: Option<(Pieces, Position)>,
    refused: bool,
}

impl Service {
    /// Of the shards that `status` tells of.
    pub fn new(
        (store, line): (Uuid, Uuid),
        sources: Vec<Source>,
        shipping: Option<Shipping>,
        journal_bytes_max: u64,
        status: Arc<Status>,
    ) -> Self {
        let line = Line { store, line };
        let needs_base = AtomicBool::new(true);
        let maker = tokio::sync::Mutex::default();
        Self { line, sources, shipping, journal_bytes_max, status, needs_base, maker }
    }

    /// Works until `end`, which comes when the shards have stopped; then sends what is left of the
    /// journal, for `grace` at most.
    pub async fn run(
        self,
        wanted: mpsc::Receiver<Wanted>,
        end: impl Future<Output = ()>,
        grace: Duration,
    ) {
        let mut shards = self.shards();
        tokio::select! {
            () = self.ship(&mut shards) => {}
            () = self.bases(wanted) => {}
            () = end => {}
        }
        let Some(shipping) = &self.shipping else { return };
        let rest = async {
            for shard in &mut shards {
                if let Err(error) = self.ship_shard(shipping, shard).await {
                    let shard = shard.source.index();
                    tracing::warn!(shard, %error, "the end of the journal was not sent");
                }
            }
        };
        if tokio::time::timeout(grace, rest).await.is_err() {
            tracing::warn!("the end of the journal was not sent in time");
        }
    }

    fn shards(&self) -> Vec<ShardShipping> {
        let shards = self.sources.iter().enumerate();
        shards
            .map(|(index, source)| ShardShipping {
                index,
                source: source.clone(),
                pin: None,
                pieces: None,
                refused: false,
            })
            .collect()
    }

    /// Sends the journal as it grows.
    async fn ship(&self, shards: &mut [ShardShipping]) {
        let Some(shipping) = &self.shipping else { return std::future::pending().await };
        let mut retry = RETRY;
        loop {
            let mut failed = None;
            for shard in &mut *shards {
                if !shard.refused
                    && let Err(error) = self.ship_shard(shipping, shard).await
                {
                    self.note_failure(shard, &error);
                    failed = Some(error);
                }
            }
            let refused = shards.iter().any(|shard| shard.refused);
            let wait = if failed.is_some() {
                let wait = retry.max(shipping.every);
                retry = RETRY_MAX.min(2 * retry);
                wait
            } else {
                retry = RETRY;
                if !refused {
                    self.status.change(|told| told.error = None);
                }
                shipping.every
            };
            sleep(wait).await;
        }
    }

    fn note_failure(&self, shard: &mut ShardShipping, error: &BackupError) {
        let number = shard.source.index();
        self.status.change(|told| {
            told.failures_total += 1;
            told.error = Some(error.to_string());
        });
        match error {
            BackupError::OtherWriter { .. } => {
                tracing::error!(shard = number, %error, "nothing more of this shard is sent");
                (shard.refused, shard.pieces, shard.pin) = (true, None, None);
                self.status.change(|told| told.refused = true);
                self.status.sent(shard.index, None, false);
            }
            BackupError::LetGo { .. } => {
                tracing::error!(shard = number, %error, "it is let go: a new base is needed");
                self.let_go(shard);
            }
            BackupError::Journal(longshore_journal::ReadError::Truncated { .. }) => {
                tracing::warn!(shard = number, %error, "a new base is needed");
                self.let_go(shard);
            }
            _ => tracing::warn!(shard = number, %error, "the journal was not sent"),
        }
    }

    fn let_go(&self, shard: &mut ShardShipping) {
        (shard.pieces, shard.pin) = (None, None);
        self.status.change(|told| told.let_go_total += 1);
        self.status.sent(shard.index, None, false);
        self.needs_base.store(true, Ordering::Relaxed);
    }

    /// Sends what there is of a shard's journal, unless it has grown too much.
    async fn ship_shard(
        &self,
        shipping: &Shipping,
        shard: &mut ShardShipping,
    ) -> Result<(), BackupError> {
        if shard.pieces.is_none() {
            let pin = if let Some(pin) = shard.pin.take() {
                pin
            } else {
                let pin = shard.source.pin(Position::START);
                (pin, shard.source.kept()?.next())
            };
            let needed = pin.1;
            let pinned = &shard.pin.insert(pin).0;
            let begun = self.begin(&shipping.place, &shard.source);
            let (pieces, from) = self.unless_grown(&shard.source, needed, begun).await?;
            pinned.move_to(pieces.next());
            let sent = Some((from, pieces.next()));
            self.status.sent(shard.index, sent, pieces.next() > shard.source.durable());
            shard.pieces = Some((pieces, from));
        }
        let Some((pieces, from)) = &mut shard.pieces else { return Ok(()) };
        // The other shards have their turn once this much is sent, however much comes meanwhile.
        let end = shard.source.durable();
        loop {
            // What is durable by now is sent by the next pieces.
            let durable = shard.source.durable();
            let next = pieces.next();
            let sent = self.unless_grown(&shard.source, next, pieces.send_one()).await?;
            if let Some((pin, _)) = &shard.pin {
                pin.move_to(pieces.next());
            }
            let complete = pieces.next() > durable;
            self.status.sent(shard.index, Some((*from, pieces.next())), complete);
            let Some(bytes) = sent else { return Ok(()) };
            self.status.change(|told| {
                told.pieces_total += 1;
                told.bytes_total += bytes;
            });
            if pieces.next() > end {
                return Ok(());
            }
        }
    }

    /// From where on a shard's journal is to be sent: from what is there last, where this server
    /// has what follows, and else from what a start would need.
    async fn begin(
        &self,
        place: &Place,
        source: &Source,
    ) -> Result<(Pieces, Position), BackupError> {
        let shard = source.index();
        let newest = self.newest(place).await?;
        let base = newest.as_ref().and_then(|base| base.shards.get(shard as usize));
        let after = base.map(|base| self.line.piece(shard, Position(base.kept())));
        let pieces = place.list(&self.line.pieces(shard), after.as_ref()).await?;
        let from = match pieces.last() {
            None => None,
            Some(path) => {
                let bytes = place.get(path, PIECE_BYTES_MAX).await?;
                let piece = Piece::decode(&bytes, self.line.store, shard);
                let piece = piece.ok().filter(|piece| first_of(path) == Some(piece.first));
                let (first, name) = (source.first()?, path.to_string());
                match piece {
                    Some(piece) if piece.last() > source.durable() => {
                        return Err(BackupError::OtherWriter { name });
                    }
                    // It is compared.
                    Some(piece) if piece.first >= first => Some(piece.first),
                    Some(piece) if piece.last().next() >= first => Some(piece.last().next()),
                    _ => None,
                }
            }
        };
        let from = if let Some(from) = from {
            from
        } else {
            self.needs_base.store(true, Ordering::Relaxed);
            source.kept()?.next()
        };
        Ok((Pieces::new(place, self.line, source, from)?, from))
    }

    /// Does it, unless the journal from a position on grows beyond what a shard may keep, or the
    /// disk has no room for that.
    async fn unless_grown<T>(
        &self,
        source: &Source,
        from: Position,
        work: impl Future<Output = Result<T, BackupError>>,
    ) -> Result<T, BackupError> {
        tokio::select! {
            biased;
            done = work => match done {
                // A place that refuses at once gives no time to look meanwhile.
                Err(_) if self.has_grown(source, from) => Err(self.too_much(source)),
                done => done,
            },
            error = self.grown(source, from) => Err(error),
        }
    }

    fn has_grown(&self, source: &Source, from: Position) -> bool {
        let bytes = source.follow(from).map_or(0, |follow| follow.lag_bytes());
        bytes > self.journal_bytes_max || (bytes > 0 && source.is_short())
    }

    fn too_much(&self, source: &Source) -> BackupError {
        BackupError::LetGo { shard: source.index(), bytes_max: self.journal_bytes_max }
    }

    async fn grown(&self, source: &Source, from: Position) -> BackupError {
        loop {
            sleep(LOOK).await;
            if self.has_grown(source, from) {
                return self.too_much(source);
            }
        }
    }

    /// Makes bases: those that are wanted, and where copies are sent all the time, one at first,
    /// one each time that some has passed, and one after a gap.
    async fn bases(&self, mut wanted: mpsc::Receiver<Wanted>) {
        let (mut due, mut retry) = (Instant::now(), RETRY);
        loop {
            let asked = tokio::select! {
                asked = wanted.recv() => match asked {
                    Some(asked) => Some(asked),
                    None => return std::future::pending().await,
                },
                () = self.wait_for_due(due) => None,
            };
            let place = asked.as_ref().and_then(|asked| asked.place.clone());
            let own = self.shipping.as_ref().map(|shipping| &shipping.place);
            let made = match (place, own) {
                (Some(place), own) if own.is_none_or(|own| own.url() != place.url()) => {
                    self.make_once(&place).await
                }
                (_, Some(own)) => {
                    let made = self.make(own).await;
                    due = Instant::now() + self.after_base(&made, &mut retry);
                    made
                }
                _ => Err(BackupError::Ended),
            };
            self.status.change(|told| {
                told.base = None;
                told.base_error = made.as_ref().err().map(ToString::to_string);
            });
            if let Some(asked) = asked {
                drop(asked.reply.send(made.map_err(|error| error.to_string())));
            }
        }
    }

    async fn wait_for_due(&self, due: Instant) {
        if self.shipping.is_none() {
            return std::future::pending().await;
        }
        // After a gap one is due as soon as the journal is sent again.
        while Instant::now() < due {
            let look = Instant::now() + LOOK;
            sleep_until(due.min(look)).await;
            let sent = self.status.told().shards.iter().all(|shard| shard.sent.is_some());
            if sent && self.needs_base.load(Ordering::Relaxed) && self.status_is_quiet() {
                return;
            }
        }
    }

    /// Whether the last base did not fail: then the time for the next one counts.
    fn status_is_quiet(&self) -> bool {
        self.status.told().base_error.is_none()
    }

    /// How long until the next base.
    fn after_base(&self, made: &Result<Made, BackupError>, retry: &mut Duration) -> Duration {
        match made {
            Ok(_) => {
                *retry = RETRY;
                self.shipping.as_ref().map_or(RETRY_MAX, |shipping| shipping.base_every)
            }
            Err(error) => {
                tracing::warn!(%error, "no base was made");
                self.status.change(|told| told.failures_total += 1);
                let wait = *retry;
                *retry = RETRY_MAX.min(2 * *retry);
                wait
            }
        }
    }

    /// Makes a base where the journal is sent all the time.
    async fn make(&self, place: &Place) -> Result<Made, BackupError> {
        let made = self.while_pinned(self.make_beside(place)).await;
        if made.is_err() {
            self.needs_base.store(true, Ordering::Relaxed);
        }
        made
    }

    async fn make_beside(&self, place: &Place) -> Result<Made, BackupError> {
        self.sent_up_to(&vec![0; self.sources.len()]).await?;
        // A gap that comes from now on is noticed by the next one.
        self.needs_base.store(false, Ordering::Relaxed);
        let mut maker = self.maker.lock().await;
        let maker = match &mut *maker {
            Some(maker) => maker,
            none => {
                let newest = self.newest(place).await?;
                none.insert(BaseMaker::new(place, self.line, newest.as_ref()))
            }
        };
        let catalogue = maker.copy(&self.sources, &self.status).await?;
        let until: Vec<_> = catalogue.shards.iter().map(|shard| shard.until).collect();
        let firsts = self.sent_up_to(&until).await?;
        let row = catalogue.shards.iter().zip(&self.sources).zip(firsts);
        for ((shard, source), first) in row {
            // After a start what is sent all the time begins where it ended before, of which
            // nobody knows whether it has gaps: what is there is compared, what is not is sent.
            self.send(place, source, Position(shard.kept()).next(), first).await?;
        }
        let made = self.complete(place, catalogue).await?;
        let keep_ms = self.shipping.as_ref().map_or(u64::MAX, |it| it.keep.as_millis() as u64);
        match tidy(place, self.line, wall_now().0.saturating_sub(keep_ms)).await {
            Ok(0) => {}
            Ok(objects) => tracing::info!(objects, "copies that are too old were removed"),
            // The next base has another try.
            Err(error) => tracing::warn!(%error, "copies that are too old were not removed"),
        }
        self.note_bases(place).await?;
        Ok(made)
    }

    /// Waits until the journal was sent up to these positions, and answers for each shard from
    /// where on it is there without a gap.
    async fn sent_up_to(&self, until: &[u64]) -> Result<Vec<Position>, BackupError> {
        loop {
            let changed = self.status.changed.notified();
            let told = self.status.told();
            if told.refused {
                let name = told.error.unwrap_or_default();
                return Err(BackupError::OtherWriter { name });
            }
            let firsts = told.shards.iter().zip(until).map(|(shard, until)| {
                shard.sent.filter(|(_, next)| next.0 > *until).map(|(first, _)| first)
            });
            if let Some(firsts) = firsts.collect() {
                return Ok(firsts);
            }
            let looked = tokio::time::timeout(LOOK, changed).await;
            drop(looked);
        }
    }

    /// Sends a shard's journal from a position on, as far as before another one.
    async fn send(
        &self,
        place: &Place,
        source: &Source,
        from: Position,
        before: Position,
    ) -> Result<(), BackupError> {
        if from >= before {
            return Ok(());
        }
        let mut pieces = Pieces::new(place, self.line, source, from)?;
        while pieces.next() < before {
            if pieces.send_one().await?.is_none() {
                // It is durable, and told to others a moment later.
                sleep(LOOK / 10).await;
            }
        }
        Ok(())
    }

    /// Makes a base in another place, with as much of the journal as it needs.
    async fn make_once(&self, place: &Place) -> Result<Made, BackupError> {
        self.while_pinned(self.make_whole(place)).await
    }

    /// Does it while every shard's journal is pinned from where a start would need it, unless that
    /// grows too much.
    async fn while_pinned(
        &self,
        work: impl Future<Output = Result<Made, BackupError>>,
    ) -> Result<Made, BackupError> {
        let pins = self.sources.iter().map(|source| {
            let pin = source.pin(Position::START);
            Ok((pin, source.kept()?.next()))
        });
        let pins = pins.collect::<Result<Vec<_>, BackupError>>()?;
        let growing = pins.iter().zip(&self.sources);
        let growing = growing.map(|((_, from), source)| Box::pin(self.grown(source, *from)));
        tokio::select! {
            biased;
            made = work => made,
            (error, _, _) = futures_util::future::select_all(growing) => Err(error),
        }
    }

    async fn make_whole(&self, place: &Place) -> Result<Made, BackupError> {
        let newest = self.newest(place).await?;
        let mut maker = BaseMaker::new(place, self.line, newest.as_ref());
        let catalogue = maker.copy(&self.sources, &self.status).await?;
        for (shard, source) in catalogue.shards.iter().zip(&self.sources) {
            let (from, until) = (Position(shard.kept()).next(), Position(shard.until));
            self.send(place, source, from, until.next()).await?;
        }
        self.complete(place, catalogue).await
    }

    /// Writes the catalogue: from now on the base is whole.
    async fn complete(&self, place: &Place, catalogue: Catalogue) -> Result<Made, BackupError> {
        let path = self.line.base(catalogue.taken_ms, catalogue.id);
        place.put_patiently(&path, &Bytes::from(catalogue.encode())).await?;
        let (sent, total) = (catalogue.sent_bytes, catalogue.bytes());
        tracing::info!(to = place.url(), sent, total, "a base of the store was made");
        self.status.change(|told| told.last_base_bytes = Some((sent, total)));
        Ok(Made { to: place.url().to_owned(), catalogue })
    }

    async fn newest(&self, place: &Place) -> Result<Option<Catalogue>, BackupError> {
        let bases = place.list(&self.line.bases(), None).await?;
        match bases.last() {
            Some(path) => Ok(Some(read_catalogue(place, path).await?)),
            None => Ok(None),
        }
    }

    async fn note_bases(&self, place: &Place) -> Result<(), BackupError> {
        let bases = place.list(&self.line.bases(), None).await?;
        let told = bases.iter().filter_map(|path| {
            let id = path.filename()?.split_once('-')?.1.parse().ok()?;
            Some(BaseTold { id, taken_ms: taken_of(path)? })
        });
        let told = told.collect();
        self.status.change(|status| status.bases = told);
        Ok(())
    }
}
