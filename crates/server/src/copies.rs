//! Second copies as the server makes them: where to, how often, and who asked for one. They are
//! made on a thread of their own, so that nobody waits for a place that is slow.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use longshore_backup::{Made, Place, Service, Shipping, Status, Wanted};
use longshore_engine::TimeMs;
use longshore_node::{Node, line_of, wall_now};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

/// Bases that may wait to be made.
const WAITING_MAX: usize = 4;
/// Bases that were asked for and are remembered.
const REMEMBERED_MAX: usize = 100;
/// How long the end of the journal may take to be sent when the server stops.
const GRACE: Duration = Duration::from_secs(5);

/// Where copies go, and how often.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ShipConfig {
    /// Where copies are sent all the time.
    pub to: Option<String>,
    /// How often what is new of the journal is sent.
    pub every: Duration,
    /// How often a base is made.
    pub base_every: Duration,
    /// For how long any time can be gone back to.
    pub keep: Duration,
    /// Bytes of journal that a shard keeps at most for a place that does not take them.
    pub journal_bytes_max: u64,
    /// Places that may be named for a copy, and what is below them.
    pub allow: Vec<String>,
}

impl Default for ShipConfig {
    fn default() -> Self {
        Self {
            to: None,
            every: Duration::from_secs(1),
            base_every: Duration::from_secs(6 * 3600),
            keep: Duration::from_secs(7 * 24 * 3600),
            journal_bytes_max: 1 << 30,
            allow: Vec::new(),
        }
    }
}

impl ShipConfig {
    /// Whether somebody may name this place: a server writes as its own user, whoever asks.
    pub(crate) fn allows(&self, url: &str) -> bool {
        let named = |allowed: &String| {
            let allowed = allowed.trim_end_matches('/');
            let below = url.strip_prefix(allowed).and_then(|rest| rest.strip_prefix('/'));
            url == allowed || below.is_some_and(|rest| !rest.split('/').any(|it| it == ".."))
        };
        self.to.as_deref() == Some(url) || self.allow.iter().any(named)
    }
}

/// How a base is that somebody asked for.
#[derive(Clone, Debug)]
pub(crate) enum Progress {
    /// It waits or is being made.
    Running,
    /// It is whole.
    Made(Made),
    /// It was not made.
    Failed(String),
}

/// A base that somebody asked for.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) id: Uuid,
    pub(crate) to: String,
    pub(crate) by: String,
    pub(crate) at: TimeMs,
    pub(crate) progress: Progress,
}

/// What makes the copies of this server.
#[derive(Debug)]
pub(crate) struct Copies {
    pub(crate) config: ShipConfig,
    pub(crate) status: Arc<Status>,
    wanted: mpsc::Sender<Wanted>,
    asked: Arc<Mutex<VecDeque<Asked>>>,
    ending: Mutex<Option<(oneshot::Sender<()>, JoinHandle<()>)>>,
}

/// Why no base was begun.
#[derive(Debug)]
pub(crate) enum NotBegun {
    /// Nobody says where to.
    Nowhere,
    /// The place may not be named.
    NotAllowed,
    /// It is no place.
    NoPlace(String),
    /// So many wait already.
    TooMany,
}

