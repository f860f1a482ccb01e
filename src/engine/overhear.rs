//! What other DHCP servers say on our networks.

use std::net::IpAddr;

use crate::base::{HwAddr, LinkId, Mac, Resource, Span, Timestamp};
use crate::wire::{Kind, Kind6, Message, Message6, MessageType, MessageType6};

use super::Engine;
use super::effects::{Arrival, Arrival6, Effects, EventKind, Overheard, Said};

/// How often a foreign server is told about.
const TELL_EVERY: Span = Span::from_secs(600);
/// Most foreign servers that are remembered, per network.
const SERVERS_MAX: usize = 16;

impl Engine {
    /// A server's answer to a DHCPv4 client was overheard.
    pub(super) fn overhear(
        &mut self,
        now: Timestamp,
        arrival: &Arrival,
        msg: &Message<'_>,
        fx: &mut Effects,
    ) {
        let server = msg.server_id().unwrap_or(*arrival.src.ip()).into();
        let said = match msg.kind() {
            Kind::Dhcp(MessageType::Offer) => Some(Said::Offered),
            Kind::Dhcp(MessageType::Ack) => Some(Said::Leased),
            Kind::Dhcp(MessageType::Nak) => Some(Said::Refused),
            _ => None,
        };
        let (hw, addr) = (msg.hw(), msg.yiaddr());
        let resource = Some(addr).filter(|addr| !addr.is_unspecified()).map(Resource::V4);
        let heard = said.map(|said| Overheard { server, said, hw, resource });
        self.foreign(now, arrival.link, arrival.src_mac, server, heard, fx);
    }

    /// The same of DHCPv6.
    pub(super) fn overhear6(
        &mut self,
        now: Timestamp,
        arrival: &Arrival6,
        bytes: &[u8],
        fx: &mut Effects,
    ) {
        let Ok(msg) = Message6::parse(bytes) else { return };
        let resource = msg.ias().find_map(|ia| {
            let addr = ia.addrs().next().map(|a| Resource::V6(a.addr));
            addr.or_else(|| ia.prefixes().next().map(|p| Resource::Prefix6(p.prefix, p.len)))
        });
        let said = match (msg.kind(), resource) {
            (Kind6::Known(MessageType6::Advertise), _) => Some(Said::Offered),
            (Kind6::Known(MessageType6::Reply), Some(_)) => Some(Said::Leased),
            (Kind6::Known(MessageType6::Reply), None) => {
                msg.ias().next().is_some().then_some(Said::Refused)
            }
            _ => return,
        };
        let server = IpAddr::from(*arrival.src.ip());
        let hw = msg.client_id().and_then(HwAddr::of_duid).unwrap_or_default();
        let heard = said.map(|said| Overheard { server, said, hw, resource });
        self.foreign(now, arrival.link, arrival.src_mac, server, heard, fx);
    }

    /// A server answered: an alarm, unless the server is this one.
    fn foreign(
        &mut self,
        now: Timestamp,
        link: LinkId,
        mac: Option<Mac>,
        server: IpAddr,
        heard: Option<Overheard>,
        fx: &mut Effects,
    ) {
        let Some(network) = self.links.get(&link).map(|up| up.network) else { return };
        // Our own answers are not heard by our sockets, but for those that loop back. Whoever
        // else says our name is no less foreign. An observer listens to its own host too.
        let own = self.links.values().any(|up| Some(up.mac) == mac);
        if own && !self.observing {
            return;
        }
        if let Some(heard) = heard {
            self.say(now, Some(network), EventKind::Overheard(Box::new(heard)), fx);
        }
        let Some(net) = self.net_index(network) else { return };
        let foreign = &mut self.nets[net].foreign;
        if foreign.len() >= SERVERS_MAX {
            foreign.retain(|_, told| now < *told + TELL_EVERY);
        }
        let known = foreign.get(&server).is_some_and(|told| now < *told + TELL_EVERY);
        if known || (foreign.len() >= SERVERS_MAX && !foreign.contains_key(&server)) {
            return;
        }
        foreign.insert(server, now);
        self.say(now, Some(network), EventKind::ForeignServer(server, mac), fx);
    }
}
