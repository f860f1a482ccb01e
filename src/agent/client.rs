//! Speaking with an agent.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::check::Check;
use super::hold::Hold;
use super::ports::{Guarded, Order};
use super::tls::{self, Credentials, Made};
use super::verb::{
    ActiveWord, Answer, Done, Event, LINE_BYTES_MAX, VERSION, Verb, WAIT_MS_MAX, Why,
};

/// An agent answers at once; it never takes this long.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection to another host may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// An answer can list thousands of holds.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Why an agent did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// It cannot be reached, or went away: whether it did what it was asked is not known.
    #[error("agent: {0}")]
    Lost(#[from] io::Error),
    /// Nobody said where it is.
    #[error("no agent of host {0} is configured, want an [[agents.host]] of that name")]
    Unknown(Box<str>),
    /// It answers what was not asked.
    #[error("agent: an answer that makes no sense")]
    Confused,
    /// It speaks another version of the protocol.
    #[error("agent: protocol version {0}, want {VERSION}")]
    Version(u32),
    /// It refused; nothing of it is done.
    #[error("agent: {text}")]
    Refused {
        /// What kind of reason.
        why: Why,
        /// The reason.
        text: Box<str>,
    },
}

/// A connection to an agent.
pub struct Client {
    reader: BufReader<Stream>,
}

/// What it goes by.
enum Stream {
    Here(UnixStream),
    Far(Box<Made>),
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Here(stream) => stream.read(into),
            Stream::Far(stream) => stream.read(into),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Here(stream) => stream.write(bytes),
            Stream::Far(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Here(stream) => stream.flush(),
            Stream::Far(stream) => stream.flush(),
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Client {
    /// Connects to the agent of this host.
    pub fn connect(socket: &Path) -> Result<Client, AgentError> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
        Client::greet(Stream::Here(stream))
    }

    /// Connects to the agent of another host, which shows a certificate for that name. An answer
    /// is waited for so long.
    pub fn connect_to(
        address: SocketAddr,
        host: &str,
        credentials: &Credentials,
        answers_within: Duration,
    ) -> Result<Client, AgentError> {
        let stream = tls::connect(address, host, credentials, CONNECT_TIMEOUT)?;
        stream.sock.set_read_timeout(Some(answers_within))?;
        stream.sock.set_write_timeout(Some(answers_within))?;
        Client::greet(Stream::Far(Box::new(stream)))
    }

    fn greet(stream: Stream) -> Result<Client, AgentError> {
        let mut client = Client { reader: BufReader::new(stream) };
        match client.ask(&Verb::Hello)? {
            Answer::Hello { version: VERSION, .. } => Ok(client),
            Answer::Hello { version, .. } => Err(AgentError::Version(version)),
            _ => Err(AgentError::Confused),
        }
    }

    /// Brings a pair to a stage.
    pub fn hold(&mut self, hold: &Hold) -> Result<Done, AgentError> {
        self.done(&Verb::Hold(hold.clone()))
    }

    /// Forgets a pair; whoever is silent stays so until its port is gone, if `silent`.
    pub fn let_go(&mut self, pair: &str, epoch: u64, silent: bool) -> Result<Done, AgentError> {
        self.done(&Verb::LetGo { pair: pair.into(), epoch, silent })
    }

    /// Guards ports as it says.
    pub fn guard(&mut self, order: &Order) -> Result<Done, AgentError> {
        self.done(&Verb::Guard(order.clone()))
    }

    /// All guarded ports, by name, each with its network.
    pub fn guarded(&mut self) -> Result<Vec<(Box<str>, Guarded)>, AgentError> {
        let mut all: Vec<(Box<str>, Guarded)> = Vec::new();
        loop {
            let after = all.last().map(|(_, last)| last.port.clone());
            match self.ask(&Verb::Guarded { after })? {
                Answer::Guarded(more) if more.is_empty() => return Ok(all),
                Answer::Guarded(more) => all.extend(more),
                _ => return Err(AgentError::Confused),
            }
        }
    }

    /// What is held, and whether the kernel had it.
    pub fn status(&mut self) -> Result<(Vec<Hold>, bool), AgentError> {
        match self.ask(&Verb::Status)? {
            Answer::Status { holds, in_force } => Ok((holds, in_force)),
            _ => Err(AgentError::Confused),
        }
    }

    /// Whether a switchover of a pair would go well.
    pub fn check(&mut self, pair: &str) -> Result<Vec<Check>, AgentError> {
        match self.ask(&Verb::Check { pair: pair.into() })? {
            Answer::Checks(found) => Ok(found),
            _ => Err(AgentError::Confused),
        }
    }

    /// Says how the active of a pair is.
    pub fn active(&mut self, pair: &str, word: ActiveWord) -> Result<(), AgentError> {
        self.done(&Verb::Active { pair: pair.into(), word }).map(drop)
    }

    /// What became of watched actives since that event; waits for one for some seconds.
    pub fn events(&mut self, after: u64) -> Result<Vec<Event>, AgentError> {
        match self.ask(&Verb::Events { after, wait_ms: WAIT_MS_MAX })? {
            Answer::Events(events) => Ok(events),
            _ => Err(AgentError::Confused),
        }
    }

    fn done(&mut self, verb: &Verb) -> Result<Done, AgentError> {
        match self.ask(verb)? {
            Answer::Done(done) => Ok(done),
            _ => Err(AgentError::Confused),
        }
    }

    fn ask(&mut self, verb: &Verb) -> Result<Answer, AgentError> {
        let mut line = serde_json::to_vec(verb).map_err(io::Error::from)?;
        line.push(b'\n');
        if line.len() > LINE_BYTES_MAX {
            let text = format!("a request of {} bytes, want {LINE_BYTES_MAX} at most", line.len());
            return Err(AgentError::Refused { why: Why::Faulty, text: text.into() });
        }
        self.reader.get_mut().write_all(&line)?;
        self.reader.get_mut().flush()?;
        line.clear();
        self.reader.by_ref().take(ANSWER_BYTES_MAX).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Err(AgentError::Lost(io::ErrorKind::UnexpectedEof.into()));
        }
        match serde_json::from_slice(&line).map_err(|_| AgentError::Confused)? {
            Answer::Refused { why, text } => Err(AgentError::Refused { why, text }),
            answer => Ok(answer),
        }
    }
}
