//! The threads that connections run on. Each has a runtime of its own, and a connection stays
//! where it was put, so that none of them ever wakes another.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{JoinHandle, available_parallelism};

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use super::app::App;
use crate::running::Ticks;

/// The threads that connections run on. Dropping them ends the threads with all that runs there.
#[derive(Debug)]
pub(super) struct Threads(Vec<Thread>);

#[derive(Debug)]
struct Thread {
    handle: Handle,
    app: Arc<App>,
    /// For how long it has run.
    ticks: Arc<Ticks>,
    /// Connections that were put here and have not ended.
    connections: Arc<AtomicUsize>,
    end: Option<oneshot::Sender<()>>,
    running: Option<JoinHandle<()>>,
}

/// Where a connection runs. It counts there until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) handle: Handle,
    pub(super) app: Arc<App>,
    pub(super) ticks: Arc<Ticks>,
    connections: Arc<AtomicUsize>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Threads {
    /// Starts them: one for every two cores, as shards need as much. Measured on two cores, with
    /// 64 connections: a second thread costs a sixth more processor time per request.
    pub(super) fn start(app: &App) -> io::Result<Self> {
        let cores = available_parallelism().map_or(1, usize::from);
        let threads = (0..cores.div_ceil(2)).map(|index| Thread::start(index, app));
        Ok(Self(threads.collect::<Result<_, _>>()?))
    }

    /// A place on the thread that has the fewest connections.
    pub(super) fn place(&self) -> Place {
        let connections = |thread: &&Thread| thread.connections.load(Ordering::Relaxed);
        let thread = self.0.iter().min_by_key(connections).expect("there is at least one thread");
        thread.connections.fetch_add(1, Ordering::Relaxed);
        Place {
            handle: thread.handle.clone(),
            app: Arc::clone(&thread.app),
            ticks: Arc::clone(&thread.ticks),
            connections: Arc::clone(&thread.connections),
        }
    }
}

impl Thread {
    fn start(index: usize, app: &App) -> io::Result<Self> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .thread_name(format!("read-{index}"))
            .build()?;
        let (node, courier) = app.node.for_thread();
        runtime.spawn(courier);
        let ticks = Arc::new(Ticks::new());
        let clock = Arc::clone(&ticks);
        runtime.spawn(async move { clock.run().await });
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel();
        let run = move || {
            // It is never sent anything: the sender's drop ends it.
            let _ = runtime.block_on(ended);
            // A read under way goes on until it is done, and nobody hears of it.
            runtime.shutdown_background();
        };
        let running = std::thread::Builder::new().name(format!("http-{index}")).spawn(run)?;
        Ok(Self {
            handle,
            app: Arc::new(app.through(node)),
            ticks,
            connections: Arc::default(),
            end: Some(end),
            running: Some(running),
        })
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(running) = self.running.take()
            && running.join().is_err()
        {
            tracing::error!("a thread of connections panicked");
        }
    }
}
