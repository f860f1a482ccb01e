//! One hook: from the archive to whoever is told, at its own pace.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use crate::api::audit::RecordView;
use crate::config::Policy;
use crate::config::policy::{HOOK_EVENTS, HookPolicy, HookWay};
use crate::store::archive::filter::{Bounds, Found};
use crate::store::archive::{Entry, Filter, Forward};

use super::webhook::Failure;
use super::{HookStatus, Outbox, command, cursor, webhook};

/// What is read at once: little, as each hook holds it in memory.
const PAGE: Bounds = Bounds { entries: 50, looks: 10_000 };
/// Pause after a first failure; doubled up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// So often is an event offered to a receiver that refuses it.
const REFUSALS_MAX: u32 = 4;
/// How long what was told is not written down: after a crash it is told again.
const KEEP_EVERY: Duration = Duration::from_secs(1);

/// What goes out.
#[derive(Serialize)]
struct Told<'a> {
    hook: &'a str,
    event: &'a str,
    record: RecordView,
}

/// Tells one hook.
pub(super) struct Feeder {
    hook: HookPolicy,
    outbox: Arc<Outbox>,
    /// For the names of networks.
    policies: watch::Receiver<Arc<Policy>>,
    filter: Arc<Filter>,
    /// The next record.
    next: u64,
    /// What of that was written down, and when.
    kept: (u64, Instant),
}

impl Feeder {
    pub(super) fn new(
        hook: HookPolicy,
        outbox: Arc<Outbox>,
        policies: watch::Receiver<Arc<Policy>>,
    ) -> Feeder {
        let wanted = |(event, _): &&(&str, _)| hook.events.contains(event);
        let kinds = HOOK_EVENTS.iter().filter(wanted).flat_map(|(_, kinds)| *kinds);
        let kinds = kinds.map(|kind| Box::from(*kind)).collect();
        let filter = Arc::new(Filter { kinds, ..Filter::default() });
        Feeder { hook, outbox, policies, filter, next: 1, kept: (0, Instant::now()) }
    }

    /// Tells it of everything, as it comes.
    pub(super) async fn run(mut self) {
        self.begin().await;
        let mut news = self.outbox.archive.watch();
        let mut reader = None;
        loop {
            news.borrow_and_update();
            let Some((found, missed)) = self.read(&mut reader).await else {
                sleep(PAUSE_MIN).await;
                continue;
            };
            self.miss(missed);
            for entry in &found.entries {
                let told = self.insist(entry).await;
                self.next = entry.number + 1;
                self.status(|status| match told {
                    true => status.delivered += 1,
                    false => status.refused += 1,
                });
                if self.kept.1.elapsed() >= KEEP_EVERY {
                    self.keep().await;
                }
            }
            self.next = found.next.max(self.next);
            self.status(|_| ());
            if !found.more {
                self.wait(&mut news).await;
            }
        }
    }

    /// Finds out where it stands: a new one begins with what comes from now on.
    async fn begin(&mut self) {
        let name = &self.hook.name;
        let end = self.outbox.archive.status().next;
        self.next = match cursor::read(&self.outbox.dir, name) {
            Ok(Some(next)) if next <= end => next,
            Ok(None) => end,
            Ok(Some(next)) => {
                tracing::warn!("hook {name}: it stands at record {next}, and the last is {end}");
                end
            }
            Err(error) => {
                tracing::error!(
                    "hook {name}: its place: {error}; it is told of all records that are kept"
                );
                1
            }
        };
        self.keep().await;
        self.status(|_| ());
    }

    /// The next page, and how many records are gone that were before it.
    async fn read(&self, reader: &mut Option<Forward>) -> Option<(Found, u64)> {
        let (filter, dir) = (self.filter.clone(), self.outbox.archive.dir());
        let mut taken = reader.take().unwrap_or_else(|| filter.reader(dir, self.next));
        let work = tokio::task::spawn_blocking(move || (filter.read(&mut taken, PAGE), taken));
        let (found, mut taken) = work.await.ok()?;
        let name = &self.hook.name;
        let warn = |error: &_| tracing::warn!("hook {name}: the audit records: {error}");
        let found = found.inspect_err(warn).ok()?;
        let missed = taken.take_missed();
        *reader = Some(taken);
        Some((found, missed))
    }

