//! The listener for scrapers: HTTP over TCP, `/metrics` and nothing else, on a thread of its own,
//! so that whoever floods it delays no operator.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::get;
use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Sleep;

use super::metrics::Metrics;

/// Connections at once; more wait to be accepted.
const CONNECTIONS_MAX: usize = 16;
/// How long a connection may last, whatever moves on it: a scraper opens another one.
const CONNECTION_MAX: Duration = Duration::from_secs(120);
/// How long to wait before accepting again where there are no file descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

/// A listener that is bound: whoever connects waits until it is served.
#[derive(Debug)]
pub struct BoundScrape(std::net::TcpListener);

/// The running listener; stops when dropped.
#[derive(Debug)]
pub struct Scrape {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl BoundScrape {
    /// Listens on `addr`.
    pub fn new(addr: SocketAddr) -> io::Result<BoundScrape> {
        let listener = std::net::TcpListener::bind(addr)?;
        listener.set_nonblocking(true)?;
        Ok(BoundScrape(listener))
    }

    /// Serves it on a new thread.
    pub fn serve(self, metrics: Arc<Metrics>) -> io::Result<Scrape> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _context = runtime.enter();
            tokio::net::TcpListener::from_std(self.0)?
        };
        let listener = Bounded { listener, slots: Arc::new(Semaphore::new(CONNECTIONS_MAX)) };
        let (stop, stopped) = oneshot::channel::<()>();
        let app = Router::new()
            .route(
                "/metrics",
                get(async |State(metrics): State<Arc<Metrics>>, headers: HeaderMap| {
                    metrics.answer(&headers).await
                }),
            )
            .with_state(metrics);
        let serve = async move {
            tokio::select! {
                _ = axum::serve(listener, app) => {}
                _ = stopped => {}
            }
        };
        let thread = std::thread::Builder::new()
            .name("scrape".into())
            .spawn(move || runtime.block_on(serve))?;
        Ok(Scrape { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Scrape {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Accepts only as many connections as there are slots.
struct Bounded {
    listener: tokio::net::TcpListener,
    slots: Arc<Semaphore>,
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            let Ok(slot) = self.slots.clone().acquire_owned().await else {
                // Nobody closes the semaphore; were it closed, nothing would be accepted again.
                return std::future::pending().await;
            };
            match self.listener.accept().await {
                Ok((stream, from)) => {
                    let end = Box::pin(tokio::time::sleep(CONNECTION_MAX));
                    return (Connection { stream, end, _slot: slot }, from);
                }
                Err(error) => {
                    tracing::warn!("metrics listener: accept: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that ends in time, and frees its slot then.
struct Connection {
    stream: TcpStream,
    end: Pin<Box<Sleep>>,
    _slot: OwnedSemaphorePermit,
}

impl Connection {
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.end.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
