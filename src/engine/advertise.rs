//! Router advertisements: when one is sent (RFC 4861 s6.2), and what it says (s4.2, RFC 8106,
//! RFC 8781). Without one no VM begins DHCPv6.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;

use crate::base::{LinkId, Mac, Span, Timestamp};
use crate::config::policy::{Policy, RaPolicy, RaPrefix};
use crate::wire::ra::{Dnssl, Pref64, PrefixInfo, Rdnss, RouterAdvert};

use super::Engine;
use super::effects::{Destination, Effects, LinkUp, Reply};
use super::lots::Lots;
use super::tally::Answered;

/// MAX_INITIAL_RTR_ADVERTISEMENTS: so many come soon, after the first or after a change (s10).
const INITIAL_COUNT: u8 = 3;
/// MAX_INITIAL_RTR_ADVERT_INTERVAL.
const INITIAL_INTERVAL: Span = Span::from_secs(16);
/// MIN_DELAY_BETWEEN_RAS: between two to all nodes.
const BETWEEN: Span = Span::from_secs(3);
/// MAX_RA_DELAY_TIME: how long an answer to a solicitation is put off at most.
const DELAY_MAX: Span = Span::from_ms(500);
/// Most hosts that wait for an answer of their own at once, per link; what asks beyond them is
/// answered to all.
const ASKED_MAX: usize = 64;
/// The hop limit that hosts are told to use behind a router of ours.
const HOP_LIMIT: u8 = 64;

/// How many advertisements to all nodes carry a prefix that the policy dropped: as many as tell of
/// any other change.
const DROPPED_COUNT: u8 = INITIAL_COUNT;
/// How long a dropped prefix is valid at most: hosts heed no less (RFC 4862 s5.5.3), and RFC 6204
/// L-13 asks for no more.
const DROPPED_VALID: Span = Span::from_secs(2 * 3600);

/// The links that are advertised on.
#[derive(Debug, Default)]
pub struct Advertisers(BTreeMap<LinkId, Advertiser>);

#[derive(Debug)]
struct Advertiser {
    /// What is said.
    policy: RaPolicy,
    /// When all nodes are told next.
    next: Timestamp,
    /// When they were told last.
    last: Option<Timestamp>,
    /// Of the initial ones, how many are still to come.
    initial: u8,
    /// Who asked, and when each is answered.
    asked: BTreeSet<(Timestamp, Mac, Ipv6Addr)>,
    /// Prefixes that a change of policy left out, deprecated.
    dropped: Vec<RaPrefix>,
    /// How many advertisements to all nodes still carry them.
    dropped_left: u8,
    /// The policy no longer wants it: the next one is the last.
    is_leaving: bool,
}

impl Advertiser {
    fn new(policy: RaPolicy) -> Advertiser {
        Advertiser {
            policy,
            next: Timestamp(0),
            last: None,
            initial: INITIAL_COUNT,
            asked: BTreeSet::new(),
            dropped: Vec::new(),
            dropped_left: 0,
            is_leaving: false,
        }
    }

    /// The one that says `policy` after this one. It also says of each prefix that is left out
    /// that it is no longer to be used: hosts would keep it as long as it was promised to them.
    fn succeed(&self, policy: RaPolicy) -> Advertiser {
        let deprecated = |p: &RaPrefix| RaPrefix {
            preferred: Span::ZERO,
            valid: p.valid.min(DROPPED_VALID),
            ..*p
        };
        let mut dropped: Vec<RaPrefix> = self.policy.prefixes.iter().map(deprecated).collect();
        dropped.extend(&self.dropped);
        dropped.retain(|p| policy.prefixes.iter().all(|said| said.prefix != p.prefix));
        // s6.2.6: no two within three seconds, whatever changes.
        let next = self.last.map_or(Timestamp(0), |last| last + BETWEEN);
        let dropped_left = if dropped.is_empty() { 0 } else { DROPPED_COUNT };
        let last = self.last;
        Advertiser { last, next, dropped, dropped_left, ..Advertiser::new(policy) }
    }

    fn due(&self) -> Timestamp {
        self.asked.first().map_or(self.next, |(at, ..)| self.next.min(*at))
    }

    /// s6.2.6: puts the answer off by a random time, and answers all at once where more than a
    /// few ask.
    fn solicited(&mut self, now: Timestamp, mac: Mac, src: Ipv6Addr, lots: &mut Lots) {
        let at = now + Span(lots.draw(0, DELAY_MAX.0.into()) as u64);
        // All nodes are told as soon, this one among them.
        if self.next <= at || self.asked.iter().any(|(_, to, ip)| (*to, *ip) == (mac, src)) {
            return;
        }
        if !src.is_unspecified() && self.asked.len() < ASKED_MAX {
            self.asked.insert((at, mac, src));
            return;
        }
        let allowed = self.last.map_or(at, |last| at.max(last + BETWEEN));
        self.next = self.next.min(allowed);
    }

    /// s6.2.4: when all are told again.
    fn schedule(&mut self, now: Timestamp, lots: &mut Lots) {
        let RaPolicy { min_interval, max_interval, .. } = self.policy;
        let interval = Span(lots.draw(min_interval.0.into(), max_interval.0.into()) as u64);
        self.initial = self.initial.saturating_sub(1);
        self.dropped_left = self.dropped_left.saturating_sub(1);
        if self.dropped_left == 0 {
            self.dropped.clear();
        }
        let interval = if self.initial > 0 { interval.min(INITIAL_INTERVAL) } else { interval };
        self.last = Some(now);
        self.next = now + interval;
    }
}

