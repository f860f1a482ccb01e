//! What was measured, by case, server and kind.

use std::collections::BTreeMap;

use crate::peer::Peer;

/// One kind of figure, as the tables call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum What {
    /// Microseconds of CPU per exchange.
    Cpu,
    /// Exchanges a second.
    Rate,
    /// Percent of exchanges that came to nothing.
    Lost,
    /// Microseconds until the OFFER or ADVERTISE.
    OfferP50,
    OfferP99,
    /// Microseconds from REQUEST to ACK or REPLY.
    AckP50,
    AckP99,
    /// Seconds until everybody is bound, or until the first OFFER.
    Seconds,
    /// Messages that clients sent again.
    Resent,
    /// Clients that are bound.
    Bound,
    /// Bytes of memory or disk.
    Bytes,
    /// Of these, for each lease above the empty server.
    Each,
    /// Percent of the machine that neither the server nor the generator used.
    Others,
}

/// All figures of a run, each with its repetitions.
#[derive(Debug, Default)]
pub(crate) struct Figures(BTreeMap<(&'static str, Peer, What), Vec<f64>>);

impl Figures {
    /// Adds one repetition.
    pub(crate) fn add(&mut self, case: &'static str, peer: Peer, what: What, value: f64) {
        self.0.entry((case, peer, what)).or_default().push(value);
    }

    fn of(&self, case: &'static str, peer: Peer, what: What) -> Vec<f64> {
        let mut all = self.0.get(&(case, peer, what)).cloned().unwrap_or_default();
        all.sort_by(f64::total_cmp);
        all
    }

    /// The median of the repetitions.
    pub(crate) fn median(&self, case: &'static str, peer: Peer, what: What) -> Option<f64> {
        let all = self.of(case, peer, what);
        let (low, high) = (all.get(all.len().checked_sub(1)? / 2)?, all.get(all.len() / 2)?);
        Some((low + high) / 2.0)
    }

    /// The median, and the range where there were several.
    pub(crate) fn text(
        &self,
        case: &'static str,
        peer: Peer,
        what: What,
        decimals: usize,
    ) -> String {
        let all = self.of(case, peer, what);
        let (Some(median), Some(min), Some(max)) =
            (self.median(case, peer, what), all.first(), all.last())
        else {
            return "-".to_owned();
        };
        let shown = |value: f64| format!("{value:.decimals$}");
        if shown(*min) == shown(*max) {
            return shown(median);
        }
        format!("{} ({} to {})", shown(median), shown(*min), shown(*max))
    }

    /// What was measured for each server in a case.
    pub(crate) fn peers(&self, case: &'static str) -> Vec<Peer> {
        let mut peers: Vec<Peer> =
            self.0.keys().filter(|(of, ..)| *of == case).map(|(_, peer, _)| *peer).collect();
        peers.dedup();
        peers
    }

    /// Every repetition of one kind, of all cases and servers.
    pub(crate) fn all(&self, what: What) -> Vec<f64> {
        let of_kind = self.0.iter().filter(|((.., kind), _)| *kind == what);
        of_kind.flat_map(|(_, values)| values.iter().copied()).collect()
    }
}
