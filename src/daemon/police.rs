//! Who may send how many packets: buckets of tokens in tables of fixed size. No IO, no clock.
//!
//! A port of a bridge is what guests cannot choose, so it is what counts where there is one guest
//! behind it. Trunks, relays and interfaces that are no bridge have many clients: there each client
//! counts, by what it says it is. Whoever makes up clients there meets no limit of theirs.
//!
//! A bucket is the time until which its debts last (the generic cell rate algorithm). One that is
//! forgotten is one that is full: a stranger who takes the place of another in a table does it no
//! harm. Of a place that many want, the deepest in debt keep theirs.

use std::hash::BuildHasher;
use std::net::IpAddr;

use hashbrown::DefaultHashBuilder;

use crate::base::{LinkId, Span, Timestamp};
use crate::config::policy::Rate;
use crate::engine::effects::DropReason;
use crate::wire::options6;
use crate::wire::v6::Options6;

/// Buckets for ports: more than a host has.
const PORTS: usize = 1 << 13;
/// Buckets for clients and relays, 16 bytes each.
const CLIENTS: usize = 1 << 15;
/// Places that a bucket may be in.
const WAYS: usize = 4;
/// Who is told of by name at once.
const OFFENDERS: usize = 16;
/// How often each of them is told of.
const SAY_AGAIN: Span = Span::from_secs(60);

/// Whose packets are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    /// An access port of a bridge.
    Port(LinkId),
    /// Whatever comes through a bridge from a port that its forwarding table does not know.
    Unknown(LinkId),
    /// What is relayed by nobody that a network believes.
    Stray(LinkId),
    /// A client on a trunk, of a relay, or on an interface that is no bridge; those of one
    /// interface are told of together.
    Client(LinkId),
    /// A relay and all its clients.
    Relay(IpAddr),
}

/// Packets of one party that were dropped, since it was told of last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offence {
    /// Whose; `None` for all that are not told of by name.
    pub party: Option<Party>,
    /// How many.
    pub dropped: u64,
}

/// The buckets of everybody.
#[derive(Debug)]
pub struct Police {
    hasher: DefaultHashBuilder,
    ports: Table,
    clients: Table,
    offenders: [Option<Offender>; OFFENDERS],
    /// Packets of those for whom there was no room among the offenders.
    others: u64,
}

#[derive(Clone, Copy, Debug)]
struct Offender {
    party: Party,
    dropped: u64,
    said: Option<Timestamp>,
}

impl Default for Police {
    fn default() -> Police {
        Police {
            hasher: DefaultHashBuilder::default(),
            ports: Table::new(PORTS),
            clients: Table::new(CLIENTS),
            offenders: [None; OFFENDERS],
            others: 0,
        }
    }
}

impl Police {
    /// Takes a token for a packet of `party`; of a [`Party::Client`], `client` says which.
    pub fn admit(
        &mut self,
        now: Timestamp,
        party: Party,
        client: &[&[u8]],
        rate: Rate,
    ) -> Result<(), DropReason> {
        if rate.per_s == 0 {
            return Ok(());
        }
        let (table, key, reason) = match party {
            Party::Port(LinkId(port)) => {
                (&mut self.ports, u64::from(port) << 2 | 1, DropReason::PortRate)
            }
            Party::Unknown(LinkId(link)) => {
                (&mut self.ports, u64::from(link) << 2 | 2, DropReason::PortRate)
            }
            Party::Stray(LinkId(link)) => {
                (&mut self.ports, u64::from(link) << 2 | 3, DropReason::RelayRate)
            }
            Party::Client(link) => {
                let key = self.hasher.hash_one((link, client));
                (&mut self.clients, key.max(1), DropReason::ClientRate)
            }
            Party::Relay(addr) => {
                (&mut self.clients, self.hasher.hash_one(addr).max(1), DropReason::RelayRate)
            }
        };
        // Of clients the key is a hash: its other end tells the place.
        let place = match party {
            Party::Client(_) | Party::Relay(_) => key.rotate_left(32),
            _ => self.hasher.hash_one(key),
        };
        if table.take(place, key, now, rate) {
            return Ok(());
        }
        self.note(party);
        Err(reason)
    }

    /// Tells of whom packets were dropped: of each at once, and then once in a while.
    pub fn tell(&mut self, now: Timestamp, mut tell: impl FnMut(Offence)) {
        for slot in &mut self.offenders {
            let Some(offender) = slot else { continue };
            let quiet = |said: Timestamp| now.since(said) < SAY_AGAIN;
            if offender.said.is_some_and(quiet) {
                continue;
            }
            match std::mem::take(&mut offender.dropped) {
                0 => *slot = None,
                dropped => {
                    offender.said = Some(now);
                    tell(Offence { party: Some(offender.party), dropped });
                }
            }
        }
        match std::mem::take(&mut self.others) {
            0 => {}
            dropped => tell(Offence { party: None, dropped }),
        }
    }

