//! The agent's doors: a Unix socket, for the server of this host, and TLS for that of another.
//!
//! Each connection has a thread that reads lines; one thread owns the host and does what they ask,
//! one after the other.

use std::collections::{HashMap, VecDeque};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::check::{self, Check, State};
use super::guard::{Fate, Sign};
use super::host::Host;
use super::refusal::HostError;
use crate::net::LinkMonitor;

use super::tls::{self, Credentials};
use super::verb::{Answer, Event, LINE_BYTES_MAX, Verb, WAIT_MS_MAX, Why};

/// Connections at once; one more is closed.
const CONNECTIONS_MAX: usize = 16;
/// Connections at once whose peers have not shown who they are, and of one address.
const STRANGERS_MAX: usize = 32;
const STRANGERS_PER_PEER: usize = 4;
/// How long the host is left alone at most: what was heard of neighbours waits in its socket.
const TENDED_EVERY: Duration = Duration::from_secs(1);
/// Events that are remembered: those of whoever asks too late are lost.
const EVENTS_MAX: usize = 256;
/// Requests that may wait; then connections do.
const WAITING_MAX: usize = 64;

/// What the thread that owns the host is told.
#[derive(Debug)]
pub enum Message {
    /// A request, and where its answer goes.
    Asked(Verb, Sender<Answer>),
    /// Something became of the active of a pair.
    Watched(Box<str>, Sign),
    /// It is time to end. What is held stays in force.
    Stop,
}

/// A socket that is open, and removed at the end.
#[derive(Debug)]
pub struct Door {
    listener: UnixListener,
    path: PathBuf,
}

impl Door {
    /// Opens the socket, for its owner alone. One that nobody listens on any more is replaced;
    /// `AddrInUse` if somebody does.
    pub fn open(path: &Path) -> io::Result<Door> {
        if UnixStream::connect(path).is_ok() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        // Not for a moment may anybody else connect.
        let own = path.with_extension("new");
        match std::fs::remove_file(&own) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&own)?;
        std::fs::set_permissions(&own, std::fs::Permissions::from_mode(0o600))?;
        std::fs::rename(&own, path)?;
        Ok(Door { listener, path: path.into() })
    }

    /// Takes connections, in a thread of its own.
    pub fn serve(&self, to: &SyncSender<Message>) -> io::Result<()> {
        let listener = self.listener.try_clone()?;
        let to = to.clone();
        let present = Arc::new(AtomicUsize::new(0));
        let accept = move || {
            for stream in listener.incoming().filter_map(Result::ok) {
                let count = present.fetch_add(1, Ordering::Relaxed);
                let (to, leaves) = (to.clone(), present.clone());
                let talk = move || {
                    if let Err(error) = converse(stream, &to) {
                        tracing::debug!(%error, "connection ended");
                    }
                    leaves.fetch_sub(1, Ordering::Relaxed);
                };
                let thread = std::thread::Builder::new().name("agent-peer".into());
                if count >= CONNECTIONS_MAX || thread.spawn(talk).is_err() {
                    tracing::warn!("too many connections");
                    present.fetch_sub(1, Ordering::Relaxed);
                }
            }
        };
        std::thread::Builder::new().name("agent-door".into()).spawn(accept).map(drop)
    }
}

/// A door to other hosts.
#[derive(Debug)]
pub struct FarDoor {
    listener: TcpListener,
    credentials: Credentials,
    /// The common name of who is obeyed.
    obeyed: Arc<str>,
}

impl FarDoor {
    /// Listens there, for who shows a certificate with that common name.
    pub fn open(
        address: SocketAddr,
        credentials: Credentials,
        obeyed: &str,
    ) -> io::Result<FarDoor> {
        // What is wrong with the files is said now, and not when somebody comes.
        tls::serving(&credentials).map_err(io::Error::other)?;
        let listener = TcpListener::bind(address)?;
        Ok(FarDoor { listener, credentials, obeyed: obeyed.into() })
    }

