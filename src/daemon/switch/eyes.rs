//! What agents see of actives, as they see it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::thread::{self, Thread};
use std::time::Duration;

use super::Word;
use super::reach::{HostName, Reach};

/// How soon an agent that is not there is looked for again.
const RETRY: Duration = Duration::from_secs(1);
/// How long an answer may take: agents wait for something to tell for some seconds.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// A thread for each host with guests of pairs, which waits for its agent's events.
#[derive(Debug)]
pub(super) struct Eyes {
    reach: Arc<Reach>,
    to: SyncSender<Word>,
    open: BTreeMap<HostName, Eye>,
}

/// One of them; it ends when this is dropped.
#[derive(Debug)]
struct Eye {
    closed: Arc<AtomicBool>,
    thread: Thread,
}

impl Eyes {
    /// With nothing to look at.
    pub(super) fn new(reach: Arc<Reach>, to: SyncSender<Word>) -> Eyes {
        Eyes { reach, to, open: BTreeMap::new() }
    }

    /// Looks at just these hosts.
    pub(super) fn follow(&mut self, hosts: &BTreeSet<HostName>) {
        self.open.retain(|host, _| hosts.contains(host));
        for host in
            hosts.iter().filter(|host| !self.open.contains_key(*host)).cloned().collect::<Vec<_>>()
        {
            match self.start(host.clone()) {
                Ok(eye) => drop(self.open.insert(host, eye)),
                Err(error) => tracing::error!(%error, "no thread to hear an agent by"),
            }
        }
    }

    fn start(&self, host: HostName) -> io::Result<Eye> {
        let closed = Arc::new(AtomicBool::new(false));
        let (reach, to, ends) = (self.reach.clone(), self.to.clone(), closed.clone());
        let look = move || look(&reach, &host, &to, &ends);
        let started = thread::Builder::new().name("switch-eyes".into()).spawn(look)?;
        Ok(Eye { closed, thread: started.thread().clone() })
    }
}

impl Drop for Eye {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

fn look(reach: &Reach, host: &HostName, to: &SyncSender<Word>, closed: &AtomicBool) {
    let (mut after, mut heard) = (0, true);
    let name = host.as_deref().unwrap_or("this host");
    while !closed.load(Ordering::Acquire) {
        let mut client = match reach.connect(host.as_deref(), ANSWERS_WITHIN) {
            Ok(client) => client,
            Err(error) => {
                if std::mem::replace(&mut heard, false) {
                    tracing::error!(host = name, %error, "nothing is heard of its guests");
                }
                thread::park_timeout(RETRY);
                continue;
            }
        };
        if !std::mem::replace(&mut heard, true) {
            tracing::info!(host = name, "its guests are heard of again");
        }
        while !closed.load(Ordering::Acquire) {
            let Ok(events) = client.events(after) else { break };
            let Some(last) = events.last() else { continue };
            after = last.number;
            if to.send(Word::Seen(host.clone(), events)).is_err() {
                return;
            }
        }
    }
}
