//! Kernel packet filters (classic BPF), written by a small assembler with named targets.
//!
//! A filter decides before a packet costs a copy or a wake-up. A load past the end of a packet
//! ends a program with "drop", so no filter reads what is not there.

use socket2::SockFilter;

use libc::{
    BPF_ABS, BPF_ALU, BPF_B, BPF_H, BPF_IND, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_JSET, BPF_K, BPF_LD,
    BPF_LDX, BPF_LEN, BPF_MSH, BPF_RET, BPF_SUB, BPF_W, BPF_X,
};

/// What `ret` gives to keep a whole packet.
const KEEP_ALL: u32 = u32::MAX;

/// One instruction, as the kernel wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Insn {
    code: u16,
    jt: u8,
    jf: u8,
    k: u32,
}

/// A complete filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program(Vec<Insn>);

impl Program {
    /// For `Socket::attach_filter`.
    pub(super) fn for_kernel(&self) -> Vec<SockFilter> {
        self.0.iter().map(|i| SockFilter::new(i.code, i.jt, i.jf, i.k)).collect()
    }
}

/// Where a jump goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum To {
    /// The instruction that follows.
    Next,
    /// Keep the packet.
    Keep,
    /// Drop the packet.
    Drop,
    /// Skip this many instructions.
    Skip(u8),
}

/// Instructions whose jumps are not resolved yet.
#[derive(Default)]
pub(super) struct Assembler(Vec<Step>);

struct Step {
    code: u32,
    k: u32,
    /// Where to if the test holds, and if it does not.
    jump: Option<(To, To)>,
}

impl Assembler {
    fn op(mut self, code: u32, k: u32) -> Self {
        self.0.push(Step { code, k, jump: None });
        self
    }

    fn jump(mut self, test: u32, k: u32, yes: To, no: To) -> Self {
        self.0.push(Step { code: BPF_JMP | test | BPF_K, k, jump: Some((yes, no)) });
        self
    }

    pub(super) fn load_byte(self, at: u32) -> Self {
        self.op(BPF_LD | BPF_B | BPF_ABS, at)
    }

    pub(super) fn load_half(self, at: u32) -> Self {
        self.op(BPF_LD | BPF_H | BPF_ABS, at)
    }

    fn load_word(self, at: u32) -> Self {
        self.op(BPF_LD | BPF_W | BPF_ABS, at)
    }

    fn load_half_x(self, at: u32) -> Self {
        self.op(BPF_LD | BPF_H | BPF_IND, at)
    }

    fn load_word_x(self, at: u32) -> Self {
        self.op(BPF_LD | BPF_W | BPF_IND, at)
    }

    /// X = four times the low nibble at `at`: the length of an IP header.
    fn load_x_header_len(self, at: u32) -> Self {
        self.op(BPF_LDX | BPF_B | BPF_MSH, at)
    }

    fn load_packet_len(self) -> Self {
        self.op(BPF_LD | BPF_W | BPF_LEN, 0)
    }

    fn subtract_x(self) -> Self {
        self.op(BPF_ALU | BPF_SUB | BPF_X, 0)
    }

    pub(super) fn if_equal(self, k: u32, yes: To, no: To) -> Self {
        self.jump(BPF_JEQ, k, yes, no)
    }

    fn if_at_least(self, k: u32, yes: To, no: To) -> Self {
        self.jump(BPF_JGE, k, yes, no)
    }

    fn if_any_bit(self, k: u32, yes: To, no: To) -> Self {
        self.jump(BPF_JSET, k, yes, no)
    }

    /// Runs `inner` where the accumulator is `k`, else goes on behind it. Every way through
    /// `inner` must end in a jump.
    fn when_equal(mut self, k: u32, inner: Assembler) -> Self {
        self = self.if_equal(k, To::Next, To::Skip(inner.0.len() as u8));
        self.0.extend(inner.0);
        self
    }

    /// Appends the two endings and resolves the jumps to them.
    pub(super) fn finish(self) -> Program {
        let keep = self.0.len();
        let mut program = Vec::with_capacity(keep + 2);
        for (at, Step { code, k, jump }) in self.0.into_iter().enumerate() {
            // Jumps count from the next instruction; ours are far below the 255 that fit.
            let offset = |to| match to {
                To::Next => 0,
                To::Keep => (keep - at - 1) as u8,
                To::Drop => (keep - at) as u8,
                To::Skip(count) => count,
            };
            let (jt, jf) = jump.map_or((0, 0), |(yes, no)| (offset(yes), offset(no)));
            program.push(Insn { code: code as u16, jt, jf, k });
        }
        program.push(Insn { code: (BPF_RET | BPF_K) as u16, jt: 0, jf: 0, k: KEEP_ALL });
        program.push(Insn { code: (BPF_RET | BPF_K) as u16, jt: 0, jf: 0, k: 0 });
        Program(program)
    }
}