    /// Takes connections, in a thread of its own. Who does not show who he is takes the room of
    /// nobody who does.
    pub fn serve(self, to: &SyncSender<Message>) -> io::Result<()> {
        let to = to.clone();
        let (strangers, present) = (Arc::new(Room::default()), Arc::new(Room::default()));
        let accept =
            move || {
                for stream in self.listener.incoming().filter_map(Result::ok) {
                    let Some(coming) = stream.peer_addr().ok().and_then(|from| {
                        strangers.enter(from.ip(), STRANGERS_MAX, STRANGERS_PER_PEER)
                    }) else {
                        continue;
                    };
                    let (credentials, obeyed) = (self.credentials.clone(), self.obeyed.clone());
                    let (to, present) = (to.clone(), present.clone());
                    let talk = move || {
                        let peer = coming.peer;
                        let stream = match tls::accept(stream, &credentials, &obeyed) {
                            Ok(stream) => stream,
                            Err(error) => return tracing::warn!(%peer, %error, "not let in"),
                        };
                        drop(coming);
                        let room = present.enter(peer, CONNECTIONS_MAX, CONNECTIONS_MAX);
                        let Some(_room) = room else {
                            return tracing::warn!(%peer, "too many connections");
                        };
                        if let Err(error) = converse(stream, &to) {
                            tracing::debug!(%peer, %error, "connection ended");
                        }
                    };
                    let thread = std::thread::Builder::new().name("agent-peer".into());
                    if let Err(error) = thread.spawn(talk) {
                        tracing::warn!(%error, "no thread for a connection");
                    }
                }
            };
        std::thread::Builder::new().name("agent-far-door".into()).spawn(accept).map(drop)
    }
}

/// Who is there, by address.
#[derive(Debug, Default)]
struct Room(Mutex<HashMap<IpAddr, usize>>);

/// A place in a room, until it is dropped.
#[derive(Debug)]
struct Place {
    room: Arc<Room>,
    peer: IpAddr,
}

