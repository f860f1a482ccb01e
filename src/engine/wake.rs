//! Clients that are asked to renew at once: by DHCPFORCERENEW (RFC 3203) with the nonce of RFC 6704,
//! or by Reconfigure (RFC 9915 s18.3.11) with the key of s20.4. Both authenticate alike: the client
//! is told 16 bytes with its lease, and the message that asks is signed with them by HMAC-MD5. The
//! bytes follow from the secret of the store, so that nothing has to be kept but that the client
//! takes such messages. Only clients on the link are asked.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use hashbrown::HashMap;
use hmac::{Hmac, KeyInit, Mac as _};
use md5::Md5;

use crate::base::{ClientKey, NetworkId, Resource, Span, Timestamp};
use crate::config::policy::{Network, RelocationMode};
use crate::lease::{Lease, State};
use crate::wire::options as opt;
use crate::wire::options6 as opt6;
use crate::wire::v4_write::{OutOption, PAYLOAD_MIN, ReplyV4, write_reply};
use crate::wire::{MessageType, MessageType6, Writer6};

use super::Engine;
use super::effects::{Destination, Effects, LinkUp, Reply};
use super::relocate::is_draining;
use super::tally::Answered;

/// Length of an authentication option's data with 16 bytes in it (RFC 3118 s2, RFC 9915 s21.11).
pub(super) const AUTH_LEN: usize = 28;
/// Where these 16 bytes begin.
const VALUE: usize = AUTH_LEN - 16;
/// RFC 6704 s3.1.1 and RFC 9915 s20.4.1: the protocol, with HMAC-MD5 and a counter that only grows.
const PROTOCOL: [u8; 3] = [3, 1, 0];
/// What the 16 bytes are.
const NONCE: u8 = 1;
const DIGEST: u8 = 2;
/// The algorithm by which a client says that it takes a signed FORCERENEW (RFC 6704 s3.1.1).
pub(super) const HMAC_MD5: u8 = 1;
/// DHCPFORCERENEW and Reconfigure are short.
const ASK_MAX: usize = 548;

/// The data of an authentication option.
fn auth(now: Timestamp, kind: u8, value: [u8; 16]) -> [u8; AUTH_LEN] {
    let mut data = [0; AUTH_LEN];
    data[..3].copy_from_slice(&PROTOCOL);
    data[3..11].copy_from_slice(&now.0.to_be_bytes());
    data[11] = kind;
    data[VALUE..].copy_from_slice(&value);
    data
}

/// Puts the HMAC-MD5 of a message into the authentication option that is at the end of it or, with
/// `unsigned` as its data, anywhere in it.
fn sign(message: &mut [u8], unsigned: &[u8; AUTH_LEN], key: [u8; 16]) -> Option<()> {
    let at = message.windows(AUTH_LEN).position(|window| window == unsigned)?;
    let mut mac = Hmac::<Md5>::new_from_slice(&key).ok()?;
    mac.update(message);
    let digest = mac.finalize().into_bytes();
    message.get_mut(at + VALUE..at + AUTH_LEN)?.copy_from_slice(&digest);
    Some(())
}

/// Who has not renewed is asked again after 2 s, then after twice that, and no more after so many
/// times: it may not have listened yet, and what was sent may be lost (RFC 3203 s4).
const AGAIN: Span = Span::from_secs(2);
const TIMES: u32 = 6;
/// So many clients are waited for; others are asked once.
const WAITED_FOR: usize = 65_536;

/// Clients that can be asked, and those that were. Kept in memory alone: after a restart a client is
/// asked with a transaction id of our own.
#[derive(Debug, Default)]
pub(super) struct Wakes {
    /// How often each was asked, and when it is asked again.
    due: BTreeSet<(Timestamp, NetworkId, Resource, u32)>,
    /// The transaction in which each has its lease: RFC 3203 says nothing of the id of a FORCERENEW,
    /// and dhcpcd drops one with another.
    xids: HashMap<(NetworkId, Resource), u32>,
}

/// Whether clients of a network are told how they could be asked.
pub(super) fn is_open(network: &Network) -> bool {
    network.relocation.ask && network.relocation.mode != RelocationMode::Off
}

