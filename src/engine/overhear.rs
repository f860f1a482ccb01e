//! What other DHCP servers say on our networks.

use std::net::Ipv4Addr;

use crate::base::{Span, Timestamp};
use crate::wire::{Kind, Message};

use super::Engine;
use super::effects::{Arrival, Effects, EventKind, Overheard};

/// How often a foreign server is told about.
const TELL_EVERY: Span = Span::from_secs(600);
/// Most foreign servers that are remembered, per network.
const SERVERS_MAX: usize = 64;

impl Engine {
    /// A server's answer was overheard: an alarm, unless the server is this one.
    pub(super) fn overhear(
        &mut self,
        now: Timestamp,
        arrival: &Arrival,
        msg: &Message<'_>,
        fx: &mut Effects,
    ) {
        let Some(network) = self.links.get(&arrival.link).map(|up| up.network) else { return };
        let server = msg.server_id().unwrap_or(*arrival.src.ip());
        // Our own answers are not heard by our sockets; an observer listens to its own host too.
        if !self.observing && self.is_our_id(&self.policy, Ipv4Addr::UNSPECIFIED, server) {
            return;
        }
        if let Kind::Dhcp(kind) = msg.kind() {
            let (hw, addr) = (msg.hw(), msg.yiaddr());
            let heard = Overheard { server, message_type: kind as u8, hw, addr };
            self.say(now, Some(network), EventKind::Overheard(Box::new(heard)), fx);
        }
        let Some(net) = self.net_index(network) else { return };
        let foreign = &mut self.nets[net].foreign;
        let known = foreign.get(&server).is_some_and(|told| now < *told + TELL_EVERY);
        if known || (foreign.len() >= SERVERS_MAX && !foreign.contains_key(&server)) {
            return;
        }
        foreign.insert(server, now);
        let kind = EventKind::ForeignServer(server, arrival.src_mac);
        self.say(now, Some(network), kind, fx);
    }
}
