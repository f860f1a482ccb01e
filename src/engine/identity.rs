//! Who a client is: its key, its reservation, and whether it is a clone or a stage of a boot.

use std::net::IpAddr;
use std::sync::Arc;

use crate::base::{ClientKey, HwAddr, Mac, NetworkId, Resource, Timestamp};
use crate::config::policy::{HostId, Identity, Network, Reservation};
use crate::lease::{Lease, State};
use crate::wire::{Message, RelayInfo};

use super::Engine;
use super::context::{Ctx, Proof};
use super::network::Net;
use super::settings::Chain;
use super::wait::WAIT;

/// The outcome of asking who a client is.
#[derive(Debug, PartialEq, Eq)]
pub enum Identified {
    /// This is its key.
    Known(ClientKey),
    /// A second live machine with the client identifier of the binding's holder.
    CloneOf(ClientKey, Box<Lease>),
    /// Its identifier is held by other hardware: ask that one whether it lives.
    Ask {
        /// The holder's addresses.
        addrs: Vec<IpAddr>,
        /// The holder's hardware.
        holder: Mac,
        /// The key where the answer does not matter.
        key: ClientKey,
        /// The key of a clone, if the holder cannot be asked.
        own: ClientKey,
    },
}

/// What the one who holds a binding has to say.
enum Says {
    /// It lives, or there is no way to know.
    Alive,
    /// It is silent, and so gone.
    Nothing,
    /// It was not asked about these yet.
    NotYet(Vec<IpAddr>, Mac),
}

/// A client with an identifier that another may have too.
pub(super) struct Suspect<'a> {
    /// When.
    pub now: Timestamp,
    /// Where.
    pub network: NetworkId,
    /// Its key by its identifier alone.
    pub key: ClientKey,
    /// Its key if it is a clone.
    pub own: ClientKey,
    /// Its hardware address.
    pub hw: &'a HwAddr,
    /// Tells whom it belongs to.
    pub account: &'a dyn Fn() -> Option<&'a Arc<str>>,
    /// What the wire had to say.
    pub proofs: &'a [Proof],
    /// Whether the wire can be asked.
    pub can_probe: bool,
    /// It is known by its hardware address: whoever else has its identifier is another.
    pub registered: bool,
}

impl Engine {
    /// The key of a client, by the network's identity mode.
    pub(super) fn identify(&self, ctx: &Ctx<'_>) -> Identified {
        let (hw, relay) = (&ctx.hw, ctx.relay.as_ref());
        let by_hw = || Identified::Known(ClientKey::hardware(hw));
        let id = ctx.msg.client_id().filter(|id| !id.is_empty());
        match ctx.network.identity {
            Identity::Mac => by_hw(),
            // One of several machines behind a circuit.
            Identity::CircuitId if ctx.is_registered() => by_hw(),
            Identity::CircuitId => match relay.and_then(|r| Some((r, r.circuit_id()?))) {
                Some((r, circuit)) => Identified::Known(ClientKey::circuit(
                    circuit,
                    r.remote_id().unwrap_or_default(),
                )),
                None => by_hw(),
            },
            Identity::ClientId if !ctx.is_registered() => {
                id.map_or_else(by_hw, |id| Identified::Known(ClientKey::client_id(&id)))
            }
            Identity::CloneSafe | Identity::ClientId => match id {
                // An identifier that spells the hardware address says nothing more.
                Some(id) if !hw.is_spelt_by(&id) => self.identify_clone_safe(ctx, &id),
                _ => by_hw(),
            },
        }
    }

    fn identify_clone_safe(&self, ctx: &Ctx<'_>, id: &[u8]) -> Identified {
        self.clone_or_changed(Suspect {
            now: ctx.now,
            network: ctx.id(),
            key: ClientKey::client_id(id),
            own: ClientKey::clone_of(id, &ctx.hw),
            hw: &ctx.hw,
            account: &|| Chain::of(ctx, None, None).account(),
            proofs: ctx.proofs,
            can_probe: ctx.can_probe(),
            registered: ctx.is_registered(),
        })
    }

