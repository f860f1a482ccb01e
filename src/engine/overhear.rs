//! What other DHCP servers say on our networks.

use crate::base::{Span, Timestamp};
use crate::wire::{Kind, Message};

use super::Engine;
use super::effects::{Arrival, Effects, EventKind, Overheard};

/// How often a foreign server is told about.
const TELL_EVERY: Span = Span::from_secs(600);
/// Most foreign servers that are remembered, per network.
const SERVERS_MAX: usize = 16;

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
        // Our own answers are not heard by our sockets, but for those that loop back. Whoever
        // else says our name is no less foreign. An observer listens to its own host too.
        let own = self.links.values().any(|up| Some(up.mac) == arrival.src_mac);
        if own && !self.observing {
            return;
        }
        if let Kind::Dhcp(kind) = msg.kind() {
            let (hw, addr) = (msg.hw(), msg.yiaddr());
            let heard = Overheard { server, message_type: kind as u8, hw, addr };
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
        let kind = EventKind::ForeignServer(server, arrival.src_mac);
        self.say(now, Some(network), kind, fx);
    }
}
