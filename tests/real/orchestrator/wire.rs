//! Many small guests behind one interface: they boot by DHCPv4 and answer for what they have.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::common::PATIENCE;
use crate::common::dhcp::{self, Message};
use crate::common::link::{EVERYONE, Raw, open};
use crate::common::world::Host;

pub(super) type Mac = [u8; 6];
type Holders = Arc<Mutex<BTreeMap<Ipv4Addr, Mac>>>;

/// Who looks who is there.
const SCANNER: Mac = [2, 0, 0x5c, 0xa7, 0, 1];
/// After how long a guest that hears nothing sends again.
const RESEND: Duration = Duration::from_secs(2);

/// The guests, and who of them has which address.
pub(super) struct Wire {
    raw: Raw,
    holders: Holders,
    stop: Arc<AtomicBool>,
}

impl Wire {
    pub(super) fn on(host: &Host) -> Wire {
        let (holders, stop) = (Holders::default(), Arc::new(AtomicBool::new(false)));
        let (have, ended) = (Arc::clone(&holders), Arc::clone(&stop));
        let (mut sender, mut receiver) = open(host, "eth0");
        std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                let Ok(frame) = receiver.next() else { continue };
                let Some(reply) = arp_reply(frame, &have.lock().unwrap()) else { continue };
                // A lost answer is as good as one that the network lost.
                let _ = sender.send_to(&reply, None);
            }
        });
        Wire { raw: Raw::on(host), holders, stop }
    }

    /// A guest has an address from now on.
    pub(super) fn takes(&self, addr: Ipv4Addr, mac: Mac) {
        let before = self.holders.lock().unwrap().insert(addr, mac);
        assert!(before.is_none_or(|had| had == mac), "{addr} of {before:02x?} goes to {mac:02x?}");
    }

    /// Nobody answers for it any more.
    pub(super) fn drops(&self, addr: Ipv4Addr) {
        self.holders.lock().unwrap().remove(&addr);
    }

    pub(super) fn has(&self, addr: Ipv4Addr) -> bool {
        self.holders.lock().unwrap().contains_key(&addr)
    }

    /// Everybody who answers.
    pub(super) fn holders(&self) -> BTreeMap<Ipv4Addr, Mac> {
        self.holders.lock().unwrap().clone()
    }

    /// All of them boot at once; what each is given.
    pub(super) fn boot(&mut self, guests: &[Mac]) -> BTreeMap<Mac, Ipv4Addr> {
        let (mut waiting, mut given) = (BTreeMap::new(), BTreeMap::new());
        for mac in guests {
            let discover = Message::request(dhcp::DISCOVER, self.raw.xid(), *mac);
            self.raw.broadcast(&discover);
            waiting.insert(discover.xid, (discover, Instant::now()));
        }
        let deadline = Instant::now() + PATIENCE;
        while !waiting.is_empty() {
            assert!(Instant::now() < deadline, "{} guests have no address", waiting.len());
            let Some(reply) = self.raw.next_reply().map(|seen| seen.message) else {
                for (message, since) in waiting.values_mut().filter(|w| w.1.elapsed() > RESEND) {
                    *since = Instant::now();
                    self.raw.broadcast(message);
                }
                continue;
            };
            let Some((asked, since)) = waiting.get_mut(&reply.xid) else { continue };
            match (asked.kind(), reply.kind()) {
                (dhcp::DISCOVER, dhcp::OFFER) => {
                    let server = reply.server_id().unwrap();
                    *asked = Message::request(dhcp::REQUEST, reply.xid, reply.chaddr)
                        .with(50, &reply.yiaddr.octets())
                        .with(54, &server.octets());
                    *since = Instant::now();
                    self.raw.broadcast(asked);
                }
                (dhcp::REQUEST, dhcp::ACK) => {
                    given.insert(reply.chaddr, reply.yiaddr);
                    waiting.remove(&reply.xid);
                }
                (dhcp::REQUEST, kind) => assert_ne!(kind, dhcp::NAK, "a NAK at boot"),
                _ => {}
            }
        }
        given
    }

    /// A guest gives its address back in order.
    pub(super) fn releases(&mut self, addr: Ipv4Addr, mac: Mac, server: (Mac, Ipv4Addr)) {
        let release = Message::request(dhcp::RELEASE, self.raw.xid(), mac)
            .held_by(addr)
            .with(54, &server.1.octets());
        self.raw.unicast(&release, server.0, server.1);
    }

    /// What a guest hears when it asks for longer.
    pub(super) fn renews(&mut self, addr: Ipv4Addr, mac: Mac) -> u8 {
        let renewal = Message::request(dhcp::REQUEST, self.raw.xid(), mac).held_by(addr);
        self.raw.ask(&renewal).expect("an answer to a renewal").message.kind()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Who of `addrs` is there: asked anew, until all of `expected` have answered.
pub(super) fn scan(
    host: &Host,
    addrs: &[Ipv4Addr],
    expected: &BTreeSet<Ipv4Addr>,
) -> BTreeSet<Ipv4Addr> {
    let (mut sender, mut receiver) = open(host, "eth0");
    let (mut found, deadline) = (BTreeSet::new(), Instant::now() + PATIENCE);
    for round in 0.. {
        for addr in addrs.iter().filter(|addr| !found.contains(*addr)).copied().collect::<Vec<_>>()
        {
            let asked = arp(EVERYONE, SCANNER, 1, (SCANNER, Ipv4Addr::UNSPECIFIED), ([0; 6], addr));
            let _ = sender.send_to(&asked, None);
            while let Some(Some(seen)) = receiver.next().ok().map(answered) {
                found.insert(seen);
            }
        }
        if (round > 0 && found.is_superset(expected)) || Instant::now() > deadline {
            break;
        }
    }
    found
}

/// Of whom an ARP reply to the scanner speaks.
fn answered(frame: &[u8]) -> Option<Ipv4Addr> {
    let (is_reply, to_us) = (frame.get(12..14)? == [8, 6], frame.get(..6)? == SCANNER);
    let addr: [u8; 4] = frame.get(28..32)?.try_into().ok()?;
    (is_reply && to_us && frame.get(20..22)? == [0, 2]).then(|| addr.into())
}

fn arp_reply(frame: &[u8], holders: &BTreeMap<Ipv4Addr, Mac>) -> Option<Vec<u8>> {
    if frame.get(12..14)? != [8, 6] || frame.get(20..22)? != [0, 1] {
        return None;
    }
    let word = |at: usize| -> Option<[u8; 4]> { frame.get(at..at + 4)?.try_into().ok() };
    let asker: Mac = frame.get(22..28)?.try_into().ok()?;
    let target = Ipv4Addr::from(word(38)?);
    let own = holders.get(&target)?;
    Some(arp(asker, *own, 2, (*own, target), (asker, word(28)?.into())))
}

fn arp(to: Mac, from: Mac, what: u8, sender: (Mac, Ipv4Addr), target: (Mac, Ipv4Addr)) -> Vec<u8> {
    let mut frame = [to, from].concat();
    frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, what]);
    for (mac, addr) in [sender, target] {
        frame.extend(mac);
        frame.extend(addr.octets());
    }
    frame
}
