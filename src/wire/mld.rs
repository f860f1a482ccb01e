//! Multicast listener reports (RFC 3810), for links on which the kernel speaks no IPv6.

use std::net::Ipv6Addr;

use crate::base::Mac;

use super::ndp::icmp6_checksum;

/// Where reports go (RFC 3810 s5.2.14).
const ALL_MLD_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);
/// Hop-by-hop options: ICMPv6 follows; router alert (RFC 2711), padding.
const ROUTER_ALERT: [u8; 8] = [58, 0, 5, 2, 0, 0, 1, 0];
/// Version 2 listener report.
const REPORT: u8 = 143;
/// A record of this type says: everything to the group, whoever sends it (RFC 3810 s5.2.12).
const MODE_IS_EXCLUDE: u8 = 2;

/// Appends the frame of a report that we listen to `groups`, as from the link-local address `src`.
///
/// A snooping bridge or switch forgets it after 260 s (RFC 3810 s9.4), unless it is sent again.
pub fn write_report(out: &mut Vec<u8>, eth_src: Mac, src: Ipv6Addr, groups: &[Ipv6Addr]) {
    let mut report = vec![REPORT, 0, 0, 0, 0, 0];
    report.extend((groups.len() as u16).to_be_bytes());
    for group in groups {
        report.extend([MODE_IS_EXCLUDE, 0, 0, 0]);
        report.extend(group.octets());
    }
    let dst = ALL_MLD_ROUTERS;
    let checksum = icmp6_checksum(&report, src, dst).to_be_bytes();
    out.extend([0x33, 0x33, 0, 0, 0, 0x16]);
    out.extend(eth_src.0);
    // Ethertype; version; payload length; next header 0 (hop-by-hop options), hop limit 1.
    out.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
    out.extend(((ROUTER_ALERT.len() + report.len()) as u16).to_be_bytes());
    out.extend([0, 1]);
    out.extend(src.octets());
    out.extend(dst.octets());
    out.extend(ROUTER_ALERT);
    out.extend(report.get(..2).unwrap_or_default());
    out.extend(checksum);
    out.extend(report.get(4..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_written_to_the_byte() {
        let mut out = vec![9];
        let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
        let src = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
        write_report(&mut out, Mac([2, 0, 0, 0, 0, 1]), src, &[group]);
        let mut want = vec![9, 0x33, 0x33, 0, 0, 0, 0x16, 2, 0, 0, 0, 0, 1, 0x86, 0xdd];
        want.extend([0x60, 0, 0, 0, 0, 36, 0, 1]);
        want.extend(src.octets());
        want.extend([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x16]);
        want.extend([58, 0, 5, 2, 0, 0, 1, 0]);
        // By hand: the one's complement of 0x8f00 + 0xff02 + 0x0200 + 1 + 2 + 1 and the pseudo
        // header's 0xfe80 + 1 + 0xff02 + 0x16 + 28 + 58, with carries folded in.
        let sum: u32 = 0x8f00 + 0xff02 + 0x0200 + 4 + 0xfe80 + 1 + 0xff02 + 0x16 + 28 + 58;
        let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
        want.extend([143, 0]);
        want.extend(sum.to_be_bytes());
        want.extend([0, 0, 0, 1, 2, 0, 0, 0]);
        want.extend(group.octets());
        assert_eq!(out, want);
    }
}
