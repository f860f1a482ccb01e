//! What is counted, for status and metrics. One thread writes each figure; any may read it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::engine::effects::{DropReason, Event, EventKind};
use crate::engine::tally::{Answered, Asked, OUTCOMES, Outcome};

/// A count that only grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds `n`. Two threads that add to one count lose some: each is one thread's, which saves the
    /// packet path the lock of an atomic addition.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// The count now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Bounds of a histogram: bucket `i` counts what is below `2^(i+1)`, the last one the rest.
pub const BUCKETS: usize = 24;

/// A distribution in buckets that double. Aligned, so that those of two threads share no cache
/// line.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Histogram {
    /// Bucket `i` counts values of at least `2^i` (the first one also 0) and below `2^(i+1)`.
    pub buckets: [Count; BUCKETS],
    /// Sum of all values.
    pub sum: Count,
}

impl Histogram {
    /// Counts a value.
    pub fn record(&self, value: u64) {
        self.record_many(value, 1);
    }

    /// Counts a value that occurred `n` times.
    pub fn record_many(&self, value: u64, n: u64) {
        let bucket = (u64::BITS - value.leading_zeros()).saturating_sub(1) as usize;
        self.buckets[bucket.min(BUCKETS - 1)].add(n);
        self.sum.add(value.wrapping_mul(n));
    }

    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(Count::get).sum()
    }
}

/// A count for each [`DropReason`].
#[derive(Debug)]
pub struct Dropped([Count; DropReason::ALL.len()]);

impl Default for Dropped {
    fn default() -> Dropped {
        Dropped(std::array::from_fn(|_| Count::default()))
    }
}

impl Dropped {
    /// That of each reason.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, &Count)> {
        DropReason::ALL.iter().copied().zip(&self.0)
    }

    /// That of one reason.
    pub fn of(&self, reason: DropReason) -> &Count {
        &self.0[reason as usize]
    }
}

macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// All counts of the data plane.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[doc = $doc])* pub $name: Count,)*
            /// Dropped packets.
            pub dropped: Dropped,
            /// Packets that were decided on, by [`Asked`] and then by [`Outcome::index`].
            pub packets: [Outcomes; Asked::ALL.len()],
            /// Microseconds from the receipt of a batch until its replies left, by [`Answered`].
            pub reply_us: [Histogram; Answered::ALL.len()],
            /// Changes per commit.
            pub commit_changes: Histogram,
            /// Microseconds per commit, sync included.
            pub commit_us: Histogram,
        }

        impl Counters {
            /// Every reason that packets were dropped for, with its count.
            pub fn drops(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
                let counts = self.dropped.iter();
                counts.map(|(reason, n)| (reason.as_str(), n.get())).filter(|(_, n)| *n > 0)
            }

            /// Every plain count with its name.
            pub fn list(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
                [$((stringify!($name), self.$name.get())),*].into_iter()
            }
        }
    };
}

counters! {
    /// Frames with DHCP that were read from links.
    frames,
    /// Datagrams that were read from port 67.
    datagrams,
    /// ARP packets that were read.
    arps,
    /// Messages of neighbour discovery that were read.
    ndp,
    /// Frames for another host's MAC, passed over.
    overheard,
    /// Addresses offered.
    offered,
    /// Addresses offered without proof that they are free.
    offered_unproven,
    /// Leases acknowledged anew.
    granted,
    /// Leases extended.
    renewed,
    /// Leases of other servers taken over.
    adopted,
    /// Bindings taken over by imports.
    imported,
    /// Leases given back.
    released,
    /// Leases that ran out.
    expired,
    /// Addresses that their client found in use.
    declined,
    /// Clients that are to move to another address.
    draining,
    /// Of these, such that may stay after all.
    spared,
    /// Pools too short for their hot tier, each time that is news.
    short,
    /// NAKs.
    naks,
    /// INFORMs answered.
    informed,
    /// Addresses found in use by somebody unknown.
    in_use,
    /// Machines that answer for many addresses.
    proxies,
    /// Client identifiers heard from a second live machine.
    clones,
    /// Foreign servers, each time they are reported.
    foreign_servers,
    /// Answers of foreign servers.
    overheard_answers,
    /// Requests for which nothing was free.
    exhausted,
    /// Limits of accounts and applications, each time they are reported.
    limits_met,
    /// Instances registered.
    instances_made,
    /// Instances destroyed.
    instances_ended,
    /// Standbys: whatever became of one.
    standbys,
    /// Standbys, or their actives, that found their address in use, or somebody who answers for it.
    standby_alarms,
    /// Acts of drivers that were done.
    driver_acts_done,
    /// Acts of drivers that failed, or were broken off.
    driver_acts_failed,
    /// Router advertisements made.
    adverts,
    /// Replies and router advertisements handed to the kernel.
    replies_sent,
    /// Replies and router advertisements that the kernel refused.
    replies_failed,
    /// Replies dropped because their lease could not be made durable.
    replies_lost,
    /// ARP requests and neighbour solicitations handed to the kernel.
    probes_sent,
    /// ARP requests and neighbour solicitations that the kernel refused.
    probes_failed,
    /// Frames that found the DHCP buffer full.
    overruns_dhcp,
    /// Frames that found the ARP buffer full.
    overruns_arp,
    /// Frames that found the buffer for neighbour discovery full.
    overruns_nd,
    /// Datagrams of IPv4 and IPv6 that found a full UDP buffer, of any program on this host.
    overruns_udp,
    /// Commits that failed.
    commits_failed,
    /// Events that nobody took in time.
    events_lost,
    /// Times that packets waited in the kernel because the disk was too far behind.
    disk_waits,
    /// Times that the disk became slow.
    disk_slow,
    /// Times that links changed faster than they were read.
    link_resyncs,
    /// Routes to delegated prefixes that were installed, or led elsewhere.
    routes_installed,
    /// Routes to delegated prefixes that were removed.
    routes_removed,
    /// Times that the kernel refused a change or a listing of routes.
    routes_failed,
}