impl Room {
    fn enter(self: &Arc<Room>, peer: IpAddr, most: usize, per_peer: usize) -> Option<Place> {
        let mut present = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = present.values().sum();
        let own = present.entry(peer).or_default();
        if all >= most || *own >= per_peer {
            return None;
        }
        *own += 1;
        Some(Place { room: self.clone(), peer })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut present = self.room.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = present.get_mut(&self.peer) {
            *own -= 1;
        }
        present.retain(|_, count| *count > 0);
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A way to the thread that owns the host.
pub fn messages() -> (SyncSender<Message>, Receiver<Message>) {
    sync_channel(WAITING_MAX)
}

/// Serves until it is told to stop. `to` is the way to `messages`.
pub fn run(
    host: &mut Host,
    to: SyncSender<Message>,
    messages: &Receiver<Message>,
) -> Result<(), HostError> {
    host.watch(move |pair, sign| {
        let _ = to.send(Message::Watched(pair.into(), sign));
    })?;
    let (mut news, mut tended) = (News::default(), Instant::now());
    loop {
        let now = Instant::now();
        let due = [host.next_due(), tended + TENDED_EVERY];
        let due = due.into_iter().chain(news.next_due()).min().unwrap_or(now);
        match messages.recv_timeout(due.saturating_duration_since(now)) {
            Ok(Message::Asked(Verb::Events { after, wait_ms }, answer)) => {
                news.ask(Instant::now(), after, wait_ms, answer);
            }
            Ok(Message::Asked(verb, answer)) => {
                // Whoever asked may be gone.
                let _ = answer.send(host.answer(Instant::now(), verb));
            }
            Ok(Message::Watched(pair, Sign::Lives)) => host.lives(&pair, true)?,
            Ok(Message::Watched(pair, Sign::Became(fate))) => {
                match fate {
                    Fate::Answered { after_us } => {
                        tracing::info!(%pair, after_us, "the standby answers");
                        host.answered(&pair);
                    }
                    _ => tracing::warn!(%pair, ?fate, "active"),
                }
                let epoch = host.holds().get(&pair).map(|hold| hold.epoch);
                if let Some(epoch) = epoch {
                    news.add(pair, epoch, fate);
                }
            }
            Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {}
        }
        let now = Instant::now();
        news.tend(now);
        if host.next_due() <= now || tended + TENDED_EVERY <= now {
            tended = now;
            host.tend(now)?;
        }
    }
}

/// What became of actives, and who waits to hear of it.
#[derive(Default)]
struct News {
    last: u64,
    events: VecDeque<Event>,
    waiting: Vec<(Instant, Sender<Answer>)>,
}

impl News {
    fn add(&mut self, pair: Box<str>, epoch: u64, fate: Fate) {
        self.last += 1;
        let event = Event { number: self.last, pair, epoch, fate };
        for (_, answer) in self.waiting.drain(..) {
            let _ = answer.send(Answer::Events(vec![event.clone()]));
        }
        if self.events.len() >= EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    fn ask(&mut self, now: Instant, after: u64, wait_ms: u32, answer: Sender<Answer>) {
        // Whoever knows of more than there was knows another run of the agent.
        let after = if after > self.last { 0 } else { after };
        let newer: Vec<Event> =
            self.events.iter().filter(|event| event.number > after).cloned().collect();
        if newer.is_empty() {
            let wait = Duration::from_millis(wait_ms.min(WAIT_MS_MAX).into());
            return self.waiting.push((now + wait, answer));
        }
        let _ = answer.send(Answer::Events(newer));
    }

    fn next_due(&self) -> Option<Instant> {
        self.waiting.iter().map(|(until, _)| *until).min()
    }

    fn tend(&mut self, now: Instant) {
        for (_, answer) in self.waiting.extract_if(.., |(until, _)| *until <= now) {
            let _ = answer.send(Answer::Events(Vec::new()));
        }
    }
}

/// Reads requests and writes their answers, until the peer goes or says what is no request.
fn converse(stream: impl Read + Write, to: &SyncSender<Message>) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        let most = LINE_BYTES_MAX as u64 + 1;
        if reader.by_ref().take(most).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let answer = match read(&line) {
            Ok(verb) => answer(to, verb).ok_or(io::ErrorKind::BrokenPipe)?,
            Err(text) => Answer::Refused { why: Why::Faulty, text: text.into() },
        };
        let is_lost = line.last() != Some(&b'\n');
        line.clear();
        serde_json::to_writer(&mut line, &answer)?;
        line.push(b'\n');
        reader.get_mut().write_all(&line)?;
        reader.get_mut().flush()?;
        if is_lost {
            return Ok(());
        }
    }
}

fn read(line: &[u8]) -> Result<Verb, String> {
    if line.last() != Some(&b'\n') {
        return Err(format!("a line of more than {LINE_BYTES_MAX} bytes, or without an end"));
    }
    serde_json::from_slice(line).map_err(|error| error.to_string())
}

/// What takes longer than a moment is done here: whoever owns the host has others to see to.
fn answer(to: &SyncSender<Message>, verb: Verb) -> Option<Answer> {
    let pair = match &verb {
        Verb::Check { pair } => pair.clone(),
        _ => return ask(to, verb),
    };
    let mut found = match ask(to, verb)? {
        Answer::Checks(found) => found,
        other => return Some(other),
    };
    let Answer::Status { holds, .. } = ask(to, Verb::Status)? else { return None };
    if let Some(hold) = holds.iter().find(|hold| hold.pair == pair) {
        let heard = LinkMonitor::open_without_fdb().and_then(|mut links| {
            links.poll(&mut Vec::new())?;
            check::voices(hold, &links)
        });
        found.extend(heard.unwrap_or_else(|error| {
            vec![Check::new("voices", State::Doubtful, format!("not heard: {error}"))]
        }));
    }
    Some(Answer::Checks(found))
}

fn ask(to: &SyncSender<Message>, verb: Verb) -> Option<Answer> {
    let (answer, answered) = channel();
    to.send(Message::Asked(verb, answer)).ok()?;
    answered.recv().ok()
}
