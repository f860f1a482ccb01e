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
const IP_FRAGMENT: u32 = IP + 6;
const IP_PROTOCOL: u32 = IP + 9;
const UDP_DST_PORT: u32 = IP + 2;
const UDP_PAYLOAD: u32 = 8;
const GIADDR: u32 = 24;
const GIADDR_END: u32 = GIADDR + 4;

/// Frames with a UDP datagram to port 67 or 68. Later fragments carry no port and are dropped;
/// first fragments pass, to be counted.
fn dhcp() -> Assembler {
    Assembler::default()
        .load_half(ETHERTYPE)
        .if_equal(0x0800, To::Next, To::Drop)
        .load_byte(IP_PROTOCOL)
        .if_equal(17, To::Next, To::Drop)
        .load_half(IP_FRAGMENT)
        .if_any_bit(0x1fff, To::Drop, To::Next)
        .load_x_header_len(IP)
        .load_half_x(UDP_DST_PORT)
        .if_equal(68, To::Keep, To::Next)
        .if_equal(67, To::Next, To::Drop)
}

/// What a server hears on a link of its own: to port 67 what no relay forwarded (giaddr is zero,
/// or cut off, which is to be counted), and to port 68 what other servers say.
pub fn dhcp_on_link() -> Program {
    dhcp()
        .load_packet_len()
        .subtract_x()
        .if_at_least(IP + UDP_PAYLOAD + GIADDR_END, To::Next, To::Keep)
        .load_word_x(IP + UDP_PAYLOAD + GIADDR)
        .if_equal(0, To::Keep, To::Drop)
        .finish()
}

/// What an observer hears: all DHCP, relayed or not.
pub fn dhcp_observed() -> Program {
    // To port 67 is kept as well: falling off the last test is the kept ending.
    dhcp().finish()
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
        assert!(!keeps(Datagram { ethertype: 0x86dd, ..DISCOVER }));
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
    fn the_relay_filter_keeps_the_rest() {
        let keeps = |d: Datagram| run(&relayed(), &d.udp());
        assert!(!keeps(DISCOVER));
        assert!(keeps(Datagram { giaddr: [10, 0, 0, 1], ..DISCOVER }));
        assert!(!keeps(Datagram { giaddr: [10, 0, 0, 1], payload: 20, ..DISCOVER }));
        assert!(!run(&nothing(), &DISCOVER.udp()));
        assert!(!run(&nothing(), &[]));
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
