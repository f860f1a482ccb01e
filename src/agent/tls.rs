//! TLS between a server and the agents of other hosts: each shows a certificate, and believes those
//! of one authority. An agent obeys who shows the common name that it was told; a server believes an
//! agent by the DNS name of its host.
//!
//! Files are read for each connection, so that they can be replaced.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, ServerConfig, ServerConnection, StreamOwned,
};

use crate::net::tls::{certificates, common_name, private_key, roots};

/// How long a handshake may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(3);
/// How soon a peer that is silent is asked whether it is there.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// Files in PEM by which a side is known, and knows the other.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Who signs the certificates of the other side.
    pub ca: PathBuf,
    /// The own certificate, then those between it and its root.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// A connection that an agent took.
pub(super) type Taken = StreamOwned<ServerConnection, TcpStream>;
/// A connection to an agent.
pub(super) type Made = StreamOwned<ClientConnection, TcpStream>;

/// What a connection is that was not made, in words.
fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::other(error)
}

/// Takes a connection of who shows a certificate with this common name, and of nobody else.
pub(super) fn accept(
    stream: TcpStream,
    credentials: &Credentials,
    name: &str,
) -> io::Result<Taken> {
    prepare(&stream)?;
    let mut connection =
        ServerConnection::new(serving(credentials).map_err(other)?).map_err(other)?;
    shake(&stream, |stream| connection.complete_io(stream).map(drop))?;
    let shown = connection.peer_certificates().and_then(<[_]>::first);
    let shown = shown.and_then(|certificate| common_name(certificate));
    if shown.as_deref() != Some(name) {
        let shown = shown.as_deref().unwrap_or("nobody");
        return Err(other(format!("the peer is \"{shown}\", want \"{name}\"")));
    }
    Ok(StreamOwned::new(connection, stream))
}

/// Connects to the agent of a host: who shows a certificate for its name, and nobody else.
pub(super) fn connect(
    address: SocketAddr,
    host: &str,
    credentials: &Credentials,
    within: Duration,
) -> io::Result<Made> {
    let stream = TcpStream::connect_timeout(&address, within)?;
    prepare(&stream)?;
    let name = ServerName::try_from(host.to_owned()).map_err(other)?;
    let mut connection =
        ClientConnection::new(asking(credentials).map_err(other)?, name).map_err(other)?;
    shake(&stream, |stream| connection.complete_io(stream).map(drop))?;
    Ok(StreamOwned::new(connection, stream))
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let often = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 4);
    SockRef::from(stream).set_tcp_keepalive(&often.with_retries(3))
}

fn shake(
    stream: &TcpStream,
    mut shake: impl FnMut(&mut Deadline<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let mut timed = Deadline { stream, until: std::time::Instant::now() + HANDSHAKE_MAX };
    shake(&mut timed)?;
    stream.set_read_timeout(None)?;
    stream.set_write_timeout(None)
}

/// A stream on which all reads and writes together may take so long: a peer that sends a byte now
/// and then holds nobody up.
struct Deadline<'a> {
    stream: &'a TcpStream,
    until: std::time::Instant,
}

impl Deadline<'_> {
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.until.saturating_duration_since(std::time::Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }
}

impl Read for Deadline<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(into)
    }
}

impl Write for Deadline<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// The agent's side. On error: which file, and why.
pub(super) fn serving(credentials: &Credentials) -> Result<Arc<ServerConfig>, String> {
    let Credentials { ca, certificate, key } = credentials;
    let provider = Arc::new(default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots(ca)?), provider.clone());
    let verifier = verifier.build().map_err(|error| format!("{}: {error}", ca.display()))?;
    let builder = ServerConfig::builder_with_provider(provider);
    let builder = builder.with_protocol_versions(&[&TLS13]).map_err(|error| error.to_string())?;
    let builder = builder.with_client_cert_verifier(verifier);
    let config = builder.with_single_cert(certificates(certificate)?, private_key(key)?);
    config.map(Arc::new).map_err(|error| format!("certificate {}: {error}", certificate.display()))
}

/// The server's side. On error: which file, and why.
fn asking(credentials: &Credentials) -> Result<Arc<ClientConfig>, String> {
    let Credentials { ca, certificate, key } = credentials;
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_protocol_versions(&[&TLS13]).map_err(|error| error.to_string())?;
    let builder = builder.with_root_certificates(roots(ca)?);
    let config = builder.with_client_auth_cert(certificates(certificate)?, private_key(key)?);
    config.map(Arc::new).map_err(|error| format!("certificate {}: {error}", certificate.display()))
}
