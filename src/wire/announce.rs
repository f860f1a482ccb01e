//! Who has an address now: what a switchover tells the segment.
//!
//! Each frame leaves the server's own port, so its Ethernet source is that port's own address: with
//! the new holder's, bridges would look for the holder behind the server. Neighbours whose entry is
//! fresh believe no gratuitous ARP reply (Linux: for a second), and some no gratuitous request:
//! they are asked one by one, as a request is believed at once and answered to the new holder.

use std::net::{IpAddr, Ipv6Addr};

use super::arp::{self, ArpFrame};
use super::frame6::Ends;
use super::ndp;
use crate::base::Mac;

/// All nodes of a link (RFC 4291 s2.7.1).
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// An address and who holds it from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The address.
    pub addr: IpAddr,
    /// The hardware address of its holder.
    pub holder: Mac,
    /// The hardware address of the port that the frames leave by.
    pub port: Mac,
}

impl Announcement {
    /// Frames for the whole segment, in the order in which they are to leave: a gratuitous ARP
    /// request and reply (RFC 5227 s3), or an unsolicited neighbour advertisement that overrides
    /// (RFC 4861 s7.2.6).
    pub fn to_all(&self) -> Vec<Vec<u8>> {
        match self.addr {
            IpAddr::V4(addr) => {
                let ask = ArpFrame {
                    eth_src: self.port,
                    sender: self.holder,
                    sender_ip: addr,
                    target: Mac::ZERO,
                    target_ip: addr,
                    is_reply: false,
                };
                // Linux takes no reply whose target is neither the sender nor itself.
                let tell = ArpFrame { target: self.holder, is_reply: true, ..ask };
                [ask, tell]
                    .map(|frame| written(|out| arp::write(out, Mac::BROADCAST, &frame)))
                    .into()
            }
            IpAddr::V6(addr) => {
                let ends = Ends::to_group(self.port, addr, ALL_NODES);
                vec![written(|out| ndp::write_override(out, &ends, addr, self.holder))]
            }
        }
    }

    /// The frame that one neighbour learns it from: it is asked for its own address. `None` if it is
    /// of another family.
    pub fn to_one(&self, neighbour: IpAddr, mac: Mac) -> Option<Vec<u8>> {
        match (self.addr, neighbour) {
            (IpAddr::V4(sender_ip), IpAddr::V4(target_ip)) => {
                let ask = ArpFrame {
                    eth_src: self.port,
                    sender: self.holder,
                    sender_ip,
                    target: Mac::ZERO,
                    target_ip,
                    is_reply: false,
                };
                Some(written(|out| arp::write(out, mac, &ask)))
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let ends = Ends { src_mac: self.port, dst_mac: mac, src, dst };
                Some(written(|out| ndp::write_solicit(out, &ends, dst, Some(self.holder))))
            }
            _ => None,
        }
    }
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::addr::parse_hex;

    const HOLDER: Mac = Mac([0x52, 0x54, 0, 0, 0, 0xb]);
    const PORT: Mac = Mac([0x52, 0x54, 0, 0, 0, 0xa]);
    const CLIENT: Mac = Mac([0x52, 0x54, 0, 0, 0, 0xc]);

    fn of(addr: &str) -> Announcement {
        Announcement { addr: addr.parse().unwrap(), holder: HOLDER, port: PORT }
    }

    #[test]
    fn arp_says_it_twice_to_all() {
        let [ask, tell] = of("10.0.0.5").to_all().try_into().unwrap();
        let head = "ffffffffffff 52540000000a 0806 0001 0800 06 04";
        let want = format!("{head} 0001 52540000000b 0a000005 000000000000 0a000005");
        assert_eq!(Some(ask), parse_hex(&want));
        let want = format!("{head} 0002 52540000000b 0a000005 52540000000b 0a000005");
        assert_eq!(Some(tell), parse_hex(&want));
    }

    #[test]
    fn one_neighbour_is_asked_for_its_own_address() {
        let frame = of("10.0.0.5").to_one("10.0.0.9".parse().unwrap(), CLIENT).unwrap();
        let want = "52540000000c 52540000000a 0806 0001 0800 06 04 0001 \
                    52540000000b 0a000005 000000000000 0a000009";
        assert_eq!(Some(frame), parse_hex(want));
        assert_eq!(of("10.0.0.5").to_one("fd00::9".parse().unwrap(), CLIENT), None);
    }

    #[test]
    fn an_advertisement_overrides_and_is_not_asked_for() {
        let [frame] = of("fd00::5").to_all().try_into().unwrap();
        let read = ndp::read(&frame, false).unwrap();
        assert_eq!(&frame[..12], &parse_hex("333300000001 52540000000a").unwrap()[..]);
        // Hop limit 255; override alone; the holder's link-layer address.
        let message = &frame[54..];
        assert_eq!((frame[21], message[0], &message[4..8]), (255, 136, &[0x20, 0, 0, 0][..]));
        assert_eq!(&message[24..], &parse_hex("0201 52540000000b").unwrap()[..]);
        assert!(format!("{read:?}").contains("fd00::5"), "{read:?}");
        let asked = of("fd00::5").to_one("fd00::9".parse().unwrap(), CLIENT).unwrap();
        assert_eq!(&asked[54 + 24..], &parse_hex("0101 52540000000b").unwrap()[..]);
        assert!(ndp::read(&asked, false).is_ok());
    }
}