    fn note(&mut self, party: Party) {
        let mut vacant = None;
        for slot in &mut self.offenders {
            match slot {
                Some(offender) if offender.party == party => {
                    offender.dropped += 1;
                    return;
                }
                Some(_) => {}
                None => vacant = vacant.or(Some(slot)),
            }
        }
        match vacant {
            Some(slot) => *slot = Some(Offender { party, dropped: 1, said: None }),
            None => self.others += 1,
        }
    }
}

/// Buckets, each in one of a few places that its key decides.
#[derive(Debug)]
struct Table {
    sets: Box<[Set]>,
}

/// One cache line: to fetch it is most of what a packet costs here.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Set([Bucket; WAYS]);

/// The time until which a bucket's debts last, in microseconds; a key of 0 is nobody.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    key: u64,
    until_us: u64,
}

impl Table {
    fn new(buckets: usize) -> Table {
        Table { sets: vec![Set::default(); buckets / WAYS].into() }
    }

    /// Whether the bucket had a token.
    fn take(&mut self, place: u64, key: u64, now: Timestamp, rate: Rate) -> bool {
        let sets = self.sets.len() as u64;
        let Some(Set(set)) = self.sets.get_mut((place % sets.max(1)) as usize) else { return true };
        let now_us = now.0.saturating_mul(1000);
        let token_us = 1_000_000 / u64::from(rate.per_s.max(1));
        let full_us = token_us.saturating_mul(u64::from(rate.burst));
        let mut found = 0;
        for (i, bucket) in set.iter().enumerate() {
            if bucket.key == key {
                found = i;
                break;
            }
            if bucket.until_us < set.get(found).map_or(0, |b| b.until_us) {
                found = i;
            }
        }
        let Some(bucket) = set.get_mut(found) else { return true };
        if bucket.key != key {
            *bucket = Bucket { key, until_us: 0 };
        }
        // Never deeper in debt than the bucket is deep, also where a reload made it less so.
        let latest = now_us.saturating_add(full_us);
        let until = bucket.until_us.clamp(now_us, latest).saturating_add(token_us);
        let had = until <= latest;
        bucket.until_us = if had { until } else { until - token_us };
        had
    }
}

/// What tells the client of a DHCPv4 payload from others: its hardware address, or for one
/// without (RFC 4390 s2.1) its transaction.
pub fn client4(payload: &[u8]) -> &[u8] {
    let hlen = usize::from(payload.get(2).copied().unwrap_or_default()).min(16);
    let of = if hlen == 0 { 4..8 } else { 28..28 + hlen };
    payload.get(of).unwrap_or_default()
}

/// The same of a DHCPv6 payload: its DUID, and the address that the relay next to it gives it:
/// clones have one DUID. Without a DUID its transaction.
pub fn client6(payload: &[u8]) -> [&[u8]; 2] {
    const RELAY_HEADER: usize = 34;
    const RELAY_FORW: u8 = 12;
    let (mut message, mut peer) = (payload, &[][..]);
    // RFC 9915 s7.6: eight relays and no more.
    for _ in 0..=8 {
        if message.first() != Some(&RELAY_FORW) {
            break;
        }
        peer = message.get(18..RELAY_HEADER).unwrap_or_default();
        match option(message.get(RELAY_HEADER..).unwrap_or_default(), options6::RELAY_MSG) {
            Some(inner) => message = inner,
            None => return [&[], peer],
        }
    }
    let duid = option(message.get(4..).unwrap_or_default(), options6::CLIENT_ID);
    [duid.or_else(|| message.get(1..4)).unwrap_or_default(), peer]
}

