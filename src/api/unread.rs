//! What nobody read of a request's body. Who is refused before their body was looked at hears of it
//! only if what they sent is taken: a connection that is closed over unread bytes is reset, and the
//! answer may be lost with it.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::header;
use hyper::body::{Frame, SizeHint};
use tokio::time::timeout;

use super::live::Live;

/// A request's body, as those who answer it see it.
struct Lent(Arc<Mutex<Body>>);

/// What is left of it.
pub(super) struct Unread(Arc<Mutex<Body>>);

impl Unread {
    /// Lends the body to those who answer. Not of a request whose sender waits to be told to send
    /// (RFC 9110 s10.1.1): nothing of that is on its way.
    pub(super) fn of(request: Request) -> (Request, Option<Unread>) {
        let waits = request.headers().contains_key(header::EXPECT);
        if waits || request.body().is_end_stream() {
            return (request, None);
        }
        let (parts, body) = request.into_parts();
        let body = Arc::new(Mutex::new(body));
        let request = Request::from_parts(parts, Body::new(Lent(Arc::clone(&body))));
        (request, Some(Unread(body)))
    }

    /// Takes the rest, as much as a body may have, in the time that one may take.
    pub(super) async fn take(self, live: &Live) {
        let most = live.body_max();
        let all = async {
            let mut read = 0;
            while let Some(Ok(frame)) = poll_fn(|cx| poll(&self.0, cx)).await {
                read += frame.into_data().map_or(0, |data| data.len());
                if read > most {
                    return;
                }
            }
        };
        // Late or too much: it is reset.
        let _ = timeout(live.timeout(), all).await;
    }
}

fn poll(
    body: &Mutex<Body>,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
    // One at a time polls it; the lock is never waited for.
    Pin::new(&mut *body.lock().unwrap_or_else(PoisonError::into_inner)).poll_frame(cx)
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        poll(&self.0, cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).size_hint()
    }
}