// Offsets in an Ethernet frame; a VLAN tag is out of line, in the packet's metadata.
const ETHERTYPE: u32 = 12;
const IP: u32 = 14;
const IP6_NEXT_HEADER: u32 = IP + 6;
const IP6_HOP_LIMIT: u32 = IP + 7;
/// What follows an IPv6 header without extension headers.
const IP6_PAYLOAD: u32 = IP + 40;
const IP_FRAGMENT: u32 = IP + 6;
const IP_PROTOCOL: u32 = IP + 9;
const UDP_DST_PORT: u32 = IP + 2;
const UDP_PAYLOAD: u32 = 8;
const GIADDR: u32 = 24;
const GIADDR_END: u32 = GIADDR + 4;
const ETHERTYPE_IPV6: u32 = 0x86dd;
const UDP: u32 = 17;
/// RELAY-FORW (RFC 9915 s7.3), and RELAY-REPL after it.
const RELAY_FORW: u32 = 12;

/// DHCP of both families; what is IPv6 is left to `v6`. Of IPv4, frames with a UDP datagram to
/// port 67 or 68. Later fragments carry no port and are dropped; first fragments pass, to be
/// counted.
fn dhcp(v6: Assembler) -> Assembler {
    Assembler::default()
        .load_half(ETHERTYPE)
        .when_equal(ETHERTYPE_IPV6, v6)
        .if_equal(0x0800, To::Next, To::Drop)
        .load_byte(IP_PROTOCOL)
        .if_equal(UDP, To::Next, To::Drop)
        .load_half(IP_FRAGMENT)
        .if_any_bit(0x1fff, To::Drop, To::Next)
        .load_x_header_len(IP)
        .load_half_x(UDP_DST_PORT)
        .if_equal(68, To::Keep, To::Next)
        .if_equal(67, To::Next, To::Drop)
}

/// In an IPv6 frame, a UDP datagram to a client or, if `server` says so, to a server. No client
/// puts extension headers before UDP, and none fragments.
fn dhcp6(server: To) -> Assembler {
    Assembler::default()
        .load_byte(IP6_NEXT_HEADER)
        .if_equal(UDP, To::Next, To::Drop)
        .load_half(IP6_PAYLOAD + 2)
        .if_equal(546, To::Keep, To::Next)
        .if_equal(547, server, To::Drop)
}

/// What a server hears on a link of its own: to the server's port (67, 547) what no relay
/// forwarded, and to the client's (68, 546) what other servers say. Of IPv4, giaddr is zero; of
/// IPv6, the message type is no relay's. Where that is cut off, it passes, to be counted.
pub fn dhcp_on_link() -> Program {
    dhcp(dhcp6_of_clients())
        .load_packet_len()
        .subtract_x()
        .if_at_least(IP + UDP_PAYLOAD + GIADDR_END, To::Next, To::Keep)
        .load_word_x(IP + UDP_PAYLOAD + GIADDR)
        .if_equal(0, To::Keep, To::Drop)
        .finish()
}

/// The same on a bridge, and what DHCPv4 relays forward: only the frame tells by which port it
/// came.
pub fn dhcp_on_bridge() -> Program {
    // To port 67 is kept: falling off the last test is the kept ending.
    dhcp(dhcp6_of_clients()).finish()
}

/// DHCPv6 that no relay forwarded.
fn dhcp6_of_clients() -> Assembler {
    let message_type = IP6_PAYLOAD + UDP_PAYLOAD;
    dhcp6(To::Next)
        .load_packet_len()
        .if_at_least(message_type + 1, To::Next, To::Keep)
        .load_byte(message_type)
        .if_equal(RELAY_FORW, To::Drop, To::Next)
        .if_equal(RELAY_FORW + 1, To::Drop, To::Keep)
}

/// What an observer hears: all DHCP, relayed or not.
pub fn dhcp_observed() -> Program {
    dhcp(dhcp6(To::Keep)).finish()
}

