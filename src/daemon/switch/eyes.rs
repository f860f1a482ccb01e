//! What the agent sees of actives, as it sees it.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::thread::{self, Thread};
use std::time::Duration;

use crate::agent::client::Client;

use super::Word;

/// How soon an agent that is not there is looked for again.
const RETRY: Duration = Duration::from_secs(1);

/// A thread that waits for the agent's events, while there are pairs.
#[derive(Debug)]
pub(super) struct Eyes {
    open: Arc<AtomicBool>,
    thread: Thread,
}

impl Eyes {
    /// Starts the thread, with nothing to look at.
    pub(super) fn start(socket: &Path, to: SyncSender<Word>) -> io::Result<Eyes> {
        let open = Arc::new(AtomicBool::new(false));
        let (socket, opened) = (socket.to_owned(), open.clone());
        let look = move || follow(&socket, &to, &opened);
        let started = thread::Builder::new().name("switch-eyes".into()).spawn(look)?;
        Ok(Eyes { open, thread: started.thread().clone() })
    }

    /// Whether there is something to look at.
    pub(super) fn open(&self, open: bool) {
        if self.open.swap(open, Ordering::AcqRel) != open {
            self.thread.unpark();
        }
    }
}

fn follow(socket: &Path, to: &SyncSender<Word>, open: &AtomicBool) {
    let mut after = 0;
    loop {
        while !open.load(Ordering::Acquire) {
            thread::park();
        }
        let Ok(mut client) = Client::connect(socket) else {
            thread::park_timeout(RETRY);
            continue;
        };
        while open.load(Ordering::Acquire) {
            let Ok(events) = client.events(after) else { break };
            let Some(last) = events.last() else { continue };
            after = last.number;
            if to.send(Word::Seen(events)).is_err() {
                return;
            }
        }
    }
}
