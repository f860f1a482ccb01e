//! The thread that tells people and files what happens.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::base::Timestamp;
use crate::config::Policy;

use super::counters::Counters;
use super::guard;
use super::hosts::Hosts;
use super::lines;
use super::log::EventLog;
use super::routes::Routes;
use super::switch;
use super::telling::Told;

/// How long it waits for something to tell before it looks at what is left to be said.
const WATCH: Duration = Duration::from_secs(1);

/// A policy that the thread that tells people has yet to hear of.
pub(super) type NewPolicy = Arc<Mutex<Option<Arc<Policy>>>>;

/// Writes the log and feeds the hosts file and the routes, on a thread that packets do not wait
/// for.
pub(super) struct Teller {
    /// The log.
    pub(super) log: EventLog,
    /// The hosts file, where one is written.
    pub(super) hosts: Option<Hosts>,
    /// The routes to delegated prefixes.
    pub(super) routes: Option<Routes>,
    /// Who sees to standbys.
    pub(super) switch: Option<switch::Nudge>,
    /// Who has ports guarded.
    pub(super) guard: Option<guard::Ear>,
    /// A policy that it has yet to hear of.
    pub(super) new_policy: NewPolicy,
    /// Reads the time.
    pub(super) now: Box<dyn Fn() -> Timestamp + Send>,
    /// What is counted.
    pub(super) counters: Arc<Counters>,
    /// Of the counters, when the followers were last told: [`Teller::notice_losses`].
    pub(super) lost: u64,
}

impl Teller {
    /// Runs until the other end of the channel is gone.
    pub(super) fn run(mut self, heard: &Receiver<Told>) {
        lines::gather();
        loop {
            lines::flush();
            let told = heard.recv_timeout(WATCH);
            self.notice_losses();
            let changed = self.new_policy.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(policy) = changed {
                self.log.set_policy(&policy);
                self.routes.iter().for_each(|routes| routes.set_policy(policy.clone()));
                self.guard.iter().for_each(guard::Ear::lost);
            }
            match told {
                Ok(Told { events }) => {
                    for (event, took) in &events {
                        self.log.event(event, *took);
                        self.hosts.iter().for_each(|hosts| hosts.event(event));
                        self.routes.iter().for_each(|routes| routes.event(event));
                        self.switch.iter().for_each(|switch| switch.event(event));
                        self.guard.iter().for_each(|guard| guard.event(event));
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.log.tick((self.now)()),
                Err(RecvTimeoutError::Disconnected) => return lines::flush(),
            }
        }
    }

    /// Whether the followers can still be right: they are not if events were lost, nor, since the
    /// leases may have been read before their commit failed, after a failed commit.
    fn notice_losses(&mut self) {
        let lost = self.counters.events_lost.get() + self.counters.commits_failed.get();
        if lost != self.lost {
            self.lost = lost;
            self.hosts.iter().for_each(Hosts::lost);
            self.routes.iter().for_each(Routes::lost);
            self.switch.iter().for_each(switch::Nudge::nudge);
            self.guard.iter().for_each(guard::Ear::lost);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::super::hosts;
    use super::*;
    use crate::api::tests::policy;

    #[test]
    fn lost_events_have_all_leases_read_again() {
        let dir = std::env::temp_dir().join(format!("foreshadow-teller-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let (asked, when) = mpsc::channel();
        let read = move |from| {
            asked.send(from).unwrap();
            Some(hosts::Page { at: Timestamp(1), named: vec![], next: None })
        };
        let written = Hosts::write(&dir.join("hosts"), [].iter()).unwrap();
        let counters = Arc::new(Counters::default());
        let teller = Teller {
            log: EventLog::new(&policy(), false),
            hosts: Some(written.follow(Box::new(read)).unwrap()),
            routes: None,
            switch: None,
            guard: None,
            new_policy: NewPolicy::default(),
            now: Box::new(|| Timestamp(1)),
            counters: counters.clone(),
            lost: 0,
        };
        let (events, heard) = mpsc::sync_channel(1);
        let told = Told::default;
        let thread = std::thread::spawn(move || teller.run(&heard));
        events.send(told()).unwrap();
        events.send(told()).unwrap();
        counters.events_lost.add(3);
        events.send(told()).unwrap();
        assert_eq!(when.recv_timeout(Duration::from_secs(60)), Ok(0));
        drop(events);
        thread.join().unwrap();
        assert_eq!(when.try_iter().count(), 0, "once is enough");
        std::fs::remove_dir_all(dir).unwrap();
    }
}
