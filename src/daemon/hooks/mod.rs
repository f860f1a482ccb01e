//! `[[hook]]`: others are told of what happens to leases, at least once and in order.
//!
//! The audit archive is the outbox: what is committed is there, however the server ends. Each hook
//! reads it by itself, from its own place on ([`cursor`]), on a thread that the packets do not
//! know: one that hangs or fails delays nobody, and holds a page of records in memory.

pub(super) mod command;
mod cursor;
mod feeder;
pub(super) mod webhook;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::watch;
use tokio::task::JoinHandle as Task;

use crate::base::Timestamp;
use crate::config::Policy;
use crate::config::policy::HookPolicy;
use crate::store::archive::Archive;

use super::privilege;
use feeder::Feeder;

/// How a hook is doing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HookStatus {
    /// Events that it was told of since the start.
    pub(super) delivered: u64,
    /// Attempts that failed.
    pub(super) failed: u64,
    /// Events that the receiver would not have.
    pub(super) refused: u64,
    /// Audit records that went by their age before it was told.
    pub(super) missed: u64,
    /// The record that it hears of next.
    pub(super) next: u64,
}

/// How each hook is doing.
#[derive(Clone, Default)]
pub(super) struct Statuses(Arc<Mutex<BTreeMap<Arc<str>, HookStatus>>>);

impl Statuses {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, HookStatus>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of them, by name.
    pub(super) fn all(&self) -> BTreeMap<Arc<str>, HookStatus> {
        self.lock().clone()
    }
}

/// What hooks need of the server.
pub(super) struct Outbox {
    /// What is told.
    pub(super) archive: Archive,
    /// Where the places of hooks are kept.
    pub(super) dir: PathBuf,
    /// The time that signatures carry.
    pub(super) now: Box<dyn Fn() -> Timestamp + Send + Sync>,
    /// How they are doing.
    pub(super) statuses: Statuses,
}

/// The running hooks; they end when it is dropped.
pub(super) struct Hooks {
    policy: Option<watch::Sender<Arc<Policy>>>,
    thread: Option<JoinHandle<()>>,
}

impl Hooks {
    /// Starts them.
    pub(super) fn start(outbox: Outbox, policy: Arc<Policy>) -> std::io::Result<Hooks> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (sender, policies) = watch::channel(policy);
        let run = move || {
            // What is run from here must not have the right to the network's raw frames.
            privilege::drop_all();
            runtime.block_on(supervise(Arc::new(outbox), policies));
            // A name that is still looked up is not waited for.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("hooks".into()).spawn(run)?;
        Ok(Hooks { policy: Some(sender), thread: Some(thread) })
    }

    /// Other hooks from now on. Those that stay as they are go on.
    pub(super) fn set_policy(&self, policy: &Arc<Policy>) {
        self.policy.iter().for_each(|sender| drop(sender.send_replace(policy.clone())));
    }
}

impl Drop for Hooks {
    fn drop(&mut self) {
        self.policy = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Keeps a task for each hook, until the policy's sender is gone.
async fn supervise(outbox: Arc<Outbox>, mut policies: watch::Receiver<Arc<Policy>>) {
    let mut tasks: BTreeMap<Arc<str>, (HookPolicy, Task<()>)> = BTreeMap::new();
    loop {
        let policy = policies.borrow_and_update().clone();
        let is_wanted = |hook: &HookPolicy| policy.hooks.iter().any(|wanted| wanted == hook);
        let (stay, gone): (BTreeMap<_, _>, BTreeMap<_, _>) =
            tasks.into_iter().partition(|(_, (hook, _))| is_wanted(hook));
        tasks = stay;
        end(gone).await;
        let names: Vec<Arc<str>> = policy.hooks.iter().map(|hook| hook.name.clone()).collect();
        cursor::forget_others(&outbox.dir, &names);
        outbox.statuses.lock().retain(|name, _| names.contains(name));
        for hook in policy.hooks.iter() {
            if tasks.contains_key(&hook.name) {
                continue;
            }
            let feeder = Feeder::new(hook.clone(), outbox.clone(), policies.clone());
            tasks.insert(hook.name.clone(), (hook.clone(), tokio::spawn(feeder.run())));
        }
        if policies.changed().await.is_err() {
            break;
        }
    }
    end(tasks).await;
}

/// Ends tasks, with what they run.
async fn end(tasks: BTreeMap<Arc<str>, (HookPolicy, Task<()>)>) {
    for (_, (_, task)) in tasks {
        task.abort();
        let _ = task.await;
    }
}
