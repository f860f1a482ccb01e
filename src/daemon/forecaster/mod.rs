//! Forecasts of a running server: a thread of low priority around [`Foresight`].
//!
//! It asks the engine how many instances came, a page at a time, and tells it what it foresees as
//! anybody else would who predicts. The engine waits for it in nothing: what is foreseen runs out
//! with its period, and what then is held is what the policy keeps ready.

mod board;
mod look;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{fs, io};

use crate::base::Timestamp;
use crate::config::Policy;
use crate::engine::Engine;
use crate::foresight::{Foresight, Pace};
use crate::telemetry::lower_priority;

use super::work::Jobs;
pub(super) use board::{Board, Standing};
use look::Look;

/// How often it is asked who came.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How often histories are kept, and at the end.
const KEEP_EVERY: Duration = Duration::from_secs(600);
/// How long it rests after it failed.
const REST: Duration = Duration::from_secs(60);
/// The largest file that is read: 10,000 histories whose every period is another count.
const BYTES_MAX: u64 = 160 << 20;

/// The running forecaster; it ends, and keeps what it knows, when it is dropped.
pub(super) struct Forecaster {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
    board: Arc<Board>,
}

impl Forecaster {
    /// Starts it; an observer, which can hold nothing, has none. That it cannot be started keeps no
    /// server from serving.
    pub(super) fn start(
        observe: bool,
        policy: &Policy,
        jobs: Jobs<Engine>,
        now: impl Fn() -> Timestamp + Send + 'static,
    ) -> Forecaster {
        let board = Arc::new(Board::default());
        let mut own = Forecaster { stop: None, thread: None, board };
        if observe {
            return own;
        }
        let (stop, stopped) = mpsc::channel();
        let path = policy.server.state_dir.join("forecast/histories");
        let pace = Pace { period: policy.forecast.period, lead: policy.forecast.lead };
        let board = own.board.clone();
        let run = move || {
            lower_priority();
            let mut thread = Thread { path, pace, board, kept: Instant::now() };
            let mut look = Look::new(thread.read(), jobs, Box::new(now));
            loop {
                let wait = if thread.turn(&mut look) { LOOK_EVERY } else { REST };
                match stopped.recv_timeout(wait) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => break,
                }
            }
            thread.keep(&look);
        };
        match std::thread::Builder::new().name("forecaster".into()).spawn(run) {
            Ok(thread) => (own.stop, own.thread) = (Some(stop), Some(thread)),
            Err(error) => tracing::error!("forecasts are off: {error}"),
        }
        own
    }

    /// Where it says how it is doing.
    pub(super) fn board(&self) -> Arc<Board> {
        self.board.clone()
    }
}

impl Drop for Forecaster {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the thread has beside what it knows.
struct Thread {
    path: PathBuf,
    pace: Pace,
    board: Arc<Board>,
    kept: Instant,
}

impl Thread {
    /// Looks once; false if that failed, and what is foreseen runs out meanwhile.
    fn turn(&mut self, look: &mut Look) -> bool {
        // A fault in a model must not end forecasts for good, nor go unnoticed.
        let board = &self.board;
        let done = std::panic::AssertUnwindSafe(|| look.look(board));
        match std::panic::catch_unwind(done) {
            Ok(Ok(())) => {}
            Ok(Err(why)) => {
                self.board.failed();
                tracing::warn!(
                    "forecasts: {why}; as long as there are none, shadows are held by `ready` alone"
                );
                return false;
            }
            Err(_) => {
                self.board.failed();
                tracing::error!(
                    "forecasts: a fault in the forecaster, which goes on with what it kept last; \
                     until then shadows are held by `ready` alone"
                );
                look.replace(self.read());
                return false;
            }
        }
        if self.kept.elapsed() >= KEEP_EVERY {
            self.keep(look);
        }
        true
    }

    /// What was kept; nothing if that cannot be read, which is said.
    fn read(&self) -> Foresight {
        let bytes = match read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Foresight::new(self.pace);
            }
            Err(error) => {
                tracing::error!("{}: {error}; forecasts begin anew", self.path.display());
                return Foresight::new(self.pace);
            }
        };
        Foresight::from_bytes(self.pace, &bytes).unwrap_or_else(|error| {
            tracing::error!("{}: {error}; forecasts begin anew", self.path.display());
            Foresight::new(self.pace)
        })
    }

    fn keep(&mut self, look: &Look) {
        self.kept = Instant::now();
        if look.is_idle() {
            return;
        }
        if let Err(error) = write(&self.path, &look.to_bytes()) {
            tracing::warn!("{}: {error}; a restart forgets this much", self.path.display());
        }
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = fs::File::open(path)?;
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(file, BYTES_MAX), &mut bytes)?;
    Ok(bytes)
}

/// Exchanges the file whole.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir)?;
    let new = path.with_extension("new");
    let mut file = fs::File::create(&new)?;
    io::Write::write_all(&mut file, bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    fs::File::open(dir)?.sync_all()
}
