//! The control plane's way to the engine: jobs that run between batches, on the driver's thread.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::time::Duration;

use crate::base::Timestamp;
use crate::config::Policy;
use crate::engine::effects::Effects;
use crate::net::{Mode, Waker};
use crate::store::{BackupDone, StoreStats};

use super::counters::Counters;
use super::links::Links;
use super::parked::Confirm;

/// Something to do with the engine. What it returns is told when its changes are durable, or
/// lost; at once if it made none.
pub type Job<M> = Box<dyn FnOnce(&mut Bench<'_, M>) -> Option<Confirm> + Send>;

/// The name of a fact, and what it says now; `None` if it is forgotten.
pub type Fact = (Box<str>, Option<Box<[u8]>>);

/// What a job works with.
pub struct Bench<'a, M> {
    /// The engine.
    pub machine: &'a mut M,
    /// The present moment.
    pub now: Timestamp,
    /// Where the engine's effects go: they are carried out as those of a packet are.
    pub fx: &'a mut Effects,
    /// The interfaces.
    pub links: &'a Links,
    /// What was counted.
    pub counters: &'a Counters,
    /// Serve or observe.
    pub mode: Mode,
    /// Whether time is known to be right.
    pub clock_trusted: bool,
    /// The store's figures.
    pub store: StoreStats,
    /// Why the store cannot write, if so.
    pub store_trouble: Option<&'a str>,
    /// How far the disk is behind.
    pub store_lag: Duration,
    /// Facts of the control plane that were noted, or forgotten.
    pub facts: Vec<Fact>,
    /// A policy to put in force after the job.
    pub policy: Option<Arc<Policy>>,
    /// Copies of the store to make, and whom to tell.
    pub backups: Vec<(PathBuf, BackupDone)>,
}

/// Hands jobs to the driver; one for each thread that has some.
pub struct Jobs<M> {
    queue: SyncSender<Job<M>>,
    waker: Waker,
}

impl<M> Clone for Jobs<M> {
    fn clone(&self) -> Jobs<M> {
        Jobs { queue: self.queue.clone(), waker: self.waker.clone() }
    }
}

/// Why a job was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JobError {
    /// Too many wait already.
    #[error("too many requests are waiting; try again")]
    Busy,
    /// The driver has ended.
    #[error("the server is stopping")]
    Stopped,
    /// Its changes could not be made durable and were taken back.
    #[error("{0}")]
    Lost(String),
}

impl<M: 'static> Jobs<M> {
    pub(super) fn new(queue: SyncSender<Job<M>>, waker: Waker) -> Jobs<M> {
        Jobs { queue, waker }
    }

    /// Queues a job without waiting.
    pub fn post(&self, job: Job<M>) -> Result<(), JobError> {
        self.queue.try_send(job).map_err(|e| match e {
            TrySendError::Full(_) => JobError::Busy,
            TrySendError::Disconnected(_) => JobError::Stopped,
        })?;
        self.waker.wake();
        Ok(())
    }

    /// Runs `job` and waits until its changes are durable.
    pub fn call<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Bench<'_, M>) -> T + Send + 'static,
    ) -> Result<T, JobError> {
        let (sender, answer) = mpsc::sync_channel(1);
        self.post(Box::new(move |bench| {
            let found = job(bench);
            Some(Box::new(move |outcome: Result<(), &str>| {
                // Whoever asked may have gone.
                let _ = sender.send(outcome.map(|()| found).map_err(str::to_owned));
            }))
        }))?;
        answer.recv().map_err(|_| JobError::Stopped)?.map_err(JobError::Lost)
    }

    /// Puts a policy in force: sockets of interfaces that stay are not touched.
    pub fn set_policy(&self, policy: Arc<Policy>) -> Result<(), JobError> {
        self.call(move |bench| bench.policy = Some(policy))
    }
}