impl Copies {
    /// Starts the thread, unless the configuration names no place.
    pub(crate) fn start(config: &ShipConfig, node: &Node) -> io::Result<Option<Arc<Self>>> {
        if config.to.is_none() && config.allow.is_empty() {
            return Ok(None);
        }
        let place = match &config.to {
            Some(to) => Some(Place::open(to, true).map_err(io::Error::other)?),
            None => None,
        };
        let dir = node.dir().ok_or_else(|| io::Error::other("the store is closed"))?;
        let line = line_of(&dir).map_err(io::Error::other)?;
        let store = node.stats().manifest.store_id;
        let sources = node.sources();
        let status = Arc::new(Status::new(sources.clone(), config.to.clone()));
        let shipping = place.map(|place| Shipping {
            place,
            every: config.every,
            base_every: config.base_every,
            keep: config.keep,
        });
        let bytes_max = config.journal_bytes_max;
        let of = Arc::clone(&status);
        let service = Service::new((store, line), sources, shipping, bytes_max, of);
        let (wanted, asked) = mpsc::channel(WAITING_MAX);
        let (end, ended) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let node = node.clone();
        let work = async move {
            node.started().await;
            // Or it would keep the store from being let go.
            drop(node);
            // Nobody being left to say so means the same.
            let end = async { drop(ended.await) };
            service.run(asked, end, GRACE).await;
        };
        let run = move || {
            runtime.block_on(work);
            // What waits for a disk that does not answer holds nobody up.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("copies".into()).spawn(run)?;
        let ending = Mutex::new(Some((end, thread)));
        let config = config.clone();
        Ok(Some(Arc::new(Self { config, status, wanted, asked: Arc::default(), ending })))
    }

    /// Sends what is left of the journal and ends the thread. The shards have stopped.
    pub(crate) async fn end(&self) {
        let ending = self.ending.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((end, thread)) = ending else { return };
        drop(end);
        if let Ok(Err(_)) = tokio::task::spawn_blocking(move || thread.join()).await {
            tracing::error!("the thread that makes copies panicked");
        }
    }

    /// Has a base made, and answers how it is called.
    pub(crate) fn begin(&self, to: Option<&str>, by: &str) -> Result<Asked, NotBegun> {
        let to = to.or(self.config.to.as_deref()).ok_or(NotBegun::Nowhere)?;
        if !self.config.allows(to) {
            return Err(NotBegun::NotAllowed);
        }
        let place = match self.config.to.as_deref() {
            Some(own) if own == to => None,
            _ => Some(Place::open(to, true).map_err(|why| NotBegun::NoPlace(why.to_string()))?),
        };
        let (reply, answer) = oneshot::channel();
        self.wanted.try_send(Wanted { place, reply }).map_err(|_| NotBegun::TooMany)?;
        let asked = Asked {
            id: Uuid::now_v7(),
            to: to.to_owned(),
            by: by.to_owned(),
            at: wall_now(),
            progress: Progress::Running,
        };
        tracing::info!(id = %asked.id, to, by, "a copy of the store was asked for");
        let mut all = lock(&self.asked);
        all.push_back(asked.clone());
        if all.len() > REMEMBERED_MAX {
            all.pop_front();
        }
        drop(all);
        let (id, all) = (asked.id, Arc::clone(&self.asked));
        tokio::spawn(async move {
            let progress = match answer.await {
                Ok(Ok(made)) => Progress::Made(made),
                Ok(Err(why)) => Progress::Failed(why),
                Err(_) => Progress::Failed("the server ended".to_owned()),
            };
            if let Some(asked) = lock(&all).iter_mut().find(|asked| asked.id == id) {
                asked.progress = progress;
            }
        });
        Ok(asked)
    }

    /// The bases that were asked for, the newest last.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        lock(&self.asked).iter().cloned().collect()
    }
}

/// No code between lock and unlock panics half-way through a change.
fn lock(all: &Mutex<VecDeque<Asked>>) -> MutexGuard<'_, VecDeque<Asked>> {
    all.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_places_that_the_configuration_names_are_written_to() {
        let allow = vec!["/backups".to_owned(), "s3://bucket/".to_owned()];
        let config = ShipConfig { to: Some("/own".into()), allow, ..ShipConfig::default() };
        for url in ["/own", "/backups", "/backups/a/b", "s3://bucket", "s3://bucket/x"] {
            assert!(config.allows(url), "{url}");
        }
        for url in ["/own/x", "/backups2", "/backups/../etc", "s3://bucket2/x", "/", ""] {
            assert!(!config.allows(url), "{url}");
        }
    }
}
