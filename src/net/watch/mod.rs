//! VMs that are watched for failures: one thread with one wait for the ends of their processes,
//! their links and the answers to their probes. What that amounts to is decided by
//! [`crate::watch`].
//!
//! Nothing is allocated for a probe or an answer. Whoever is told is told on the watcher's thread,
//! at the moment of the verdict.

mod links;
mod port;
mod process;
mod run;
mod segment;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use crate::base::LinkId;
use crate::watch::{ADDRS_MAX, Health, Reporter, Verdict, Watch, WatchId};

use super::poll::Waker;

/// What the watcher has to tell.
#[derive(Clone, Debug)]
pub enum Event {
    /// A VM is watched from now on.
    Watching(WatchId),
    /// It cannot be watched. That is no verdict on it: whether it failed before is not known.
    Refused {
        /// Which.
        id: WatchId,
        /// Why not.
        why: RefusedWatch,
    },
    /// What is to be said of a VM.
    Verdict {
        /// Which.
        id: WatchId,
        /// What.
        verdict: Verdict,
        /// When; its moments are those of [`Handle::instant`].
        at: Instant,
    },
    /// The watcher itself does not get on, and keeps trying: it may see less than it should.
    Trouble(String),
}

/// Why a VM cannot be watched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusedWatch {
    /// It has too many addresses.
    #[error("want at most {most} addresses, got {0}", most = ADDRS_MAX)]
    Addrs(usize),
    /// No interface of that name.
    #[error("no interface {0}")]
    NoPort(Arc<str>),
    /// The interface is down, or there is nobody behind it.
    #[error("interface {0} has no link")]
    NoLink(Arc<str>),
    /// The interface carries no Ethernet.
    #[error("interface {0} is no ethernet")]
    NoEthernet(Arc<str>),
    /// No process has this id.
    #[error("no process {0}")]
    NoProcess(u32),
    /// The file with the process id is of no use.
    #[error("process id in {path}: {why}", path = .0.display(), why = .1)]
    PidFile(PathBuf, String),
    /// The system refuses what watching takes.
    #[error("{0}")]
    Io(String),
}

/// What the thread is asked for.
enum Command {
    Watch(Box<Watch>),
    Unwatch(WatchId),
    Pause(WatchId, Duration),
    Resume(WatchId),
    Heartbeat(WatchId),
    Report(WatchId, Reporter, Health),
    Stop,
}

/// Starts watchers.
#[derive(Debug)]
pub struct Watcher;

impl Watcher {
    /// Starts a watcher in the network namespace of this thread. `sink` is called on its thread,
    /// and nothing is seen until it returns; it may use a handle, but a handle of its own would keep the
    /// watcher from ever ending. Needs `CAP_NET_RAW` as soon as something is probed.
    pub fn start(sink: impl FnMut(Event) + Send + 'static) -> io::Result<Handle> {
        let (sender, commands) = mpsc::channel();
        let origin = Instant::now();
        let run = run::Run::new(commands, origin, sink)?;
        let inner = Inner { commands: sender, waker: run.waker(), origin };
        thread::Builder::new().name("watch".to_owned()).spawn(move || run.run())?;
        Ok(Handle(Arc::new(inner)))
    }

    /// The same, with a channel for a sink.
    pub fn start_with_channel() -> io::Result<(Handle, Receiver<Event>)> {
        let (sender, events) = mpsc::channel();
        // Nobody listens any more: then there is nobody to tell.
        let handle = Watcher::start(move |event| drop(sender.send(event)))?;
        Ok((handle, events))
    }
}

/// A running watcher, which ends with the last of its handles. Calls return at once; what comes of
/// them is told as an [`Event`].
#[derive(Clone, Debug)]
pub struct Handle(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    commands: Sender<Command>,
    waker: Waker,
    origin: Instant,
}

impl Handle {
    /// Watches a VM that runs, in the place of an earlier watch of the same id.
    pub fn watch(&self, watch: Watch) {
        self.0.send(Command::Watch(Box::new(watch)));
    }

    /// Ends a watch. A verdict that was on its way may still arrive.
    pub fn unwatch(&self, id: WatchId) {
        self.0.send(Command::Unwatch(id));
    }

    /// Says nothing of a VM for so long, an hour at most: its migration was announced.
    pub fn pause(&self, id: WatchId, most: Duration) {
        self.0.send(Command::Pause(id, most));
    }

    /// Ends a pause before its time; a process that ended and a link that was lost in it are
    /// failures then.
    pub fn resume(&self, id: WatchId) {
        self.0.send(Command::Resume(id));
    }

    /// The agent of the VM's host was heard.
    pub fn heartbeat(&self, id: WatchId) {
        self.0.send(Command::Heartbeat(id));
    }

    /// Somebody says how the VM is.
    pub fn report(&self, id: WatchId, by: Reporter, health: Health) {
        self.0.send(Command::Report(id, by, health));
    }

    /// When a moment of a verdict was.
    pub fn instant(&self, moment: crate::watch::Moment) -> Instant {
        self.0.origin + Duration::from_nanos(moment.0)
    }
}

impl Inner {
    fn send(&self, command: Command) {
        // The thread ends only after its last handle, or if the sink panicked.
        let _ = self.commands.send(command);
        self.waker.wake();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.send(Command::Stop);
    }
}

/// An interface that its own frames and those of its neighbours are seen on.
type SegmentId = LinkId;
