//! The other end of the API: what the command line speaks through.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::command::Refusal;
use super::tls;
use super::view::ProblemView;

const JSON: &str = "application/json";

/// How often a request is sent that the server has no time for, and the longest pause, in seconds.
const RETRIES_MAX: usize = 30;
const WAIT_MAX_S: u64 = 10;

/// Why a request did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens: the server is not running.
    #[error("no server at {path}: {source}")]
    NotRunning {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody may listen, but not to us.
    #[error("control socket {path}: {source}")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody may listen; we may not ask.
    #[error(
        "control socket {path}: permission denied: it is for root, the server's user and its group"
    )]
    Denied {
        /// The socket.
        path: PathBuf,
    },
    /// Nobody answers there, or somebody else than who should.
    #[error("{authority}: {why}")]
    Unreachable {
        /// Host and port.
        authority: String,
        /// What went wrong.
        why: String,
    },
    /// The server says no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The conversation broke off.
    #[error("api: {0}")]
    Broken(String),
}

/// What must be so for a write to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Nothing.
    None,
    /// It is not there yet.
    IsNew,
    /// It is still this version.
    IsStill(String),
}

/// Where a server is, and what it is told of who asks.
#[derive(Clone, Debug)]
pub enum Address {
    /// The control socket at this path.
    Socket(PathBuf),
    /// `[api] listen`.
    Tcp(Box<Tcp>),
}

/// A server that is reached by TCP.
#[derive(Clone)]
pub struct Tcp {
    /// Host and port, as in `dhcp1.example:8067`.
    pub authority: String,
    /// Who signs its certificate; `None` for plain HTTP.
    pub authorities: Option<PathBuf>,
    /// A bearer token.
    pub token: String,
}

/// Never the token.
impl std::fmt::Debug for Tcp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tcp").field("authority", &self.authority).finish_non_exhaustive()
    }
}

type Sender = http1::SendRequest<Full<Bytes>>;

/// A blocking client of one server.
#[derive(Debug)]
pub struct Client {
    runtime: Runtime,
    address: Address,
    sender: Sender,
}

impl Client {
    /// Connects to the server at `address`.
    pub fn connect(address: Address) -> Result<Client, ClientError> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(broken)?;
        let sender = runtime.block_on(connect(&address))?;
        Ok(Client { runtime, address, sender })
    }

    /// GET, with an answer in JSON.
    pub fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, ClientError> {
        parse(&self.exchange(Method::GET, path, JSON, Bytes::new())?)
    }

    /// GET of what may be long, or never end: `look` sees it piece by piece.
    pub fn stream<E: From<ClientError>>(
        &mut self,
        path: &str,
        mut look: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let Client { runtime, address, sender } = self;
        let request = request(address, Method::GET, path, JSON, Bytes::new(), &Guard::None)?;
        runtime.block_on(async {
            let response = send(address, sender, request).await?;
            let status = response.status();
            let mut body = response.into_body();
            if !status.is_success() {
                let body = body.collect().await.map_err(broken)?.to_bytes();
                return Err(refusal(status, &body).into());
            }
            while let Some(frame) = body.frame().await {
                if let Ok(piece) = frame.map_err(broken)?.into_data() {
                    look(&piece)?;
                }
            }
            Ok(())
        })
    }

    /// POST of lines of JSON, with an answer in JSON.
    pub fn post_lines<T: DeserializeOwned>(
        &mut self,
        path: &str,
        lines: Vec<u8>,
    ) -> Result<T, ClientError> {
        parse(&self.exchange(Method::POST, path, "application/x-ndjson", lines.into())?)
    }

    /// POST of JSON, with an answer in JSON; `()` where there is none.
    pub fn post<T: DeserializeOwned>(
        &mut self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(broken)?;
        let answer = self.exchange(Method::POST, path, JSON, body.into())?;
        // 204 has no body; `()` is `null` in JSON.
        parse(if answer.is_empty() { b"null" } else { &answer })
    }

    /// GET, with what a change of just that says.
    pub fn get_guarded<T: DeserializeOwned>(
        &mut self,
        path: &str,
    ) -> Result<(T, Guard), ClientError> {
        let told = self.tell(Method::GET, path, JSON, Bytes::new(), &Guard::None)?;
        let guard = told.tag.map_or(Guard::None, Guard::IsStill);
        Ok((parse(&told.body)?, guard))
    }

    /// PUT of JSON, with an answer in JSON.
    pub fn put<T: DeserializeOwned>(
        &mut self,
        path: &str,
        body: &impl Serialize,
        guard: &Guard,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(broken)?;
        parse(&self.tell(Method::PUT, path, JSON, body.into(), guard)?.body)
    }

    /// PATCH with JSON, with an answer in JSON.
    pub fn patch<T: DeserializeOwned>(
        &mut self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(broken)?;
        parse(&self.exchange(Method::PATCH, path, JSON, body.into())?)
    }

    /// DELETE, which answers what it was.
    pub fn delete_shown<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, ClientError> {
        parse(&self.exchange(Method::DELETE, path, JSON, Bytes::new())?)
    }

    /// DELETE, which answers nothing.
    pub fn delete(&mut self, path: &str) -> Result<(), ClientError> {
        self.exchange(Method::DELETE, path, JSON, Bytes::new()).map(drop)
    }

    fn exchange(
        &mut self,
        method: Method,
        path: &str,
        kind: &str,
        body: Bytes,
    ) -> Result<Bytes, ClientError> {
        Ok(self.tell(method, path, kind, body, &Guard::None)?.body)
    }

    fn tell(
        &mut self,
        method: Method,
        path: &str,
        kind: &str,
        body: Bytes,
        guard: &Guard,
    ) -> Result<Told, ClientError> {
        let mut tries = 1;
        loop {
            match self.try_exchange(method.clone(), path, kind, body.clone(), guard)? {
                Exchanged::Done(answer) => return Ok(answer),
                Exchanged::Later(_, why) if tries == RETRIES_MAX => return Err(why),
                Exchanged::Later(wait, _) => std::thread::sleep(wait),
            }
            tries += 1;
        }
    }

    fn try_exchange(
        &mut self,
        method: Method,
        path: &str,
        kind: &str,
        body: Bytes,
        guard: &Guard,
    ) -> Result<Exchanged, ClientError> {
        let Client { runtime, address, sender } = self;
        let request = request(address, method, path, kind, body, guard)?;
        runtime.block_on(async {
            let response = send(address, sender, request).await?;
            let status = response.status();
            let wait = response.headers().get("retry-after").and_then(|it| it.to_str().ok());
            let wait = wait.and_then(|it| it.parse().ok()).unwrap_or(1).min(WAIT_MAX_S);
            let tag = response.headers().get("etag").and_then(|it| it.to_str().ok());
            let tag = tag.map(str::to_owned);
            let body = response.into_body().collect().await.map_err(broken)?.to_bytes();
            match status {
                StatusCode::TOO_MANY_REQUESTS => {
                    Ok(Exchanged::Later(Duration::from_secs(wait), refusal(status, &body)))
                }
                _ if status.is_success() => Ok(Exchanged::Done(Told { body, tag })),
                _ => Err(refusal(status, &body)),
            }
        })
    }
}

