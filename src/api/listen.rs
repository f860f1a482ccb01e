//! From a listening socket to requests that are answered: who may connect, how long they may take
//! to ask, and how it ends.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tower_service::Service;

use super::connection::{Connection, Peers, Slot, Stream};
use super::live::{Live, Remote};
use super::peer::Peer;
use crate::net::tls::common_name;

/// Bytes and lines of a head.
const HEAD_BYTES_MAX: usize = 32 << 10;
const HEADERS_MAX: usize = 64;
/// After a failed accept: out of file descriptors, trying at once again would only burn the core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long requests in flight may keep a stop waiting.
const STOP_MAX: Duration = Duration::from_secs(2);

/// A socket that is listened on.
pub(super) enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// Accepts on one socket, and answers by `router`, until `stopping` changes.
pub(super) async fn listen(
    listener: Listener,
    router: Router,
    live: Arc<Live>,
    limits: Limits,
    mut stopping: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let peers = Arc::new(Peers::default());
    let mut open = JoinSet::new();
    loop {
        while open.try_join_next().is_some() {}
        let place = tokio::select! {
            place = places.clone().acquire_owned() => place,
            _ = stopping.changed() => break,
        };
        // Nobody closes the semaphore.
        let Ok(place) = place else { break };
        let (stream, remote) = tokio::select! {
            accepted = accept(&listener) => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!("api: accept: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            _ = stopping.changed() => break,
        };
        // One too many of this peer: closed at once.
        let Some(slot) = peers.slot(place, remote.name(), limits.connections_per_peer) else {
            continue;
        };
        let (router, live, stopping) = (router.clone(), live.clone(), stopping.clone());
        open.spawn(async move {
            if let Some((connection, remote)) = begin(stream, remote, slot, &live).await {
                serve(connection, remote, router, live.timeout(), stopping).await;
            }
        });
    }
    drop(listener);
    let _ = timeout(STOP_MAX, async { while open.join_next().await.is_some() {} }).await;
}

/// How many connections there may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) connections: usize,
    pub(super) connections_per_peer: usize,
}

async fn accept(listener: &Listener) -> std::io::Result<(Stream, Remote)> {
    match listener {
        Listener::Unix(listener) => {
            let (stream, _) = listener.accept().await?;
            let peer = stream.peer_cred().ok().map(Peer::from);
            Ok((Stream::Unix(stream), Remote::Local(peer)))
        }
        Listener::Tcp(listener) => {
            let (stream, addr): (TcpStream, SocketAddr) = listener.accept().await?;
            // Answers are written whole; waiting for more would only delay them.
            stream.set_nodelay(true)?;
            Ok((Stream::Tcp(stream), Remote::Tcp(addr.ip().to_canonical(), None)))
        }
    }
}

/// Begins TLS where there is a certificate. `None` if the other end does not.
async fn begin(
    stream: Stream,
    remote: Remote,
    slot: Slot,
    live: &Live,
) -> Option<(Connection, Remote)> {
    let (stream, remote) = match (stream, remote, live.tls()) {
        (Stream::Tcp(stream), Remote::Tcp(addr, _), Some(config)) => {
            let accepted = timeout(live.timeout(), TlsAcceptor::from(config).accept(stream));
            let stream = accepted.await.ok()?.ok()?;
            let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
            let name = shown.and_then(|certificate| common_name(certificate));
            (Stream::Tls(Box::new(stream)), Remote::Tcp(addr, name))
        }
        (stream, remote, _) => (stream, remote),
    };
    Some((Connection::new(stream, slot), remote))
}

async fn serve(
    connection: Connection,
    remote: Remote,
    router: Router,
    head_time: Duration,
    mut stopping: watch::Receiver<bool>,
) {
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(remote.clone());
        router.clone().call(request.map(Body::new))
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(head_time)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX);
    let mut connection = pin!(http.serve_connection(TokioIo::new(connection), service));
    tokio::select! {
        // What went wrong concerns the other end alone, which knows.
        _ = connection.as_mut() => return,
        _ = stopping.changed() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
