//! What the server had promised at any moment, by the packets that left it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;

use foreshadow::base::ClientKey;
use foreshadow::lease::{Lease, State};
use foreshadow::store::Contents;

use crate::clients6::IAID;
use crate::common::dhcp::{self, Message};
use crate::common::dhcp6::{self, Message6};
use crate::common::link6::duid;
use crate::ledger::{Family, GivenUp, Ledger};

/// The server counts time in whole milliseconds from an offset that it takes at each start.
const CLOCK_SLACK_US: u64 = 50_000;

/// A lease that was acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Promise {
    pub(crate) client: [u8; 6],
    /// As its client counts: from when it asked.
    pub(crate) until_us: u64,
}

/// Follows the packets of the log in order.
pub(crate) struct Oracle {
    asked: HashMap<(Family, u32), u64>,
    given_up: std::iter::Peekable<std::vec::IntoIter<GivenUp>>,
    /// When a client gave something up for the last time.
    last_given_up: HashMap<(String, [u8; 6]), u64>,
    /// What is promised now, by address or prefix; also what has run out since.
    pub(crate) promises: BTreeMap<String, Promise>,
    /// Whatever was promised so far, and to whom.
    pub(crate) granted: BTreeSet<(String, [u8; 6])>,
    /// How many acknowledgements were seen.
    pub(crate) acks: usize,
}

/// One address or prefix of an acknowledgement.
struct Granted {
    name: String,
    client: [u8; 6],
    secs: u32,
}

impl Oracle {
    pub(crate) fn new(ledger: &Ledger) -> Oracle {
        let mut given_up = ledger.given_up.lock().unwrap().clone();
        given_up.sort_by_key(|one| one.at_us);
        Oracle {
            asked: ledger.asked.lock().unwrap().clone(),
            given_up: given_up.into_iter().peekable(),
            last_given_up: HashMap::new(),
            promises: BTreeMap::new(),
            granted: BTreeSet::new(),
            acks: 0,
        }
    }

    /// Time goes on: what clients give up until then is no longer theirs.
    pub(crate) fn advance(&mut self, at_us: u64) {
        while let Some(GivenUp { at_us, name, client }) =
            self.given_up.next_if(|one| one.at_us <= at_us)
        {
            if self.promises.get(&name).is_some_and(|promise| promise.client == client) {
                self.promises.remove(&name);
            }
            self.last_given_up.insert((name, client), at_us);
        }
    }

    /// A packet leaves; an error says what was given to two clients.
    pub(crate) fn leaves(&mut self, at_us: u64, packet: &[u8]) -> Result<(), String> {
        let Some((family, xid, granted)) = acknowledgement(packet) else { return Ok(()) };
        self.acks += 1;
        let asked = self.asked.get(&(family, xid));
        let asked = *asked.ok_or_else(|| format!("nobody asked in transaction {xid:x}"))?;
        for Granted { name, client, secs } in granted {
            let given_up = self.last_given_up.get(&(name.clone(), client));
            // A late answer to a question from before that.
            if secs == 0 || given_up.is_some_and(|at| *at >= asked) {
                continue;
            }
            let before = self.promises.get(&name).filter(|p| p.until_us > at_us);
            if let Some(other) = before.filter(|p| p.client != client) {
                return Err(format!("{name} is given to {client:x?}, and {other:x?} has it"));
            }
            self.granted.insert((name.clone(), client));
            let until_us = asked + u64::from(secs) * 1_000_000;
            self.promises.insert(name, Promise { client, until_us });
        }
        Ok(())
    }

    /// What is promised at this moment and has not run out.
    pub(crate) fn alive(&self, at_us: u64) -> impl Iterator<Item = (&String, &Promise)> {
        self.promises.iter().filter(move |(_, promise)| promise.until_us > at_us)
    }

    /// Whether a store that was found after a power cut keeps every promise.
    pub(crate) fn judge(&self, at_us: u64, contents: &Contents) -> Result<(), String> {
        let mut held: HashMap<String, &Lease> = HashMap::new();
        for lease in &contents.leases {
            if let Some(other) = held.insert(lease.resource.to_string(), lease) {
                return Err(format!("two have one address: {other:?} and {lease:?}"));
            }
        }
        for (name, promise) in self.alive(at_us) {
            let Some(lease) = held.get(name) else {
                return Err(format!("{name} of {promise:x?} is lost"));
            };
            let is_whole = lease.state == State::Leased
                && belongs_to(lease, promise.client)
                && lease.until.0 * 1000 + CLOCK_SLACK_US >= promise.until_us;
            if !is_whole {
                return Err(format!("{name} of {promise:x?} has become {lease:?}"));
            }
        }
        Ok(())
    }
}

/// Whether a lease is of the client with this hardware address.
pub(crate) fn belongs_to(lease: &Lease, client: [u8; 6]) -> bool {
    let duid = duid(client);
    match lease.resource.v4() {
        Some(_) => lease.hw.bytes() == client,
        None => {
            lease.client == ClientKey::ia(&duid, IAID)
                || lease.client == ClientKey::ia_pd(&duid, IAID)
        }
    }
}

/// Whether what was sent promises anything.
pub(crate) fn is_promise(packet: &[u8]) -> bool {
    acknowledgement(packet).is_some()
}

/// The acknowledgement in what was sent: a frame, or a packet without its Ethernet header.
fn acknowledgement(packet: &[u8]) -> Option<(Family, u32, Vec<Granted>)> {
    let ip = match packet.get(12..14)? {
        [0x08, 0x00] | [0x86, 0xdd] => packet.get(14..)?,
        _ => packet,
    };
    match ip.first()? >> 4 {
        4 => acknowledgement4(ip.get(28..)?),
        6 => acknowledgement6(ip.get(48..)?),
        _ => None,
    }
}

fn acknowledgement4(payload: &[u8]) -> Option<(Family, u32, Vec<Granted>)> {
    let message = Message::parse(payload)?;
    if message.kind() != dhcp::ACK || message.yiaddr == Ipv4Addr::UNSPECIFIED {
        return None;
    }
    let (name, secs) = (message.yiaddr.to_string(), message.u32_option(51)?);
    Some((Family::V4, message.xid, vec![Granted { name, client: message.chaddr, secs }]))
}

fn acknowledgement6(payload: &[u8]) -> Option<(Family, u32, Vec<Granted>)> {
    let message = Message6::parse(payload).filter(|message| message.kind == dhcp6::REPLY)?;
    let client: [u8; 6] = message.option(dhcp6::CLIENT_ID)?.get(4..)?.try_into().ok()?;
    let granted = |held: &dhcp6::Held| Granted { name: held.name(), client, secs: held.valid };
    let granted: Vec<Granted> = message.held().iter().map(granted).collect();
    (!granted.is_empty()).then_some((Family::V6, message.xid, granted))
}