/// ARP for IPv4 over Ethernet: requests, probes, announcements and replies.
pub fn arp() -> Program {
    Assembler::default()
        .load_half(ETHERTYPE)
        .if_equal(0x0806, To::Next, To::Drop)
        .load_word(14)
        .if_equal(0x0001_0800, To::Next, To::Drop)
        // Address lengths 6 and 4, then the operation.
        .load_word(18)
        .if_equal(0x0604_0001, To::Keep, To::Next)
        .if_equal(0x0604_0002, To::Keep, To::Drop)
        .finish()
}

/// On a UDP socket, where offset 0 is the UDP header: what a relay forwarded. The rest came by
/// the packet socket.
pub fn relayed() -> Program {
    Assembler::default().load_word(UDP_PAYLOAD + GIADDR).if_equal(0, To::Drop, To::Keep).finish()
}

/// On a UDP socket for port 547: what a relay forwarded.
pub fn relayed6() -> Program {
    Assembler::default().load_byte(UDP_PAYLOAD).if_equal(RELAY_FORW, To::Keep, To::Drop).finish()
}

/// Router and neighbour solicitations and advertisements that no router forwarded: their hop
/// limit is still 255 (RFC 4861 s6.1, s7.1).
pub fn neighbour_discovery() -> Program {
    Assembler::default()
        .load_half(ETHERTYPE)
        .if_equal(ETHERTYPE_IPV6, To::Next, To::Drop)
        .load_byte(IP6_NEXT_HEADER)
        .if_equal(58, To::Next, To::Drop)
        .load_byte(IP6_HOP_LIMIT)
        .if_equal(255, To::Next, To::Drop)
        .load_byte(IP6_PAYLOAD)
        .if_at_least(137, To::Drop, To::Next)
        .if_at_least(133, To::Keep, To::Drop)
        .finish()
}

/// The same, and answers to ICMPv6 echo requests, which may have passed hops.
pub fn neighbours_and_echoes() -> Program {
    Assembler::default()
        .load_half(ETHERTYPE)
        .if_equal(ETHERTYPE_IPV6, To::Next, To::Drop)
        .load_byte(IP6_NEXT_HEADER)
        .if_equal(58, To::Next, To::Drop)
        .load_byte(IP6_PAYLOAD)
        .if_equal(129, To::Keep, To::Next)
        .if_at_least(137, To::Drop, To::Next)
        .if_at_least(133, To::Next, To::Drop)
        .load_byte(IP6_HOP_LIMIT)
        .if_equal(255, To::Keep, To::Drop)
        .finish()
}