impl Engine {
    /// What a client is told with its lease.
    pub(super) fn nonce(
        &self,
        now: Timestamp,
        network: NetworkId,
        client: &[u8],
    ) -> [u8; AUTH_LEN] {
        auth(now, NONCE, self.key_of(network, client))
    }

    /// Notes in which transaction a client that can be asked has its lease.
    pub(super) fn note_xid(&mut self, network: NetworkId, resource: Resource, xid: u32) {
        if self.wakes.xids.len() >= WAITED_FOR {
            let table = &self.table;
            let wakes = |lease: &Lease| lease.state == State::Leased && lease.details.wakes;
            self.wakes.xids.retain(|(network, of), _| table.get(*network, *of).is_some_and(wakes));
        }
        if self.wakes.xids.len() < 2 * WAITED_FOR {
            self.wakes.xids.insert((network, resource), xid);
        }
    }

    fn key_of(&self, network: NetworkId, client: &[u8]) -> [u8; 16] {
        let parts: [&[u8]; 3] = [b"renew", &network.0.to_be_bytes(), client];
        self.lots.of(&parts, 0, u128::MAX).to_be_bytes()
    }

    /// When somebody is asked again.
    pub(super) fn next_asking(&self) -> Option<Timestamp> {
        self.wakes.due.first().map(|(due, ..)| *due)
    }

    /// Asks those again who have not renewed, and are still to move.
    pub(super) fn ask_again(&mut self, now: Timestamp, fx: &mut Effects) {
        while let Some((due, network, resource, times)) = self.wakes.due.first().copied() {
            if due > now {
                return;
            }
            self.wakes.due.pop_first();
            let lease = self.table.get(network, resource).filter(|lease| is_draining(lease));
            if let Some(lease) = lease.cloned() {
                self.ask_to_renew(now, &lease, times, fx);
            }
        }
    }

    /// Asks the client of a lease to renew it now, if it takes that, once the open batch is durable;
    /// it was asked so often before.
    pub(super) fn ask_to_renew(
        &mut self,
        now: Timestamp,
        lease: &Lease,
        times: u32,
        fx: &mut Effects,
    ) {
        let Some(at) = self.net_index(lease.network) else { return };
        let policy = self.policy.clone();
        let Some(network) = policy.networks.get(at).filter(|network| is_open(network)) else {
            return;
        };
        // The client is behind its access port, where it has one.
        let serves = |up: &&LinkUp| up.network == lease.network;
        let port = lease.port.and_then(|port| self.links.get(&port)).filter(serves);
        let up = port.or_else(|| self.links.values().find(serves));
        let Some(up) = up.filter(|_| lease.details.wakes) else { return };
        let start = fx.bytes.len();
        let asked = match lease.resource {
            Resource::V4(addr) => self.force_renew(now, network, up, (lease, addr), fx),
            Resource::V6(addr) => self.reconfigure(now, up, (lease, addr), fx),
            Resource::Prefix6(..) => None,
        };
        match asked {
            Some((to, kind)) => {
                fx.send_after.push(Reply { to, kind, payload: start..fx.bytes.len() });
                if times + 1 < TIMES && self.wakes.due.len() < WAITED_FOR {
                    let due = now + Span(AGAIN.0 << times);
                    self.wakes.due.insert((due, lease.network, lease.resource, times + 1));
                }
            }
            None => fx.bytes.truncate(start),
        }
    }

