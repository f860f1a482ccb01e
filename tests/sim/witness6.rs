//! The same for DHCPv6: REPLYs promise addresses and prefixes, which must not overlap.

use foreshadow::base::{Mac, Prefix6, Resource, Timestamp};
use foreshadow::lease::{Lease, State};
use foreshadow::wire::{Kind6, Message6, MessageType6};

use super::client6::{granted, named};
use super::witness::{Asked, Drops, Live, Moment, Told, Witness};

impl Witness {
    /// A packet is about to reach the server from the machine `mac`.
    pub(crate) fn arrives6(
        &mut self,
        at: Moment,
        mac: Mac,
        bytes: &[u8],
        believed: Option<u64>,
        live: &dyn Live,
    ) {
        let Ok(msg) = Message6::parse(bytes) else { return };
        let Kind6::Known(kind) = msg.kind() else { return };
        self.asks(at, (mac, msg.xid() | 1 << 31, kind as u8), Asked::v6(at.now));
        for (resource, _) in named(&msg) {
            match kind {
                MessageType6::Release | MessageType6::Decline => {
                    if kind == MessageType6::Decline {
                        self.declines(at, mac, resource, believed);
                    }
                    self.gives_up(at, mac, Drops::One(resource));
                }
                _ => {}
            }
        }
        // Who starts over has dropped what it had.
        if kind == MessageType6::Solicit {
            self.gives_up(at, mac, Drops::V6);
        }
        self.namesakes(mac, msg.client_id().unwrap_or_default(), live);
    }

    /// A packet leaves the server for the machine `mac`.
    pub(crate) fn leaves6(
        &mut self,
        at: Moment,
        decided: Moment,
        mac: Mac,
        bytes: &[u8],
        durable: &dyn Fn(Resource) -> Option<Lease>,
        live: &dyn Live,
    ) {
        use MessageType6::*;
        let msg = Message6::parse(bytes).expect("we write what we can read");
        let Kind6::Known(answer) = msg.kind() else { panic!("an unknown answer") };
        let by: &[MessageType6] = match answer {
            Advertise => &[Solicit],
            Reply => {
                &[Solicit, Request, Confirm, Renew, Rebind, Release, Decline, InformationRequest]
            }
            other => panic!("the server says {other:?}"),
        };
        self.answers((mac, msg.xid() | 1 << 31), by.iter().map(|kind| *kind as u8), "DHCPv6");
        for (resource, _) in granted(&msg) {
            self.is_in_use(at, decided, mac, resource);
        }
        if answer == Advertise {
            return;
        }
        self.namesakes(mac, msg.client_id().unwrap_or_default(), live);
        for (resource, secs) in granted(&msg) {
            let ms = u64::from(secs) * 1000;
            let (until, until_server) = (decided.now + ms, Timestamp(decided.server.0 + ms));
            let name = msg.client_id().unwrap_or_default().to_vec();
            let told = Told { client: mac, name, until, until_server };
            for (other, old) in &self.told {
                let clash = old.client != mac && old.until > at.now && overlap(*other, resource);
                assert!(!clash, "{resource} is acknowledged to {mac}, and {old:?} has {other}");
            }
            let stored = durable(resource);
            let kept = stored.as_ref().is_some_and(|lease| {
                let same = lease.hw.mac() == Some(mac);
                lease.state == State::Leased && same && lease.until >= until_server
            });
            let is_dropped = self.is_dropped(decided, mac, resource);
            let when = "before it is durable";
            assert!(kept || is_dropped, "{resource} is acknowledged to {mac} {when}: {stored:?}");
            if !is_dropped {
                self.tells(resource, told);
            }
        }
    }
}

fn overlap(one: Resource, other: Resource) -> bool {
    let prefix = |resource| match resource {
        Resource::Prefix6(addr, len) => Prefix6::new(addr, len),
        _ => None,
    };
    match (prefix(one), prefix(other)) {
        (Some(one), Some(other)) => one.overlaps(&other),
        _ => one == other,
    }
}
