//! The other end of the control socket: what the command line speaks through.

use std::io;
use std::path::{Path, PathBuf};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

use super::command::Refusal;
use super::view::ProblemView;

const JSON: &str = "application/json";

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
    /// The server says no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The conversation broke off.
    #[error("control socket: {0}")]
    Broken(String),
}

/// A blocking client of one server.
#[derive(Debug)]
pub struct Client {
    runtime: Runtime,
    sender: http1::SendRequest<Full<Bytes>>,
}

impl Client {
    /// Connects to the server that listens at `path`.
    pub fn connect(path: &Path) -> Result<Client, ClientError> {
        let named = |source: io::Error| {
            let path = path.to_owned();
            match source.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    ClientError::NotRunning { path, source }
                }
                io::ErrorKind::PermissionDenied => ClientError::Denied { path },
                _ => ClientError::Connect { path, source },
            }
        };
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(named)?;
        let sender = runtime.block_on(async {
            let stream = UnixStream::connect(path).await.map_err(named)?;
            let (sender, connection) =
                http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
            tokio::spawn(connection);
            Ok::<_, ClientError>(sender)
        })?;
        Ok(Client { runtime, sender })
    }

    /// GET, with an answer in JSON.
    pub fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, ClientError> {
        parse(&self.exchange(Method::GET, path, JSON, Bytes::new())?)
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

    fn exchange(
        &mut self,
        method: Method,
        path: &str,
        kind: &str,
        body: Bytes,
    ) -> Result<Bytes, ClientError> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "foreshadow")
            .header("content-type", kind)
            .body(Full::new(body))
            .map_err(broken)?;
        let Client { runtime, sender } = self;
        runtime.block_on(async {
            sender.ready().await.map_err(broken)?;
            let response: Response<Incoming> =
                sender.send_request(request).await.map_err(broken)?;
            let status = response.status();
            let body = response.into_body().collect().await.map_err(broken)?.to_bytes();
            if status.is_success() { Ok(body) } else { Err(refusal(status, &body)) }
        })
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