fn request(
    address: &Address,
    method: Method,
    path: &str,
    kind: &str,
    body: Bytes,
    guard: &Guard,
) -> Result<Request<Full<Bytes>>, ClientError> {
    let request = Request::builder().method(method).uri(path);
    let request = match address {
        Address::Socket(_) => request.header("host", "foreshadow"),
        Address::Tcp(tcp) => request
            .header("host", &tcp.authority)
            .header("authorization", format!("Bearer {}", tcp.token)),
    };
    let request = match guard {
        Guard::None => request,
        Guard::IsNew => request.header("if-none-match", "*"),
        Guard::IsStill(tag) => request.header("if-match", tag),
    };
    request.header("content-type", kind).body(Full::new(body)).map_err(broken)
}

async fn send(
    address: &Address,
    sender: &mut Sender,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, ClientError> {
    // A connection that nothing was asked on for long is closed by the server.
    if sender.ready().await.is_err() {
        *sender = connect(address).await?;
        sender.ready().await.map_err(broken)?;
    }
    sender.send_request(request).await.map_err(broken)
}

/// An answer.
struct Told {
    body: Bytes,
    tag: Option<String>,
}

/// What came of asking once.
enum Exchanged {
    Done(Told),
    /// Too much at once: worth another try after this time. Whose limit was met.
    Later(Duration, ClientError),
}

async fn connect(address: &Address) -> Result<Sender, ClientError> {
    match address {
        Address::Socket(path) => {
            begin(UnixStream::connect(path).await.map_err(|source| named(path, source))?).await
        }
        Address::Tcp(tcp) => {
            let unreachable = |why: &dyn std::fmt::Display| ClientError::Unreachable {
                authority: tcp.authority.clone(),
                why: why.to_string(),
            };
            let stream = TcpStream::connect(&tcp.authority);
            let stream = stream.await.map_err(|error| unreachable(&error))?;
            let Some(authorities) = &tcp.authorities else { return begin(stream).await };
            let config = tls::client(authorities).map_err(|why| unreachable(&why))?;
            let host = tcp.authority.rsplit_once(':').map_or(&*tcp.authority, |(host, _)| host);
            let host = host.trim_matches(['[', ']']).to_owned();
            let name = ServerName::try_from(host).map_err(|error| unreachable(&error))?;
            let stream = TlsConnector::from(config).connect(name, stream).await;
            begin(stream.map_err(|error| unreachable(&tls::explain(&error)))?).await
        }
    }
}

async fn begin<S>(stream: S) -> Result<Sender, ClientError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    tokio::spawn(connection);
    Ok(sender)
}

fn named(path: &Path, source: io::Error) -> ClientError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            ClientError::NotRunning { path, source }
        }
        io::ErrorKind::PermissionDenied => ClientError::Denied { path },
        _ => ClientError::Connect { path, source },
    }
}

fn refusal(status: StatusCode, body: &[u8]) -> ClientError {
    match serde_json::from_slice::<ProblemView>(body) {
        Ok(problem) => ClientError::Refused(Refusal::from(&problem)),
        Err(_) => ClientError::Broken(format!("the server answered {status}")),
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ClientError> {
    serde_json::from_slice(body).map_err(broken)
}

fn broken(error: impl std::error::Error) -> ClientError {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    ClientError::Broken(text)
}

/// Any text as one part of a path or a query (RFC 3986 s2.1).
pub fn escape(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_escapes_its_place_in_a_path() {
        assert_eq!(escape("2001:db8::/56"), "2001%3Adb8%3A%3A%2F56");
        assert_eq!(escape("a&b=c?d#é "), "a%26b%3Dc%3Fd%23%C3%A9%20");
    }
}