/// Nothing at all: for a socket that is only there to hold its port or to send.
pub fn nothing() -> Program {
    Assembler::default().load_packet_len().if_at_least(0, To::Drop, To::Drop).finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Classic BPF as the kernel runs it, for the instructions that are used here.
    fn run(program: &Program, packet: &[u8]) -> bool {
        let load = |at: usize, len: usize| {
            let bytes = packet.get(at..at + len)?;
            Some(bytes.iter().fold(0u32, |value, byte| value << 8 | u32::from(*byte)))
        };
        let (mut a, mut x, mut pc) = (0u32, 0u32, 0usize);
        loop {
            let insn = program.0[pc];
            pc += 1;
            let (code, k) = (u32::from(insn.code), insn.k);
            let size = match code & 0x18 {
                BPF_W => 4,
                BPF_H => 2,
                _ => 1,
            };
            let loaded = match code & 0xe7 {
                c if c == BPF_LD | BPF_ABS => load(k as usize, size),
                c if c == BPF_LD | BPF_IND => load((x + k) as usize, size),
                c if c == BPF_LD | BPF_LEN => Some(packet.len() as u32),
                c if c == BPF_LDX | BPF_MSH => match load(k as usize, 1) {
                    Some(byte) => {
                        x = 4 * (byte & 15);
                        continue;
                    }
                    None => None,
                },
                _ if code == BPF_ALU | BPF_SUB | BPF_X => Some(a.wrapping_sub(x)),
                _ if code & 7 == BPF_JMP => {
                    let yes = match code & 0xf0 {
                        BPF_JEQ => a == k,
                        BPF_JGE => a >= k,
                        BPF_JSET => a & k != 0,
                        other => panic!("jump {other:#x}"),
                    };
                    pc += usize::from(if yes { insn.jt } else { insn.jf });
                    continue;
                }
                _ if code == BPF_RET | BPF_K => return k != 0,
                other => panic!("instruction {other:#x}"),
            };
            match loaded {
                Some(value) => a = value,
                None => return false,
            }
        }
    }

    struct Datagram {
        ethertype: u16,
        protocol: u8,
        fragment: u16,
        ip_options: usize,
        port: u16,
        giaddr: [u8; 4],
        payload: usize,
    }

    const DISCOVER: Datagram = Datagram {
        ethertype: 0x0800,
        protocol: 17,
        fragment: 0,
        ip_options: 0,
        port: 67,
        giaddr: [0; 4],
        payload: 300,
    };

    impl Datagram {
        fn udp(&self) -> Vec<u8> {
            let mut udp = vec![0, 68];
            udp.extend(self.port.to_be_bytes());
            udp.extend([0; 4]);
            let mut payload = vec![0; self.payload];
            if let Some(field) = payload.get_mut(24..28) {
                field.copy_from_slice(&self.giaddr);
            }
            udp.extend(payload);
            udp
        }

        fn frame(&self) -> Vec<u8> {
            let mut frame = vec![0xff; 12];
            frame.extend(self.ethertype.to_be_bytes());
            frame.push(0x45 + (self.ip_options / 4) as u8);
            frame.extend([0; 5]);
            frame.extend(self.fragment.to_be_bytes());
            frame.extend([64, self.protocol]);
            frame.resize(14 + 20 + self.ip_options, 0);
            frame.extend(self.udp());
            frame
        }
    }

    #[test]
    fn the_link_filter_keeps_what_no_relay_forwarded() {
        let keeps = |d: Datagram| run(&dhcp_on_link(), &d.frame());
        assert!(keeps(DISCOVER));
        assert!(keeps(Datagram { ip_options: 40, ..DISCOVER }));
        assert!(keeps(Datagram { port: 68, ..DISCOVER }), "another server");
        assert!(keeps(Datagram { port: 68, giaddr: [1; 4], ..DISCOVER }));
        assert!(keeps(Datagram { payload: 10, ..DISCOVER }), "a runt is kept and counted");
        assert!(keeps(Datagram { payload: 27, ip_options: 8, ..DISCOVER }));
        assert!(keeps(Datagram { fragment: 0x2000, ..DISCOVER }), "a first fragment is counted");
        assert!(!keeps(Datagram { giaddr: [0, 0, 0, 1], ..DISCOVER }));
        assert!(!keeps(Datagram { giaddr: [0, 0, 0, 1], ip_options: 40, ..DISCOVER }));
        assert!(!keeps(Datagram { fragment: 1, ..DISCOVER }));
        assert!(!keeps(Datagram { port: 69, ..DISCOVER }));
        assert!(!keeps(Datagram { protocol: 6, ..DISCOVER }));
        assert!(!keeps(Datagram { ethertype: 0x86dd, ..DISCOVER }), "an IPv4 header under it");
        assert!(!keeps(Datagram { ethertype: 0x88cc, ..DISCOVER }));
        for len in 0..38 {
            assert!(!run(&dhcp_on_link(), &DISCOVER.frame()[..len]), "{len} bytes");
        }
    }

    #[test]
    fn the_observer_sees_relayed_packets_too() {
        let keeps = |d: Datagram| run(&dhcp_observed(), &d.frame());
        assert!(keeps(DISCOVER));
        assert!(keeps(Datagram { giaddr: [9; 4], ..DISCOVER }));
        assert!(keeps(Datagram { port: 68, ..DISCOVER }));
        assert!(!keeps(Datagram { port: 53, ..DISCOVER }));
    }

    #[test]
    fn a_bridge_is_heard_with_its_dhcpv4_relays() {
        let keeps = |d: Datagram| run(&dhcp_on_bridge(), &d.frame());
        assert!(keeps(DISCOVER));
        assert!(keeps(Datagram { giaddr: [9; 4], ..DISCOVER }));
        assert!(keeps(Datagram { port: 68, ..DISCOVER }));
        assert!(!keeps(Datagram { port: 53, ..DISCOVER }));
        let keeps = |v6: V6| run(&dhcp_on_bridge(), &v6.frame());
        assert!(keeps(V6::udp(547, &[1, 0, 0])));
        assert!(!keeps(V6::udp(547, &[12, 0, 0])), "RELAY-FORW comes by UDP");
    }

    #[test]
    fn the_relay_filter_keeps_the_rest() {
        let keeps = |d: Datagram| run(&relayed(), &d.udp());
        assert!(!keeps(DISCOVER));
        assert!(keeps(Datagram { giaddr: [10, 0, 0, 1], ..DISCOVER }));
        assert!(!keeps(Datagram { giaddr: [10, 0, 0, 1], payload: 20, ..DISCOVER }));
        assert!(!run(&nothing(), &DISCOVER.udp()));
        assert!(!run(&nothing(), &[]));
    }

    /// An IPv6 frame.
    struct V6 {
        next_header: u8,
        hop_limit: u8,
        /// What follows the IPv6 header.
        payload: Vec<u8>,
    }

    impl V6 {
        fn udp(port: u16, message: &[u8]) -> V6 {
            let mut payload = vec![2, 34];
            payload.extend(port.to_be_bytes());
            payload.extend([0; 4]);
            payload.extend(message);
            V6 { next_header: 17, hop_limit: 1, payload }
        }

        fn icmp(kind: u8) -> V6 {
            V6 { next_header: 58, hop_limit: 255, payload: vec![kind, 0, 0, 0] }
        }

        fn frame(&self) -> Vec<u8> {
            let mut frame = vec![0x33; 12];
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, self.next_header, self.hop_limit]);
            frame.resize(54, 0xfe);
            frame.extend(&self.payload);
            frame
        }
    }

    #[test]
    fn the_link_filter_keeps_dhcpv6_that_no_relay_forwarded() {
        let keeps = |v6: V6| run(&dhcp_on_link(), &v6.frame());
        for message_type in (1..=11).chain([14, 0, 255]) {
            assert!(keeps(V6::udp(547, &[message_type, 1, 2, 3])), "type {message_type}");
        }
        assert!(!keeps(V6::udp(547, &[12, 0, 0])), "RELAY-FORW comes by UDP");
        assert!(!keeps(V6::udp(547, &[13, 0, 0])));
        assert!(keeps(V6::udp(547, &[])), "a runt is kept and counted");
        assert!(keeps(V6::udp(546, &[2, 0, 0])), "another server");
        assert!(!keeps(V6::udp(53, &[1, 0, 0])));
        assert!(!keeps(V6::icmp(135)));
        assert!(!keeps(V6 { next_header: 44, ..V6::udp(547, &[1]) }));
        assert!(!keeps(V6 { next_header: 0, ..V6::udp(547, &[1]) }));
        let whole = V6::udp(547, &[1, 0, 0]).frame();
        for len in 0..58 {
            assert!(!run(&dhcp_on_link(), &whole[..len]), "{len} bytes");
        }
        assert!(run(&dhcp_observed(), &V6::udp(547, &[12]).frame()), "an observer sees relayed");
        assert!(run(&dhcp_observed(), &V6::udp(546, &[7]).frame()));
        assert!(!run(&dhcp_observed(), &V6::udp(5353, &[7]).frame()));
    }

    #[test]
    fn the_v6_relay_filter_keeps_the_rest() {
        let keeps = |message: &[u8]| run(&relayed6(), &V6::udp(547, message).payload);
        assert!(keeps(&[12, 0]));
        for other in [&[1, 0][..], &[13, 0], &[]] {
            assert!(!keeps(other), "{other:?}");
        }
    }

    #[test]
    fn neighbour_discovery_is_from_the_link() {
        let keeps = |v6: V6| run(&neighbour_discovery(), &v6.frame());
        for kind in 133..=136 {
            assert!(keeps(V6::icmp(kind)), "{kind}");
        }
        for other in [128, 132, 137, 143, 0, 255] {
            assert!(!keeps(V6::icmp(other)), "{other}");
        }
        assert!(!keeps(V6 { hop_limit: 254, ..V6::icmp(136) }), "forwarded");
        assert!(!keeps(V6 { next_header: 0, ..V6::icmp(136) }), "hop-by-hop options: MLD");
        assert!(!keeps(V6::udp(547, &[1])));
        assert!(!run(&neighbour_discovery(), &DISCOVER.frame()));
        let whole = V6::icmp(136).frame();
        assert!((0..=54).all(|len| !run(&neighbour_discovery(), &whole[..len])));
    }

    #[test]
    fn arp_is_ipv4_over_ethernet() {
        let packet = |htype: u8, hlen: u8, op: u8| {
            let mut frame = vec![0xff; 12];
            frame.extend([8, 6, 0, htype, 8, 0, hlen, 4, 0, op]);
            frame.resize(60, 0);
            run(&arp(), &frame)
        };
        assert!(packet(1, 6, 1));
        assert!(packet(1, 6, 2));
        assert!(!packet(1, 6, 3));
        assert!(!packet(6, 6, 1));
        assert!(!packet(1, 16, 1));
        assert!(!run(&arp(), &DISCOVER.frame()));
    }
}