    /// Cloned images share their identifier: the same one from other hardware is a changed NIC
    /// if the old hardware is silent and of the same account, and a clone if it lives.
    pub(super) fn clone_or_changed(&self, suspect: Suspect<'_>) -> Identified {
        let Suspect { network, ref key, ref own, hw, .. } = suspect;
        let is_clone = self.offers.of_client(network, own).is_some()
            || self.table.of_client(network, own).next().is_some();
        if is_clone {
            return Identified::Known(suspect.own);
        }
        if self.offers.of_client(network, key).is_some_and(|offer| offer.hw == *hw) {
            return Identified::Known(suspect.key);
        }
        let other = |l: &&Lease| {
            l.state == State::Leased && l.hw != *hw && (is_v4(l) || l.hw != HwAddr::default())
        };
        let mut holders: Vec<&Lease> = self.table.of_client(network, key).filter(other).collect();
        holders.sort_by_key(|l| l.resource);
        let mut ask = None;
        // What one held stays its own where a reload took its pool; another may hold more since.
        for holder in holders {
            match self.holder_says(&suspect, holder) {
                Says::Alive => return Identified::CloneOf(suspect.own, Box::new(holder.clone())),
                Says::Nothing => {}
                Says::NotYet(addrs, mac) => ask = ask.or(Some((addrs, mac))),
            }
        }
        match ask {
            Some((addrs, holder)) => {
                Identified::Ask { addrs, holder, key: suspect.key, own: suspect.own }
            }
            None => Identified::Known(suspect.key),
        }
    }

    /// Whether the holder of a binding lives, or must be taken to.
    fn holder_says(&self, suspect: &Suspect<'_>, holder: &Lease) -> Says {
        // Behind a relay nobody can be asked; an address of its own harms no one. Nor does it
        // help to ask one who has yet to hear that it is the holder.
        let pending = self.table.is_pending(suspect.network, holder.resource);
        let mac = holder.hw.mac().filter(|_| suspect.can_probe && !pending);
        let (Some(mac), addrs) = (mac, addresses_of(holder)) else { return Says::Alive };
        let proof = |addr: &IpAddr| suspect.proofs.iter().find(|proof| proof.addr == *addr);
        let answers: Vec<Option<Mac>> = addrs.iter().filter_map(proof).map(|p| p.answer).collect();
        let others = answers.iter().flatten().any(|who| Some(*who) != suspect.hw.mac());
        let unheard = suspect.proofs.iter().any(|p| !p.heard && addrs.contains(&p.addr));
        if others || unheard || addrs.is_empty() || suspect.registered {
            return Says::Alive;
        }
        if answers.len() < addrs.len() {
            return Says::NotYet(addrs.into_iter().filter(|a| proof(a).is_none()).collect(), mac);
        }
        // Silent to the question, but not to us: it renewed while the question was out.
        if suspect.now < holder.updated + WAIT {
            return Says::Alive;
        }
        let own_answer = answers.iter().any(Option::is_some);
        match own_answer || holder.details.account.as_ref() == (suspect.account)() {
            true => Says::Nothing,
            false => Says::Alive,
        }
    }
}

/// Addresses by which the holder of a binding can be asked whether it lives. Who was just given an
/// IPv6 address does not answer for it yet (RFC 4862 s5.4.3), but for its link-local one.
pub(super) fn addresses_of(holder: &Lease) -> Vec<IpAddr> {
    let link_local = holder.hw.mac().map(Mac::link_local);
    let mut addrs: Vec<IpAddr> = match holder.resource {
        Resource::V4(addr) => return vec![addr.into()],
        Resource::V6(addr) => link_local.into_iter().chain([addr]).map(IpAddr::from).collect(),
        Resource::Prefix6(..) => {
            let hop = holder.details.next_hop.as_ref().map(|hop| hop.addr);
            hop.into_iter().chain(link_local).map(IpAddr::from).collect()
        }
    };
    addrs.sort_unstable();
    addrs.dedup();
    addrs
}

/// Without a hardware address a DHCPv6 client cannot be told from its clone.
fn is_v4(lease: &Lease) -> bool {
    matches!(lease.resource, Resource::V4(_))
}

/// The reservation of a client: by client identifier, hardware, circuit id, remote id.
pub fn reservation<'a>(
    net: &Net,
    network: &'a Network,
    msg: &Message<'_>,
    hw: &HwAddr,
    relay: Option<&RelayInfo<'_>>,
) -> Option<&'a Reservation> {
    if net.by_host.is_empty() {
        return None;
    }
    let find = |host: HostId| net.by_host.get(&host).and_then(|i| network.reservations.get(*i));
    let by_id = msg.client_id().and_then(|id| find(HostId::ClientId(id.as_ref().into())));
    by_id
        .or_else(|| find(HostId::Hardware(*hw)))
        .or_else(|| find(HostId::CircuitId(relay?.circuit_id()?.into())))
        .or_else(|| find(HostId::RemoteId(relay?.remote_id()?.into())))
}

/// Whether a client is a stage of a boot: PXE or HTTP boot firmware, or iPXE.
pub fn is_boot_stage(msg: &Message<'_>) -> bool {
    let firmware = msg
        .vendor_class()
        .is_some_and(|v| v.starts_with(b"PXEClient") || v.starts_with(b"HTTPClient"));
    firmware || msg.is_ipxe()
}