impl Engine {
    /// A host on `link` asks which routers there are.
    pub(super) fn router_solicited(
        &mut self,
        now: Timestamp,
        link: LinkId,
        mac: Mac,
        src: Ipv6Addr,
    ) {
        if let Some(advertiser) = self.advertisers.0.get_mut(&link)
            && !mac.is_group()
            && !src.is_multicast()
        {
            advertiser.solicited(now, mac, src, &mut self.lots);
        }
    }

    /// When the next advertisement is due.
    pub(super) fn next_advert(&self) -> Option<Timestamp> {
        self.advertisers.0.values().map(Advertiser::due).min()
    }

    /// Begins, changes or ends advertising where links or the policy changed. What is new is
    /// said at once.
    pub(super) fn follow_adverts(&mut self) {
        let wanted: BTreeMap<LinkId, &RaPolicy> = self
            .links
            .values()
            .filter_map(|up| Some((up.link, ra_of(&self.policy, up)?)))
            .collect();
        let advertisers = &mut self.advertisers.0;
        advertisers.retain(|link, advertiser| {
            let stays = wanted.contains_key(link);
            if !stays {
                (advertiser.is_leaving, advertiser.next) = (true, Timestamp(0));
            }
            stays || self.links.contains_key(link)
        });
        for (link, policy) in wanted {
            match advertisers.get_mut(&link) {
                Some(known) if known.policy == *policy && !known.is_leaving => {}
                known => {
                    let new = match known {
                        Some(known) => known.succeed(policy.clone()),
                        None => Advertiser::new(policy.clone()),
                    };
                    advertisers.insert(link, new);
                }
            }
        }
    }

    /// Sends what is due.
    pub(super) fn advertise(&mut self, now: Timestamp, fx: &mut Effects) {
        let Engine { advertisers, links, lots, .. } = self;
        advertisers.0.retain(|link, advertiser| {
            let Some(up) = links.get(link) else { return false };
            let leaving = advertiser.is_leaving;
            while let Some((at, mac, ip)) = advertiser.asked.first().copied() {
                if at > now || leaving {
                    break;
                }
                advertiser.asked.pop_first();
                send(advertiser, up, Some((mac, ip)), false, fx);
            }
            if advertiser.next <= now {
                send(advertiser, up, None, leaving, fx);
                advertiser.schedule(now, lots);
                return !leaving;
            }
            true
        });
    }

    /// s6.2.5: the server stops. Where the policy says so, hosts are told that we are no router
    /// any more.
    pub(super) fn say_goodbye(&mut self, fx: &mut Effects) {
        for (link, advertiser) in std::mem::take(&mut self.advertisers.0) {
            if let Some(up) = self.links.get(&link).filter(|_| advertiser.policy.goodbye) {
                send(&advertiser, up, None, true, fx);
            }
        }
    }
}

fn ra_of<'a>(policy: &'a Policy, up: &LinkUp) -> Option<&'a RaPolicy> {
    policy.networks.iter().find(|network| network.id == up.network)?.v6.ra.as_ref()
}

/// Makes one advertisement, to one host or to all.
fn send(
    advertiser: &Advertiser,
    up: &LinkUp,
    to: Option<(Mac, Ipv6Addr)>,
    is_last: bool,
    fx: &mut Effects,
) {
    let Advertiser { policy, dropped, .. } = advertiser;
    let seconds = |span: Span| u16::try_from(span.wire_secs()).unwrap_or(u16::MAX);
    let is_router = policy.router && !is_last;
    let mut prefixes: Vec<PrefixInfo> = policy.prefixes.iter().map(info).collect();
    prefixes.extend(dropped.iter().filter(|_| to.is_none()).map(info));
    let lifetime_s = policy.dns_lifetime.wire_secs();
    let start = fx.bytes.len();
    loop {
        let advert = RouterAdvert {
            hop_limit: if policy.router { HOP_LIMIT } else { 0 },
            managed: policy.managed,
            other: policy.other,
            lifetime_s: if is_router { seconds(policy.router_lifetime) } else { 0 },
            source: Some(up.mac),
            mtu: policy.mtu,
            prefixes: &prefixes,
            rdnss: Some(Rdnss { lifetime_s, servers: &policy.rdnss }),
            dnssl: Some(Dnssl { lifetime_s, names: &policy.dnssl }),
            pref64: policy
                .pref64
                .map(|(prefix, lifetime)| Pref64 { prefix, lifetime_s: seconds(lifetime) }),
            ..RouterAdvert::default()
        };
        if advert.write_icmp6(&mut fx.bytes).is_ok() {
            let to = Destination::Advert { link: up.link, to };
            let kind = Answered::RouterAdvertisement;
            fx.send_now.push(Reply { to, kind, payload: start..fx.bytes.len() });
            return;
        }
        // Nothing was written. The configuration is checked to fit: what does not is dropped
        // prefixes, and fewer of them are told.
        if prefixes.len() <= policy.prefixes.len() || prefixes.pop().is_none() {
            return;
        }
    }
}

fn info(p: &RaPrefix) -> PrefixInfo {
    PrefixInfo {
        prefix: p.prefix,
        on_link: p.on_link,
        autonomous: p.autonomous,
        valid_s: p.valid.wire_secs(),
        preferred_s: p.preferred.wire_secs(),
    }
}
