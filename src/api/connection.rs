//! One connection: plain or TLS, ended when nothing moves on it.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};
use tokio_rustls::server::TlsStream;

/// A connection on which nothing moves for so long is closed. Longer than a backup takes.
const IDLE_MAX: Duration = Duration::from_secs(900);
/// A reader that takes nothing for so long is no reader.
const STUCK_MAX: Duration = Duration::from_secs(60);

/// What a connection runs over.
pub(super) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A place at a listener, until dropped.
pub(super) struct Slot {
    _of_all: OwnedSemaphorePermit,
    peers: Arc<Peers>,
    peer: Arc<str>,
}

/// How many connections each peer has.
#[derive(Debug, Default)]
pub(super) struct Peers(Mutex<HashMap<Arc<str>, usize>>);

impl Peers {
    /// A place for one more connection of `peer`, if it has fewer than `most`.
    pub(super) fn slot(
        self: &Arc<Peers>,
        of_all: OwnedSemaphorePermit,
        peer: Arc<str>,
        most: usize,
    ) -> Option<Slot> {
        let mut peers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // As many as there are places at the listener, at most.
        let count = peers.entry(peer.clone()).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Slot { _of_all: of_all, peers: self.clone(), peer })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut peers = self.peers.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = peers.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                peers.remove(&self.peer);
            }
        }
    }
}

/// A connection that ends when nothing moves on it, and frees its slot then.
pub(super) struct Connection {
    stream: Stream,
    idle: Pin<Box<Sleep>>,
    stuck: Option<Pin<Box<Sleep>>>,
    _slot: Slot,
}

impl Connection {
    pub(super) fn new(stream: Stream, slot: Slot) -> Connection {
        let idle = Box::pin(tokio::time::sleep(IDLE_MAX));
        Connection { stream, idle, stuck: None, _slot: slot }
    }

    /// What the stream says of a write, until it has taken nothing for too long.
    fn watch_write<T>(
        &mut self,
        cx: &mut Context<'_>,
        done: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if done.is_ready() {
            self.stuck = None;
            self.idle.as_mut().reset(Instant::now() + IDLE_MAX);
            return done;
        }
        let stuck = self.stuck.get_or_insert_with(|| Box::pin(tokio::time::sleep(STUCK_MAX)));
        stuck.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let done = match &mut self.stream {
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        };
        if done.is_ready() {
            self.idle.as_mut().reset(Instant::now() + IDLE_MAX);
            return done;
        }
        self.idle.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let done = match &mut self.stream {
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        };
        self.watch_write(cx, done)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = match &mut self.stream {
            Stream::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        };
        self.watch_write(cx, done)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = match &mut self.stream {
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        };
        self.watch_write(cx, done)
    }
}
