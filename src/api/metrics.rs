//! `/metrics`: what the server counts, as text for scrapers.
//!
//! However often it is asked for, the engine's thread is asked once a second at most: whoever comes
//! within that second gets the same text.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::{Mutex, oneshot};
use tokio::time::Instant;

use super::command::{Command, Post};
use super::exposition::{Exposition, Format};
use super::gauges::Figures;

/// How old figures may be.
const FRESH: Duration = Duration::from_secs(1);
/// How long the engine's thread may take for all of its figures; then the rest is told without.
const PATIENCE: Duration = Duration::from_secs(2);

/// Writes all that is counted.
pub trait Measure: Send + Sync + 'static {
    /// Writes it; `pages` is what the engine's thread says, or nothing if it did not answer.
    fn write(&self, pages: &[Figures], out: &mut Exposition);
}

/// The text of the last second.
pub struct Metrics {
    post: Arc<dyn Post>,
    measure: Box<dyn Measure>,
    last: Mutex<Option<Last>>,
}

struct Last {
    at: Instant,
    pages: Vec<Figures>,
    open: Option<Bytes>,
    text: Option<Bytes>,
}

impl Metrics {
    /// Asks the engine's thread by `post`, and `measure` for all else.
    pub fn new(post: Arc<dyn Post>, measure: Box<dyn Measure>) -> Metrics {
        Metrics { post, measure, last: Mutex::new(None) }
    }

    /// The answer to a scraper that sent these headers.
    pub async fn answer(&self, headers: &HeaderMap) -> Response {
        let format = Format::wanted(headers);
        let kind = [(header::CONTENT_TYPE, format.content_type()), (header::VARY, "accept")];
        (kind, self.text(format).await).into_response()
    }

    /// The text, at most a second old.
    async fn text(&self, format: Format) -> Bytes {
        // Held while the engine is asked: everybody who comes meanwhile waits for that answer.
        let mut last = self.last.lock().await;
        let fresh = last.take().filter(|last| last.at.elapsed() < FRESH);
        let last = last.insert(match fresh {
            Some(fresh) => fresh,
            None => {
                let pages = tokio::time::timeout(PATIENCE, self.ask()).await.ok().flatten();
                let pages = pages.unwrap_or_default();
                Last { at: Instant::now(), pages, open: None, text: None }
            }
        });
        let cached = match format {
            Format::OpenMetrics => &mut last.open,
            Format::Text => &mut last.text,
        };
        let write = || {
            let mut out = Exposition::new(format);
            self.measure.write(&last.pages, &mut out);
            out.finish().into()
        };
        cached.get_or_insert_with(write).clone()
    }

    /// All pages; `None` if the engine's thread has too much to do, or is gone.
    async fn ask(&self) -> Option<Vec<Figures>> {
        let (mut pages, mut next) = (Vec::<Figures>::new(), Some(0));
        while let Some(from) = next {
            let (reply, answer) = oneshot::channel();
            self.post.post(Command::Figures(from, reply)).ok()?;
            let page = answer.await.ok()?;
            next = page.next;
            // The networks of another policy are others: begin anew.
            if pages.first().is_some_and(|first| !Arc::ptr_eq(&first.policy, &page.policy)) {
                pages.clear();
                next = Some(0);
                continue;
            }
            pages.push(page);
        }
        Some(pages)
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::api::tests::policy;
    use crate::config::Policy;
    use crate::store::StoreStats;

    /// An engine's thread that answers in two pages, and counts; or does not answer.
    struct Engine {
        asked: AtomicUsize,
        silent: bool,
        policy: Arc<Policy>,
    }

    /// A way to it.
    struct Way(Arc<Engine>);

    impl Post for Way {
        fn post(&self, command: Command) -> Result<(), Command> {
            let Command::Figures(from, reply) = command else { return Err(command) };
            self.0.asked.fetch_add(1, Ordering::SeqCst);
            if self.0.silent {
                // Kept, as by a thread that hangs.
                std::mem::forget(reply);
                return Ok(());
            }
            let _ = reply.send(Figures {
                networks: vec![],
                next: (from == 0).then_some(1),
                policy: self.0.policy.clone(),
                bindings: 7,
                accounts: Vec::new(),
                other_accounts: 0,
                accounts_count: 0,
                shadows: Vec::new(),
                store: StoreStats::default(),
                store_writable: true,
                store_lag: Duration::ZERO,
                store_slow: false,
                clock_trusted: true,
            });
            Ok(())
        }
    }

    struct Pages;

    impl Measure for Pages {
        fn write(&self, pages: &[Figures], out: &mut Exposition) {
            out.family(super::super::exposition::Family::gauge("pages", "Pages."));
            out.count(&[], pages.len() as u64);
        }
    }

    fn metrics(silent: bool) -> (Arc<Engine>, Metrics) {
        let engine = Arc::new(Engine { asked: AtomicUsize::new(0), silent, policy: policy() });
        (engine.clone(), Metrics::new(Arc::new(Way(engine)), Box::new(Pages)))
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_scrapes_asks_the_engine_once() {
        let (engine, metrics) = metrics(false);
        for _ in 0..1000 {
            assert!(metrics.text(Format::Text).await.ends_with(b"pages 2\n"));
            assert!(metrics.text(Format::OpenMetrics).await.ends_with(b"pages 2\n# EOF\n"));
        }
        assert_eq!(engine.asked.load(Ordering::SeqCst), 2);
        tokio::time::advance(FRESH).await;
        metrics.text(Format::Text).await;
        assert_eq!(engine.asked.load(Ordering::SeqCst), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn an_engine_that_hangs_costs_its_own_figures_alone() {
        let (engine, metrics) = metrics(true);
        for _ in 0..10 {
            assert!(metrics.text(Format::Text).await.ends_with(b"pages 0\n"));
        }
        assert_eq!(engine.asked.load(Ordering::SeqCst), 1);
    }
}