    fn force_renew(
        &self,
        now: Timestamp,
        network: &Network,
        up: &LinkUp,
        (lease, addr): (&Lease, Ipv4Addr),
        fx: &mut Effects,
    ) -> Option<(Destination, Answered)> {
        let mac = lease.hw.mac()?;
        let own = |own: &Ipv4Addr| network.subnet_of(addr).is_some_and(|s| s.prefix.contains(*own));
        let mut addrs = up.addrs.iter().map(|(own, _)| *own);
        let from = network.server_id.or_else(|| addrs.clone().find(own)).or(addrs.next())?;
        let unsigned = auth(now, DIGEST, [0; 16]);
        let (kind, server) = ([MessageType::ForceRenew as u8], from.octets());
        let mut options = vec![
            OutOption { code: opt::MESSAGE_TYPE, data: &kind, required: true },
            OutOption { code: opt::SERVER_ID, data: &server, required: true },
        ];
        if let Some(id) = lease.client.option_61() {
            options.push(OutOption { code: opt::CLIENT_ID, data: id, required: true });
        }
        options.push(OutOption { code: opt::AUTHENTICATION, data: &unsigned, required: true });
        let xid = self.wakes.xids.get(&(lease.network, lease.resource));
        let mut chaddr = [0; 16];
        chaddr[..6].copy_from_slice(&mac.0);
        let start = fx.bytes.len();
        let message = ReplyV4 {
            htype: 1,
            hlen: 6,
            hops: 0,
            xid: xid.copied().unwrap_or(now.0 as u32),
            secs: 0,
            flags: 0,
            ciaddr: addr,
            yiaddr: Ipv4Addr::UNSPECIFIED,
            siaddr: Ipv4Addr::UNSPECIFIED,
            giaddr: Ipv4Addr::UNSPECIFIED,
            chaddr,
            sname: &[],
            file: &[],
            options: &options,
            relay_info: None,
        };
        if write_reply(&message, ASK_MAX.max(PAYLOAD_MIN), &mut fx.bytes).is_unsendable() {
            return None;
        }
        let key = self.key_of(lease.network, lease.client.as_bytes());
        sign(fx.bytes.get_mut(start..)?, &unsigned, key)?;
        Some((Destination::Frame { link: up.link, mac, from, ip: addr }, Answered::ForceRenew))
    }

    fn reconfigure(
        &self,
        now: Timestamp,
        up: &LinkUp,
        (lease, addr): (&Lease, Ipv6Addr),
        fx: &mut Effects,
    ) -> Option<(Destination, Answered)> {
        let (mac, duid) = (lease.hw.mac()?, lease.client.duid()?);
        let unsigned = auth(now, DIGEST, [0; 16]);
        let start = fx.bytes.len();
        // RFC 9915 s18.3.11: its transaction id is 0.
        let mut out = Writer6::begin(&mut fx.bytes, MessageType6::Reconfigure, 0, ASK_MAX);
        out.option(opt6::CLIENT_ID, duid);
        out.option(opt6::SERVER_ID, &self.duid);
        out.u8(opt6::RECONF_MSG, MessageType6::Renew as u8);
        out.option(opt6::AUTH, &unsigned);
        out.finish().ok()?;
        sign(fx.bytes.get_mut(start..)?, &unsigned, self.key_of(lease.network, duid))?;
        Some((Destination::Frame6 { link: up.link, mac, ip: addr }, Answered::Reconfigure))
    }
}

/// Whether a client that said so, or has said so before, takes such messages for its lease.
pub(super) fn wakes(said: bool, client: &ClientKey, before: Option<&Lease>) -> bool {
    let known = before.is_some_and(|lease| lease.client == *client && lease.details.wakes);
    said || known
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 2104 s2, test case 1: what is signed is all of the message, with zeros for the digest.
    #[test]
    fn a_message_is_signed_as_a_whole() {
        let unsigned = auth(Timestamp(7), DIGEST, [0; 16]);
        let mut message = [b"before".as_slice(), &unsigned, b"after"].concat();
        let plain = message.clone();
        sign(&mut message, &unsigned, [0x0b; 16]).expect("it is there");
        let mut mac = Hmac::<Md5>::new_from_slice(&[0x0b; 16]).expect("any length will do");
        mac.update(&plain);
        assert_eq!(message[6 + VALUE..6 + AUTH_LEN], mac.finalize().into_bytes()[..]);
        assert_eq!(
            (&message[..6 + VALUE], &message[6 + AUTH_LEN..]),
            (&plain[..6 + VALUE], &plain[6 + AUTH_LEN..])
        );
        assert_eq!(sign(&mut [0; 40], &unsigned, [0; 16]), None);
        let mut known = Hmac::<Md5>::new_from_slice(&[0x0b; 16]).expect("any length will do");
        known.update(b"Hi There");
        let digest: String =
            known.finalize().into_bytes().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(digest, "9294727a3638bb1c13f48ef8158bfc9d");
    }
}