/// The first option of that code.
fn option(options: &[u8], code: u16) -> Option<&[u8]> {
    Options6::new(options).find(|(found, _)| *found == code).map(|(_, data)| data)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_s: 20, burst: 100 };

    fn at(ms: u64) -> Timestamp {
        Timestamp(1_700_000_000_000 + ms)
    }

    fn admitted(police: &mut Police, now: Timestamp, party: Party, sent: usize) -> usize {
        (0..sent).filter(|_| police.admit(now, party, &[], RATE).is_ok()).count()
    }

    #[test]
    fn a_burst_and_then_a_rate() {
        let (mut police, port) = (Police::default(), Party::Port(LinkId(3)));
        assert_eq!(admitted(&mut police, at(0), port, 1000), 100);
        assert_eq!(admitted(&mut police, at(49), port, 10), 0);
        assert_eq!(admitted(&mut police, at(50), port, 10), 1);
        assert_eq!(admitted(&mut police, at(1050), port, 1000), 20);
        assert_eq!(admitted(&mut police, at(60_000), port, 1000), 100, "no more than a full one");
        assert_eq!(admitted(&mut police, at(60_000), Party::Port(LinkId(4)), 10), 10, "another");
    }

    #[test]
    fn what_is_refused_costs_nothing() {
        let (mut police, port) = (Police::default(), Party::Port(LinkId(3)));
        let mut passed = 0;
        for ms in 0..10_000 {
            passed += admitted(&mut police, at(ms), port, 10);
        }
        assert_eq!(passed, 100 + 199);
    }

    #[test]
    fn no_limit_is_none_and_a_reload_counts_at_once() {
        let (mut police, port) = (Police::default(), Party::Port(LinkId(3)));
        let off = Rate { per_s: 0, ..RATE };
        assert!((0..100_000).all(|_| police.admit(at(0), port, &[], off).is_ok()));
        assert_eq!(admitted(&mut police, at(0), port, 1000), 100);
        let faster = Rate { per_s: 1000, burst: 1 };
        assert!(police.admit(at(5), port, &[], faster).is_err());
        assert!(police.admit(at(6), port, &[], faster).is_ok(), "the old debt is cut down");
    }

    /// Whoever floods cannot get rid of its debts by making up others, nor do others pay.
    #[test]
    fn made_up_clients_push_out_neither_debts_nor_ports() {
        let mut police = Police::default();
        let (port, clients) = (Party::Port(LinkId(3)), Party::Client(LinkId(9)));
        admitted(&mut police, at(0), port, 1000);
        let noisy: &[&[u8]] = &[b"noisy"];
        while police.admit(at(0), clients, noisy, RATE).is_ok() {}
        for n in 0..1_000_000u32 {
            assert!(police.admit(at(1), clients, &[&n.to_be_bytes()], RATE).is_ok(), "{n}");
        }
        assert!(police.admit(at(2), clients, noisy, RATE).is_err());
        assert_eq!(admitted(&mut police, at(2), port, 10), 0);
    }

    #[test]
    fn offenders_are_told_of_once_in_a_while() {
        let (mut police, port) = (Police::default(), Party::Port(LinkId(3)));
        let told = |police: &mut Police, ms| {
            let mut told = Vec::new();
            police.tell(at(ms), |offence| told.push((offence.party, offence.dropped)));
            told
        };
        admitted(&mut police, at(0), port, 150);
        assert_eq!(told(&mut police, 0), [(Some(port), 50)]);
        admitted(&mut police, at(0), port, 7);
        assert_eq!(told(&mut police, 59_999), []);
        assert_eq!(told(&mut police, 60_000), [(Some(port), 7)]);
        assert_eq!(told(&mut police, 120_000), []);
        for n in 0..100 {
            admitted(&mut police, at(0), Party::Port(LinkId(100 + n)), 101);
        }
        let all = told(&mut police, 120_000);
        assert_eq!((all.len(), all.last()), (OFFENDERS + 1, Some(&(None, 84))));
    }

    #[test]
    fn clients_are_found_without_reading_a_packet_whole() {
        let mut v4 = [0; 240];
        (v4[2], v4[28], v4[33]) = (6, 0x52, 1);
        assert_eq!(client4(&v4), [0x52, 0, 0, 0, 0, 1]);
        v4[2] = 255;
        assert_eq!(client4(&v4).len(), 16);
        (v4[2], v4[7]) = (0, 9);
        assert_eq!(client4(&v4), [0, 0, 0, 9]);
        assert_eq!(client4(&v4[..30]), [0, 0, 0, 9]);
        let solicit = [1, 7, 7, 7, 0, 8, 0, 2, 0, 0, 0, 1, 0, 3, b'a', b'b', b'c'];
        assert_eq!(client6(&solicit), [&b"abc"[..], &[]]);
        assert_eq!(client6(&solicit[..14]), [&[7u8, 7, 7][..], &[]]);
        let mut relayed = vec![12; 34];
        relayed.extend([0, 9, 0, solicit.len() as u8]);
        relayed.extend(solicit);
        assert_eq!(client6(&relayed), [&b"abc"[..], &[12; 16]]);
        for end in 0..relayed.len() {
            client6(&relayed[..end]);
        }
    }
}
