//! For which addresses a MAC answers that are not its own: a proxy is told by their number.

use std::net::IpAddr;

use smallvec::SmallVec;

use crate::base::{Mac, Span, Timestamp};

use super::aging::Aging;
use super::known::Known;

/// A MAC that answers for more addresses than this that are not bound to it is a proxy.
pub const UNBOUND_MAX: usize = 3;
/// MACs that are remembered, in each of two generations.
const MACS_HALF: usize = 8192;
/// Addresses that are remembered of one.
const CLAIMS_MAX: usize = 8;
/// Answers within this time are answers at one time.
const TOGETHER: Span = Span(5_000);

/// What one MAC claimed that is not its own.
#[derive(Debug, Default)]
struct Speaker {
    /// Addresses, and when it last answered for each.
    claims: SmallVec<[(IpAddr, Timestamp); 2]>,
    /// When it was last asked for all of them.
    checked: Timestamp,
    /// When it was last seen to be a proxy.
    proxy: Option<Timestamp>,
    /// When it was last asked for addresses that nobody has.
    baited: Timestamp,
}

/// All that claimed something.
#[derive(Debug)]
pub(super) struct Speakers {
    macs: Aging<Mac, Speaker>,
}

/// What a claim leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing yet.
    Nothing,
    /// Ask it for these, to see whether it answers for all of them.
    Check(Vec<IpAddr>),
    /// It is a proxy: it answered for all of these.
    Proxy(Vec<IpAddr>),
}

impl Speakers {
    pub(super) fn new() -> Speakers {
        Speakers { macs: Aging::new(MACS_HALF) }
    }

    /// `mac` claimed `addr`, which is not its own, by an answer or otherwise.
    pub(super) fn claim(
        &mut self,
        mac: Mac,
        addr: IpAddr,
        answered: bool,
        known: &Known,
        now: Timestamp,
    ) -> Verdict {
        let speaker = self.macs.touch(mac);
        let when = if answered { now } else { Timestamp(0) };
        match speaker.claims.iter_mut().find(|(claimed, _)| *claimed == addr) {
            Some((_, last)) => *last = when.max(*last),
            None => {
                // What became its own since.
                speaker.claims.retain(|(claimed, _)| known.is_foreign(*claimed, mac));
                if speaker.claims.len() >= CLAIMS_MAX {
                    let oldest = speaker.claims.iter().enumerate().min_by_key(|(_, c)| c.1);
                    let oldest = oldest.map_or(0, |(at, _)| at);
                    speaker.claims.swap_remove(oldest);
                }
                speaker.claims.push((addr, when));
            }
        }
        speaker.judge(mac, known, now)
    }

    /// Whether it was a proxy when it was last asked.
    pub(super) fn is_proxy(&self, mac: Mac) -> bool {
        self.macs.get(&mac).is_some_and(|speaker| speaker.proxy.is_some())
    }

    /// Whether it is to be asked for addresses that nobody has; then it counts as asked.
    pub(super) fn bait(&mut self, mac: Mac, now: Timestamp) -> bool {
        const REST: Span = Span(60_000);
        let speaker = self.macs.touch(mac);
        let is_due = speaker.baited == Timestamp(0) || now.since(speaker.baited) >= REST;
        if is_due {
            speaker.baited = now;
        }
        is_due
    }

    /// What a proxy is to be asked again; none if it is not remembered.
    pub(super) fn recheck(&mut self, mac: Mac, now: Timestamp) -> Vec<IpAddr> {
        let Some(speaker) = self.macs.get_mut(&mac) else { return vec![] };
        speaker.checked = now;
        speaker.claims.iter().map(|(addr, _)| *addr).collect()
    }

    /// It is none any more.
    pub(super) fn clear(&mut self, mac: Mac) {
        if let Some(speaker) = self.macs.get_mut(&mac) {
            speaker.proxy = None;
            speaker.claims.clear();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.macs.len()
    }
}

impl Speaker {
    fn judge(&mut self, mac: Mac, known: &Known, now: Timestamp) -> Verdict {
        if self.claims.len() <= UNBOUND_MAX {
            return Verdict::Nothing;
        }
        let since = now.since(self.checked);
        if self.checked != Timestamp(0) && since < TOGETHER {
            let all = self
                .claims
                .iter()
                .filter(|(addr, last)| *last >= self.checked && known.is_foreign(*addr, mac));
            let all: Vec<IpAddr> = all.map(|(addr, _)| *addr).collect();
            if all.len() > UNBOUND_MAX {
                self.proxy = Some(now);
                return Verdict::Proxy(all);
            }
            return Verdict::Nothing;
        }
        // A proxy that is known is asked at each sweep.
        if self.proxy.is_some() {
            return Verdict::Nothing;
        }
        self.checked = now;
        Verdict::Check(self.claims.iter().map(|(addr, _)| *addr).collect())
    }
}
