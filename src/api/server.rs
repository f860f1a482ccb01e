//! The control socket: a Unix socket that speaks HTTP/1 and JSON, on a thread of its own.

use std::fs::{self, Permissions};
use std::future::Future;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, Sleep};

use crate::base::Timestamp;

use super::command::{Post, Reload};
use super::metrics::Metrics;
use super::peer::Peer;
use super::routes;

/// Connections at once, and so requests at once; more wait to be accepted.
const CONNECTIONS_MAX: usize = 64;
/// A connection on which nothing moves for so long is closed. Longer than a backup takes.
const IDLE_MAX: Duration = Duration::from_secs(900);
/// How long requests in flight may keep a stop waiting.
const STOP_MAX: Duration = Duration::from_secs(2);

/// What requests need from the rest of the server.
pub struct Hub {
    /// The way to the engine's thread.
    pub post: Arc<dyn Post>,
    /// Reads the configuration again.
    pub reload: Arc<dyn Reload>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The time, for imports that do not say since when.
    pub now: Box<dyn Fn() -> Timestamp + Send + Sync>,
    /// Who the server runs as.
    pub own: Peer,
}

/// The running control socket; stops when dropped.
#[derive(Debug)]
pub struct Server {
    _file: SocketFile,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// A control socket that is bound: whoever connects waits until it is served.
#[derive(Debug)]
pub struct Bound {
    listener: UnixListener,
    file: SocketFile,
}

impl Bound {
    /// Binds `path`.
    ///
    /// A socket that a dead server left behind is replaced; one that answers is an error.
    pub fn new(path: &Path) -> io::Result<Bound> {
        let listener = bind(path)?;
        Ok(Bound { listener, file: SocketFile(path.to_owned()) })
    }

    /// Serves it on a new thread.
    pub fn serve(self, hub: Hub) -> io::Result<Server> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let Bound { listener, file } = self;
        let listener = {
            let _context = runtime.enter();
            tokio::net::UnixListener::from_std(listener)?
        };
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("control".into())
            .spawn(move || runtime.block_on(serve(listener, hub, stopped)))?;
        Ok(Server { _file: file, stop: Some(stop), thread: Some(thread) })
    }
}

/// A socket's file, gone when dropped.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(listener: tokio::net::UnixListener, hub: Hub, mut stopped: oneshot::Receiver<()>) {
    let listener = Bounded { listener, slots: Arc::new(Semaphore::new(CONNECTIONS_MAX)) };
    let service = routes::router(Arc::new(hub)).into_make_service_with_connect_info::<Caller>();
    let (tell, told) = oneshot::channel::<()>();
    let server = axum::serve(listener, service).with_graceful_shutdown(async {
        let _ = told.await;
    });
    let mut server = pin!(server.into_future());
    tokio::select! {
        _ = &mut server => return,
        _ = &mut stopped => {}
    }
    drop(tell);
    let _ = tokio::time::timeout(STOP_MAX, server).await;
}

/// A listening socket at `path` that never exists with other permissions than 0660.
fn bind(path: &Path) -> io::Result<UnixListener> {
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        let why = "another server answers on this socket";
        return Err(io::Error::new(io::ErrorKind::AddrInUse, why));
    }
    let mut unready = path.as_os_str().to_owned();
    unready.push(".new");
    let unready = PathBuf::from(unready);
    match fs::remove_file(&unready) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&unready)?;
    listener.set_nonblocking(true)?;
    fs::set_permissions(&unready, Permissions::from_mode(0o660))?;
    fs::rename(&unready, path)?;
    Ok(listener)
}

/// Accepts only as many connections as there are slots.
struct Bounded {
    listener: tokio::net::UnixListener,
    slots: Arc<Semaphore>,
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = Caller;

    async fn accept(&mut self) -> (Connection, Caller) {
        loop {
            let Ok(slot) = self.slots.clone().acquire_owned().await else {
                // Nobody closes the semaphore; were it closed, nothing would be accepted again.
                return std::future::pending().await;
            };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let peer = stream.peer_cred().ok().map(Peer::from);
                    return (Connection::new(stream, slot), Caller(peer));
                }
                Err(error) => {
                    tracing::warn!("control socket: accept: {error}");
                    // Out of file descriptors: trying at once again would only burn the core.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<Caller> {
        Ok(Caller(None))
    }
}

/// Who is calling, as far as the kernel says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller(pub(super) Option<Peer>);

impl Connected<IncomingStream<'_, Bounded>> for Caller {
    fn connect_info(stream: IncomingStream<'_, Bounded>) -> Caller {
        *stream.remote_addr()
    }
}

/// A connection that ends when nothing moves on it, and frees its slot then.
struct Connection {
    stream: UnixStream,
    idle: Pin<Box<Sleep>>,
    _slot: OwnedSemaphorePermit,
}

impl Connection {
    fn new(stream: UnixStream, slot: OwnedSemaphorePermit) -> Connection {
        Connection { stream, idle: Box::pin(tokio::time::sleep(IDLE_MAX)), _slot: slot }
    }

    fn watch<T>(&mut self, cx: &mut Context<'_>, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if done.is_ready() {
            self.idle.as_mut().reset(Instant::now() + IDLE_MAX);
            return done;
        }
        match self.idle.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.watch(cx, done)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, done)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
