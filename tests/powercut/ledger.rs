//! What the clients of the whole server did, and when: beside the log of what left the server it
//! says what was promised to whom at any moment.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Microseconds of the wall clock.
pub(crate) fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64
}

/// The protocol of a transaction, whose numbers may come in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Family {
    V4,
    V6,
}

/// A client gives something back, or finds it in use.
#[derive(Clone, Debug)]
pub(crate) struct GivenUp {
    pub(crate) at_us: u64,
    /// The address or prefix.
    pub(crate) name: String,
    pub(crate) client: [u8; 6],
}

/// Written by the threads of the clients.
#[derive(Default)]
pub(crate) struct Ledger {
    /// When a transaction was first sent, by its number.
    pub(crate) asked: Mutex<HashMap<(Family, u32), u64>>,
    /// In order of time, for each client.
    pub(crate) given_up: Mutex<Vec<GivenUp>>,
    /// What was refused to a client that has it.
    pub(crate) refused: Mutex<Vec<String>>,
    acks: AtomicUsize,
    over: AtomicBool,
}

impl Ledger {
    /// Notes that a transaction is about to be sent.
    pub(crate) fn asks(&self, family: Family, xid: u32) {
        self.asked.lock().unwrap().entry((family, xid)).or_insert_with(now_us);
    }

    /// Notes that a RELEASE or DECLINE is about to be sent.
    pub(crate) fn gives_up(&self, name: String, client: [u8; 6]) {
        self.given_up.lock().unwrap().push(GivenUp { at_us: now_us(), name, client });
    }

    /// Notes that a client which has this was refused.
    pub(crate) fn is_refused(&self, what: String) {
        self.refused.lock().unwrap().push(what);
    }

    /// Counts an acknowledgement that arrived.
    pub(crate) fn acked(&self) {
        self.acks.fetch_add(1, Ordering::Relaxed);
    }

    /// How many arrived so far.
    pub(crate) fn acks(&self) -> usize {
        self.acks.load(Ordering::Relaxed)
    }

    /// Ends the clients.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// Whether the clients are to end.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}