    fn miss(&self, missed: u64) {
        if missed > 0 {
            let name = &self.hook.name;
            tracing::error!("hook {name}: {missed} audit records went before it was told of them");
            self.status(|status| status.missed += missed);
        }
    }

    /// Tells of one record until that goes well; false if the receiver will not have it, so that
    /// one event holds up no other for good.
    async fn insist(&self, entry: &Entry) -> bool {
        let (mut pause, mut refusals) = (PAUSE_MIN, 0);
        while let Err(failure) = self.tell(entry).await {
            let (name, number) = (&self.hook.name, entry.number);
            self.status(|status| status.failed += 1);
            let why = match failure {
                Failure::Failed(why) => why,
                Failure::Refused(why) => {
                    refusals += 1;
                    if refusals == REFUSALS_MAX {
                        tracing::error!("hook {name}: record {number}: {why}; it is set aside");
                        return false;
                    }
                    why
                }
            };
            tracing::warn!("hook {name}: record {number}: {why}; again in {pause:?}");
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
        true
    }

    async fn tell(&self, entry: &Entry) -> Result<(), Failure> {
        let kind = entry.kind();
        let event = HOOK_EVENTS.iter().find(|(_, kinds)| kinds.contains(&kind));
        let (event, _) = event.ok_or_else(|| format!("no event is `{kind}`"))?;
        let record = RecordView::of(entry, &self.policies.borrow());
        let told = Told { hook: &self.hook.name, event, record };
        let body = serde_json::to_vec(&told).map_err(|error| error.to_string())?;
        let timeout = self.hook.timeout;
        let told = async {
            match &self.hook.way {
                HookWay::Url { url, secret_file, ca_file } => {
                    let secret = webhook::secret(secret_file)?;
                    let at = (self.outbox.now)().secs();
                    let signed = webhook::sign(&secret, at, &body);
                    let (hook, key) = (&*self.hook.name, entry.number.to_string());
                    let head = webhook::Head { hook, event, key, signed };
                    webhook::post(url, ca_file.as_deref(), head, body).await
                }
                HookWay::Command(argv) => Ok(command::run(argv, event, &body).await?),
            }
        };
        let timed = tokio::time::timeout(Duration::from_millis(timeout.0), told);
        timed.await.unwrap_or_else(|_| Err(format!("not done in {timeout}").into()))
    }

    /// Waits for more; what was told is written down meanwhile.
    async fn wait(&mut self, news: &mut watch::Receiver<u64>) {
        let due = self.kept.1 + KEEP_EVERY;
        if self.kept.0 != self.next {
            tokio::select! {
                _ = news.changed() => return,
                () = sleep_until(due) => self.keep().await,
            }
        }
        let _ = news.changed().await;
    }

    async fn keep(&mut self) {
        let (dir, name, next) = (self.outbox.dir.clone(), self.hook.name.clone(), self.next);
        self.kept = (next, Instant::now());
        let work = tokio::task::spawn_blocking(move || cursor::write(&dir, &name, next));
        if let Ok(Err(error)) = work.await {
            tracing::warn!("hook {}: its place cannot be kept: {error}", self.hook.name);
            self.kept.0 = 0;
        }
    }

    fn status(&self, change: impl FnOnce(&mut HookStatus)) {
        let mut all = self.outbox.statuses.lock();
        let status = all.entry(self.hook.name.clone()).or_default();
        status.next = self.next;
        change(status);
    }
}

#[cfg(test)]
mod tests {
    use super::HOOK_EVENTS;
    use crate::store::archive::filter::kinds;

    #[test]
    fn every_event_is_of_kinds_that_are_kept() {
        for (event, of) in HOOK_EVENTS {
            for kind in *of {
                assert!(kinds().any(|known| known == *kind), "{event}: {kind}");
            }
        }
    }
}