/// Packets by what became of them.
#[derive(Debug)]
pub struct Outcomes(pub [Count; OUTCOMES]);

impl Default for Outcomes {
    fn default() -> Outcomes {
        Outcomes(std::array::from_fn(|_| Count::default()))
    }
}

/// Replies of one batch, by what they are.
#[derive(Debug, Default)]
pub struct Replies([u32; Answered::ALL.len()]);

impl Replies {
    /// One more.
    pub fn add(&mut self, kind: Answered) {
        self.0[kind as usize] += 1;
    }
}

impl Counters {
    /// Counts a packet that was decided on.
    pub fn packet(&self, asked: Asked, outcome: Outcome) {
        self.packets[asked as usize].0[outcome.index()].add(1);
    }

    /// Counts replies that left so long after their batch was received.
    pub fn replied(&self, replies: &Replies, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        for (n, histogram) in replies.0.iter().zip(&self.reply_us).filter(|(n, _)| **n > 0) {
            histogram.record_many(took, u64::from(*n));
        }
    }

    /// Counts a commit.
    pub fn committed(&self, changes: usize, took: Duration) {
        self.commit_changes.record(changes as u64);
        self.commit_us.record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// Counts what happened.
    pub fn event(&self, event: &Event) {
        let count = match &event.kind {
            EventKind::Offered(offered) => {
                self.offered_unproven.add(u64::from(!offered.proven));
                &self.offered
            }
            EventKind::Granted(_) => &self.granted,
            EventKind::Renewed(_) => &self.renewed,
            EventKind::Adopted(_) => &self.adopted,
            EventKind::Imported(_) => &self.imported,
            EventKind::Released(_) => &self.released,
            EventKind::Expired(_) => &self.expired,
            EventKind::Declined(_) => &self.declined,
            EventKind::Draining(_) => &self.draining,
            EventKind::Spared(_) => &self.spared,
            EventKind::Short(_) => &self.short,
            EventKind::Nak(..) => &self.naks,
            EventKind::Informed(..) => &self.informed,
            EventKind::InUse(..) => &self.in_use,
            EventKind::Proxy(_) => &self.proxies,
            EventKind::Clone(..) => &self.clones,
            EventKind::ForeignServer(..) => &self.foreign_servers,
            EventKind::Overheard(_) => &self.overheard_answers,
            EventKind::Exhausted(_) => &self.exhausted,
            EventKind::Limited(_) => &self.limits_met,
            EventKind::Registered(_) => &self.instances_made,
            EventKind::Ended(_) => &self.instances_ended,
            EventKind::Standby(news, _) if news.is_alarm() => &self.standby_alarms,
            EventKind::Standby(..) => &self.standbys,
            EventKind::Dropped(reason, _) => self.dropped.of(*reason),
        };
        count.add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_double() {
        let histogram = Histogram::default();
        for value in [0, 1, 2, 3, 4, u64::MAX >> 1] {
            histogram.record(value);
        }
        let counts: Vec<u64> = histogram.buckets.iter().map(Count::get).collect();
        assert_eq!(&counts[..3], &[2, 2, 1]);
        assert_eq!((counts[BUCKETS - 1], histogram.count()), (1, 6));
    }

    #[test]
    fn every_reason_has_its_count() {
        for (i, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, i);
        }
    }
}
