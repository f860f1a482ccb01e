//! One POST, signed.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use ring::hmac;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::config::policy::ScrapeUrl;
use crate::telemetry::scrape::trust;

/// Longest file of a secret that is read, in bytes.
const SECRET_FILE_MAX: u64 = 16 << 10;
/// Shortest secret, in bytes.
const SECRET_MIN: usize = 16;

/// Why somebody was not told.
#[derive(Debug)]
pub(in crate::daemon) enum Failure {
    /// The receiver does not take this event, whenever it comes.
    Refused(String),
    /// It may go better another time.
    Failed(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Refused(why) | Failure::Failed(why) => f.write_str(why),
        }
    }
}

impl From<String> for Failure {
    fn from(why: String) -> Failure {
        Failure::Failed(why)
    }
}

/// What is said beside the body.
pub(in crate::daemon) struct Head<'a> {
    pub(in crate::daemon) hook: &'a str,
    pub(in crate::daemon) event: &'a str,
    /// The same whenever it is told again.
    pub(in crate::daemon) key: String,
    /// By [`sign`].
    pub(in crate::daemon) signed: String,
}

/// The first line of a file.
pub(in crate::daemon) fn secret(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let file = std::fs::File::open(path);
    let read = file.and_then(|file| file.take(SECRET_FILE_MAX).read_to_string(&mut text));
    read.map_err(|error| format!("{}: {error}", path.display()))?;
    let secret = text.lines().next().unwrap_or_default().trim();
    match secret.len() {
        SECRET_MIN.. => Ok(secret.to_owned()),
        some => Err(format!("{}: {some} bytes, want {SECRET_MIN} and more", path.display())),
    }
}

/// `t=SECONDS,v1=HMAC`: the HMAC-SHA256 of seconds, a point and the body, in hexadecimal. The time
/// is signed too, so that what is sent again much later can be told.
pub(in crate::daemon) fn sign(secret: &str, at: u64, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let mut context = hmac::Context::with_key(&key);
    context.update(format!("{at}.").as_bytes());
    context.update(body);
    let tag = context.sign();
    let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={at},v1={hex}")
}

/// Posts `body`; only an answer of success counts. Errors are in words, without secrets.
pub(in crate::daemon) async fn post(
    url: &ScrapeUrl,
    ca_file: Option<&Path>,
    head: Head<'_>,
    body: Vec<u8>,
) -> Result<(), Failure> {
    let tcp = TcpStream::connect((&*url.host, url.port)).await;
    let tcp = tcp.map_err(|error| format!("cannot connect: {error}"))?;
    let request = request(url, &head, body)?;
    if !url.tls {
        return exchange(tcp, request).await;
    }
    let name = ServerName::try_from(url.host.to_string());
    let name = name.map_err(|_| "the host is no name that a certificate can have".to_owned())?;
    let connector = TlsConnector::from(Arc::new(trust(ca_file)?));
    let tls = connector.connect(name, tcp).await.map_err(|error| format!("TLS: {error}"))?;
    exchange(tls, request).await
}

fn request(
    url: &ScrapeUrl,
    head: &Head<'_>,
    body: Vec<u8>,
) -> Result<Request<Full<Bytes>>, String> {
    let ScrapeUrl { host, port, target, .. } = url;
    let host =
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let request = Request::post(&**target)
        .header(HOST, host)
        .header(USER_AGENT, concat!("foreshadow/", env!("CARGO_PKG_VERSION")))
        .header(CONTENT_TYPE, "application/json")
        .header(CONNECTION, "close")
        .header("foreshadow-hook", head.hook)
        .header("foreshadow-event", head.event)
        .header("foreshadow-record", &head.key)
        .header("foreshadow-signature", &head.signed);
    request.body(Full::new(body.into())).map_err(|error| format!("request: {error}"))
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Full<Bytes>>,
) -> Result<(), Failure> {
    let broken = |error: hyper::Error| format!("HTTP: {error}");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let mut connection = std::pin::pin!(connection);
    let mut answer = std::pin::pin!(sender.send_request(request));
    let answer = tokio::select! {
        biased;
        answered = &mut answer => answered,
        // The connection carries the exchange, and may end once the answer was read.
        ended = &mut connection => {
            ended.map_err(broken)?;
            answer.await
        }
    };
    let status = answer.map_err(broken)?.status();
    let why = || format!("the receiver answers {status}");
    match status {
        _ if status.is_success() => Ok(()),
        // These are about the event; a key, an address or a server can be put right.
        StatusCode::BAD_REQUEST
        | StatusCode::GONE
        | StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::UNSUPPORTED_MEDIA_TYPE
        | StatusCode::UNPROCESSABLE_ENTITY => Err(Failure::Refused(why())),
        _ => Err(Failure::Failed(why())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_of_time_and_body() {
        // printf '1700000000.{}' | openssl dgst -sha256 -hmac 0123456789abcdef
        let signed = sign("0123456789abcdef", 1_700_000_000, b"{}");
        assert!(signed.starts_with("t=1700000000,v1=") && signed.len() == 16 + 64, "{signed}");
        assert_ne!(signed[16..], sign("0123456789abcdef", 1_700_000_001, b"{}")[16..]);
        assert_ne!(signed[16..], sign("0123456789abcdeF", 1_700_000_000, b"{}")[16..]);
        assert_ne!(signed[16..], sign("0123456789abcdef", 1_700_000_000, b"{ }")[16..]);
    }
}
