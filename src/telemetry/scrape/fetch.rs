//! One GET, with a bound on its time and its body.

use std::path::Path;
use std::sync::Arc;

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, AUTHORIZATION, CONNECTION, HOST, HeaderValue, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::config::policy::{Credentials, ScrapePolicy, ScrapeUrl};

/// Longest token or password, in bytes.
const SECRET_MAX: u64 = 16 << 10;
const ACCEPTED: &str = "text/plain;version=0.0.4;q=1,*/*;q=0.1";

/// Gets the body of a target, and hands it to `each` piece by piece; ends when that says no.
/// Errors are in words, for people, without secrets.
pub(super) async fn fetch(
    policy: &ScrapePolicy,
    each: &mut (dyn FnMut(&[u8]) -> Result<(), String> + Send),
) -> Result<(), String> {
    let all = async {
        let ScrapeUrl { host, port, tls, .. } = &policy.url;
        let tcp = TcpStream::connect((&**host, *port)).await;
        let tcp = tcp.map_err(|error| format!("cannot connect: {error}"))?;
        if !tls {
            return exchange(policy, tcp, each).await;
        }
        let name = ServerName::try_from(host.to_string());
        let name =
            name.map_err(|_| "the host is no name that a certificate can have".to_owned())?;
        let connector = TlsConnector::from(Arc::new(trust(policy.ca_file.as_deref())?));
        let tls = connector.connect(name, tcp).await.map_err(|error| format!("TLS: {error}"))?;
        exchange(policy, tls, each).await
    };
    let late = |_| format!("not done in {}", policy.timeout);
    let timeout = std::time::Duration::from_millis(policy.timeout.0);
    tokio::time::timeout(timeout, all).await.map_err(late)?
}

async fn exchange(
    policy: &ScrapePolicy,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    each: &mut (dyn FnMut(&[u8]) -> Result<(), String> + Send),
) -> Result<(), String> {
    let broken = |error: hyper::Error| format!("HTTP: {error}");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let mut connection = std::pin::pin!(connection);
    let request = request(policy)?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(broken)?;
        if response.status() != StatusCode::OK {
            return Err(format!("the target answers {}", response.status()));
        }
        let (mut body, mut read) = (response.into_body(), 0u64);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(broken)?;
            let Some(piece) = frame.data_ref() else { continue };
            read += piece.len() as u64;
            if read > policy.body_max {
                return Err(format!("a body over {} bytes (body_max)", policy.body_max));
            }
            each(piece)?;
        }
        Ok(())
    };
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        biased;
        answered = &mut answer => return answered,
        // The connection carries the exchange, and may end once all of it has been read.
        ended = &mut connection => ended.map_err(broken)?,
    }
    answer.await
}

fn request(policy: &ScrapePolicy) -> Result<Request<Empty<Bytes>>, String> {
    let ScrapeUrl { host, port, .. } = &policy.url;
    let host =
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let mut request = Request::get(target(policy))
        .header(HOST, host)
        .header(USER_AGENT, concat!("foreshadow/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT, ACCEPTED)
        .header(CONNECTION, "close");
    if let Some(value) = authorization(&policy.credentials)? {
        request = request.header(AUTHORIZATION, value);
    }
    request.body(Empty::new()).map_err(|error| format!("request: {error}"))
}

/// The path, with what a federation endpoint is asked for.
fn target(policy: &ScrapePolicy) -> String {
    let mut target = policy.url.target.to_string();
    for wanted in &policy.matches {
        target.push(if target.contains('?') { '&' } else { '?' });
        target.push_str("match%5B%5D=");
        for byte in wanted.bytes() {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
                target.push(char::from(byte));
            } else {
                target.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    target
}

fn authorization(credentials: &Credentials) -> Result<Option<HeaderValue>, String> {
    let value = match credentials {
        Credentials::None => return Ok(None),
        Credentials::Bearer(path) => format!("Bearer {}", secret(path)?),
        Credentials::Basic(path) => format!("Basic {}", base64(secret(path)?.as_bytes())),
    };
    let value = HeaderValue::try_from(value);
    let mut value = value.map_err(|_| "credentials that no header can hold".to_owned())?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// The first line of a file.
fn secret(path: &std::path::Path) -> Result<String, String> {
    use std::io::Read;
    let mut text = String::new();
    let read = std::fs::File::open(path).and_then(|f| f.take(SECRET_MAX).read_to_string(&mut text));
    read.map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

/// RFC 4648 s4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let index = (bits >> (18 - 6 * digit) & 63) as usize;
            let known = DIGITS.get(index).filter(|_| digit <= chunk.len());
            out.push(char::from(known.copied().unwrap_or(b'=')));
        }
    }
    out
}

/// Whom to believe: those of `ca_file`, or those of the system. Errors are in words.
pub fn trust(ca_file: Option<&Path>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            let bad = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
            let certificates = CertificateDer::pem_file_iter(path).map_err(|error| bad(&error))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|error| bad(&error))?;
                roots.add(certificate).map_err(|error| bad(&error))?;
            }
        }
        None => {
            let system = rustls_native_certs::load_native_certs();
            let (added, _) = roots.add_parsable_certificates(system.certs);
            if added == 0 {
                return Err("the system has no certificates to believe: set ca_file".into());
            }
        }
    }
    Ok(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::super::collect::tests::scrape;
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        // RFC 4648 s10.
        let cases =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")];
        for (text, want) in cases {
            assert_eq!(base64(text.as_bytes()), want);
        }
    }

    #[test]
    fn a_federation_endpoint_is_asked_for_what_is_wanted() {
        let policy =
            scrape("url = \"http://p:9090/federate?x=1\"\nmatch = [\"{job=\\\"a b\\\"}\", \"up\"]");
        let want = "/federate?x=1&match%5B%5D=%7Bjob%3D%22a%20b%22%7D&match%5B%5D=up";
        assert_eq!(target(&policy), want);
        assert_eq!(target(&scrape("url = \"https://p\"")), "/metrics");
    }
}
