//! Table, sets, chains and rules of the gate. They are made once; see [`super::rules`] for what
//! changes.

use super::message::{Writer, flag, kind};
use super::rules::Rules;

/// Our table: no other rules are in it, and none of ours elsewhere.
pub(super) const TABLE: &str = "foreshadow";

/// The sets of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Set {
    Guests,
    Guarded,
    /// Guarded ports whose sources are known.
    Bound,
    /// Those of them that send from no IPv6 address but known ones.
    Bound6,
    Fenced,
    Macs,
    Sources4,
    Sources6,
    Servers4,
    Servers6,
    Silent4,
    Silent6,
    /// Those who are silent, and those who are leaving: neighbours hear of neither.
    Unnamed4,
    Unnamed6,
    /// Ports that sent to DHCP servers of late; the kernel fills it.
    Asked,
}

const PORT_BYTES: usize = 16;

impl Set {
    pub(super) const ALL: [Set; 15] = [
        Set::Guests,
        Set::Guarded,
        Set::Bound,
        Set::Bound6,
        Set::Fenced,
        Set::Macs,
        Set::Sources4,
        Set::Sources6,
        Set::Servers4,
        Set::Servers6,
        Set::Silent4,
        Set::Silent6,
        Set::Unnamed4,
        Set::Unnamed6,
        Set::Asked,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Set::Guests => "guests",
            Set::Guarded => "guarded",
            Set::Bound => "bound",
            Set::Bound6 => "bound6",
            Set::Fenced => "fenced",
            Set::Macs => "macs",
            Set::Sources4 => "sources4",
            Set::Sources6 => "sources6",
            Set::Servers4 => "servers4",
            Set::Servers6 => "servers6",
            Set::Silent4 => "silent4",
            Set::Silent6 => "silent6",
            Set::Unnamed4 => "unnamed4",
            Set::Unnamed6 => "unnamed6",
            Set::Asked => "asked",
        }
    }

    /// Its keys are names of ports alone.
    fn is_of_ports(self) -> bool {
        let ports = [Set::Guests, Set::Guarded, Set::Bound, Set::Bound6, Set::Fenced, Set::Asked];
        ports.contains(&self)
    }

    /// Length of a key: the parts of one are padded to words of 4 bytes.
    pub(super) fn key_bytes(self) -> usize {
        match self {
            port if port.is_of_ports() => PORT_BYTES,
            Set::Macs => PORT_BYTES + 8,
            Set::Sources4 | Set::Silent4 | Set::Unnamed4 => PORT_BYTES + 4,
            Set::Sources6 | Set::Silent6 | Set::Unnamed6 => PORT_BYTES + 16,
            Set::Servers4 => 4,
            _ => 16,
        }
    }

    /// What `nft list` shows a key as: the kernel only keeps it.
    fn shown_as(self) -> u32 {
        let (name, mac, ip4, ip6) = (41, 9, 7, 8);
        match self {
            port if port.is_of_ports() => name,
            Set::Macs => name << 6 | mac,
            Set::Sources4 | Set::Silent4 | Set::Unnamed4 => name << 6 | ip4,
            Set::Sources6 | Set::Silent6 | Set::Unnamed6 => name << 6 | ip6,
            Set::Servers4 => ip4,
            _ => ip6,
        }
    }
}

/// One transaction that puts the whole table in the place of whatever is there.
pub(super) fn install(rules: &Rules) -> Writer {
    let mut writer = Writer::transaction();
    let table = |w: &mut Writer| {
        w.name(1, TABLE);
    };
    // What is not there cannot be deleted: it is made first.
    writer.message(kind::NEW_TABLE, flag::CREATE, table);
    writer.message(kind::DEL_TABLE, 0, table);
    writer.message(kind::NEW_TABLE, flag::CREATE, table);
    for (at, set) in Set::ALL.into_iter().enumerate() {
        write_set(&mut writer, set, at as u32 + 1);
    }
    write_chain(&mut writer, FROM, HOOK_PRE_ROUTING, -300);
    write_chain(&mut writer, TO, HOOK_POST_ROUTING, 300);
    from_guarded(&mut writer, rules.dhcp_per_s);
    from_port(&mut writer);
    to_port(&mut writer);
    rules.write_all(&mut writer);
    writer
}

const FROM: &str = "from_port";
const TO: &str = "to_port";
const HOOK_PRE_ROUTING: u32 = 0;
const HOOK_POST_ROUTING: u32 = 4;

/// How long a port is remembered that asked a DHCP server.
const ASKED_FOR_MS: u64 = 60_000;
/// Most ports that are remembered so.
const ASKED_MAX: u32 = 65_536;

/// Elements go after a time; rules make them.
const TIMES_OUT: u32 = 0x10;
const MADE_BY_RULES: u32 = 0x20;

fn write_set(writer: &mut Writer, set: Set, id: u32) {
    writer.message(kind::NEW_SET, flag::CREATE, |w| {
        w.name(1, TABLE).name(2, set.name());
        let flags = if set == Set::Asked { TIMES_OUT | MADE_BY_RULES } else { 0 };
        w.number(3, flags).number(4, set.shown_as()).number(5, set.key_bytes() as u32);
        w.number(10, id);
        if set == Set::Asked {
            w.nested(9, |w| {
                w.number(1, ASKED_MAX);
            });
            w.long(11, ASKED_FOR_MS);
        }
    });
}

fn write_chain(writer: &mut Writer, name: &str, hook: u32, priority: i32) {
    writer.message(kind::NEW_CHAIN, flag::CREATE, |w| {
        w.name(1, TABLE).name(3, name);
        w.nested(4, |w| {
            w.number(1, hook).number(2, priority.cast_unsigned());
        });
        w.number(5, ACCEPT).name(7, "filter");
    });
}

const DROP: u32 = 0;
const ACCEPT: u32 = 1;

const ARP: u16 = 0x0806;
const IP: u16 = 0x0800;
const IP6: u16 = 0x86dd;
const VLANS: [u16; 2] = [0x8100, 0x88a8];
const UDP: u8 = 17;
const ICMP6: u8 = 58;
const ROUTER_ADVERT: u8 = 134;
const NEIGHBOR_SOLICIT: u8 = 135;
const NEIGHBOR_ADVERT: u8 = 136;
const REDIRECT: u8 = 137;
/// A side of a frame's way through the bridge, by the key of its name.
#[derive(Clone, Copy)]
enum Side {
    In = 6,
    Out = 7,
}

/// Where something is in a frame: from which header on, and its offset and length.
#[derive(Clone, Copy)]
struct Field(u32, u32, u32);

impl Field {
    const ETH_SOURCE: Field = Field(0, 6, 6);
    const ARP_HARDWARE: Field = Field(1, 8, 6);
    const ARP_SENDER: Field = Field(1, 14, 4);
    const ARP_TARGET: Field = Field(1, 24, 4);
    const IP_SOURCE: Field = Field(1, 12, 4);
    const IP_DESTINATION: Field = Field(1, 16, 4);
    const IP6_SOURCE: Field = Field(1, 8, 16);
    const IP6_DESTINATION: Field = Field(1, 24, 16);
    const SOURCE_PORT: Field = Field(2, 0, 2);
    const DESTINATION_PORT: Field = Field(2, 2, 2);
    const ICMP_TYPE: Field = Field(2, 0, 1);
    const ND_TARGET: Field = Field(2, 8, 16);
}

/// What guarded ports may not send at all.
fn from_guarded(writer: &mut Writer, dhcp_per_s: Option<u32>) {
    let guarded = || Rule::from(Side::In, Set::Guarded);
    let (bound, bound6) =
        (|| Rule::from(Side::In, Set::Bound), || Rule::from(Side::In, Set::Bound6));
    let own = |rule: Rule, field, set| rule.pair(Side::In, field, set, false);
    let mut drop = |rule: Rule| rule.end(writer, FROM, DROP);
    drop(Rule::from(Side::In, Set::Fenced));
    drop(own(bound(), Field::ETH_SOURCE, Set::Macs));
    drop(bound().not_protocol(ARP).not_protocol(IP).not_protocol(IP6));
    drop(own(bound().protocol(ARP), Field::ARP_HARDWARE, Set::Macs));
    // Without a sender it is a probe (RFC 5227 s2.1.1).
    let arp = bound().protocol(ARP).not(Field::ARP_SENDER, &[0; 4]);
    drop(own(arp, Field::ARP_SENDER, Set::Sources4));
    // Guests are no DHCP servers.
    drop(guarded().protocol(IP).transport(UDP).is(Field::SOURCE_PORT, &67u16.to_be_bytes()));
    drop(guarded().protocol(IP6).transport(UDP).is(Field::SOURCE_PORT, &547u16.to_be_bytes()));
    for (protocol, port) in [(IP, 67u16), (IP6, 547)] {
        let Some(per_s) = dhcp_per_s else { break };
        let asks = guarded().protocol(protocol).transport(UDP);
        drop(asks.is(Field::DESTINATION_PORT, &port.to_be_bytes()).above(per_s));
    }
    // Without an address a guest speaks to DHCP servers alone.
    let nobody = || bound().protocol(IP).is(Field::IP_SOURCE, &[0; 4]);
    drop(nobody().not_transport(UDP));
    drop(nobody().transport(UDP).not(Field::DESTINATION_PORT, &67u16.to_be_bytes()));
    let ip = bound().protocol(IP).not(Field::IP_SOURCE, &[0; 4]);
    drop(own(ip, Field::IP_SOURCE, Set::Sources4));
    let ip6 = || guarded().protocol(IP6);
    drop(bound6().protocol(IP6).is(Field::IP6_SOURCE, &[0; 16]).not_transport(ICMP6));
    drop(ip6().within(Field::IP6_SOURCE, Set::Servers6));
    let global =
        bound6().protocol(IP6).not(Field::IP6_SOURCE, &[0; 16]).not_link_local(Field::IP6_SOURCE);
    drop(own(global, Field::IP6_SOURCE, Set::Sources6));
    let icmp = |kind| ip6().transport(ICMP6).is(Field::ICMP_TYPE, &[kind]);
    // Guests are no routers.
    drop(icmp(ROUTER_ADVERT));
    drop(icmp(REDIRECT));
    drop(icmp(NEIGHBOR_ADVERT).within(Field::ND_TARGET, Set::Servers6));
    let advert = bound6().protocol(IP6).transport(ICMP6);
    let advert = advert.is(Field::ICMP_TYPE, &[NEIGHBOR_ADVERT]);
    let global = advert.not_link_local(Field::ND_TARGET);
    drop(own(global, Field::ND_TARGET, Set::Sources6));
}

/// What a port may not say of an address that is another's.
fn from_port(writer: &mut Writer) {
    // One tag is set aside by the kernel: what is left of a tag is a second one.
    for vlan in VLANS {
        Rule::from(Side::In, Set::Guests).protocol(vlan).end(writer, FROM, DROP);
    }
    for rule in to_servers() {
        rule.end(writer, FROM, ACCEPT);
    }
    let of = |rule: Rule, field, set| rule.pair(Side::In, field, set, true);
    let (arp, ip) = (|| Rule::default().protocol(ARP), Rule::default().protocol(IP));
    let ip6 = || Rule::default().protocol(IP6);
    let icmp = |kind| ip6().transport(ICMP6).is(Field::ICMP_TYPE, &[kind]);
    let mut drop = |rule: Rule| rule.end(writer, FROM, DROP);
    drop(of(arp(), Field::ARP_SENDER, Set::Unnamed4));
    drop(of(arp().is(Field::ARP_SENDER, &[0; 4]), Field::ARP_TARGET, Set::Unnamed4));
    drop(of(ip, Field::IP_SOURCE, Set::Silent4));
    drop(of(ip6(), Field::IP6_SOURCE, Set::Silent6));
    drop(of(icmp(NEIGHBOR_ADVERT), Field::ND_TARGET, Set::Unnamed6));
    // Who is asked learns where the address is (RFC 4861 s7.2.3).
    drop(of(icmp(NEIGHBOR_SOLICIT), Field::IP6_SOURCE, Set::Unnamed6));
    // Duplicate address detection (RFC 4862 s5.4.2).
    let probe = icmp(NEIGHBOR_SOLICIT).is(Field::IP6_SOURCE, &[0; 16]);
    drop(of(probe, Field::ND_TARGET, Set::Unnamed6));
}

/// What is not told a port of an address that is another's.
fn to_port(writer: &mut Writer) {
    for rule in from_servers() {
        rule.end(writer, TO, ACCEPT);
    }
    let of = |rule: Rule, field, set| rule.pair(Side::Out, field, set, true);
    let mut drop = |rule: Rule| rule.end(writer, TO, DROP);
    drop(of(Rule::default().protocol(ARP), Field::ARP_TARGET, Set::Unnamed4));
    drop(of(Rule::default().protocol(IP), Field::IP_DESTINATION, Set::Silent4));
    let ip6 = || Rule::default().protocol(IP6);
    drop(of(ip6(), Field::IP6_DESTINATION, Set::Silent6));
    let asks = ip6().transport(ICMP6).is(Field::ICMP_TYPE, &[NEIGHBOR_SOLICIT]);
    drop(of(asks, Field::ND_TARGET, Set::Unnamed6));
}

/// Requests of DHCP clients that have an address: those without one break no rule, nor do those of
/// DHCPv6, which are sent from link-local addresses.
fn to_servers() -> [Rule; 3] {
    let v4 = || {
        let asks = Rule::default().protocol(IP).transport(UDP);
        let asks = asks.is(Field::SOURCE_PORT, &68u16.to_be_bytes());
        asks.is(Field::DESTINATION_PORT, &67u16.to_be_bytes())
    };
    let v6 = Rule::default().protocol(IP6).transport(UDP);
    let v6 = v6.is(Field::DESTINATION_PORT, &547u16.to_be_bytes());
    [
        v4().is(Field::IP_DESTINATION, &[255; 4]),
        v4().within(Field::IP_DESTINATION, Set::Servers4),
        v6.within(Field::IP6_DESTINATION, Set::Servers6),
    ]
}

/// Answers of servers to such an address.
fn from_servers() -> [Rule; 2] {
    let v4 = Rule::default().protocol(IP).transport(UDP);
    let v4 = v4.is(Field::SOURCE_PORT, &67u16.to_be_bytes());
    let v4 = v4.is(Field::DESTINATION_PORT, &68u16.to_be_bytes());
    let v6 = Rule::default().protocol(IP6).transport(UDP);
    let v6 = v6.is(Field::DESTINATION_PORT, &546u16.to_be_bytes());
    [v4.within(Field::IP_SOURCE, Set::Servers4), v6.within(Field::IP6_SOURCE, Set::Servers6)]
}

/// The first of the 16 registers of 4 bytes: a name takes four of them.
const FIRST: u32 = 8;
const BEHIND_NAME: u32 = FIRST + 4;

/// Expressions of a rule, one behind the other: the rule is over where one does not hold.
#[derive(Default)]
struct Rule(Vec<(&'static str, Vec<u8>)>);

impl Rule {
    fn from(side: Side, set: Set) -> Rule {
        Rule::default().meta(side as u32).lookup(set, true)
    }

    fn then(mut self, name: &'static str, write: impl FnOnce(&mut Writer)) -> Rule {
        let mut data = Writer::default();
        write(&mut data);
        self.0.push((name, data.into_bytes()));
        self
    }

    fn meta(self, key: u32) -> Rule {
        self.then("meta", |w| {
            w.number(1, FIRST).number(2, key);
        })
    }

    fn load(self, Field(base, offset, len): Field, register: u32) -> Rule {
        self.then("payload", |w| {
            w.number(1, register).number(2, base).number(3, offset).number(4, len);
        })
    }

    fn compare(self, equal: bool, value: &[u8]) -> Rule {
        self.then("cmp", |w| {
            w.number(1, FIRST).number(2, u32::from(!equal)).nested(3, |w| {
                w.bytes(1, value);
            });
        })
    }

    fn lookup(self, set: Set, found: bool) -> Rule {
        self.then("lookup", |w| {
            w.name(1, set.name()).number(2, FIRST);
            if !found {
                w.number(5, 1);
            }
        })
    }

    fn protocol(self, ethertype: u16) -> Rule {
        self.meta(1).compare(true, &ethertype.to_be_bytes())
    }

    fn not_protocol(self, ethertype: u16) -> Rule {
        self.meta(1).compare(false, &ethertype.to_be_bytes())
    }

    fn transport(self, protocol: u8) -> Rule {
        self.meta(16).compare(true, &[protocol])
    }

    fn not_transport(self, protocol: u8) -> Rule {
        self.meta(16).compare(false, &[protocol])
    }

    fn is(self, field: Field, value: &[u8]) -> Rule {
        self.load(field, FIRST).compare(true, value)
    }

    fn not(self, field: Field, value: &[u8]) -> Rule {
        self.load(field, FIRST).compare(false, value)
    }

    fn within(self, field: Field, set: Set) -> Rule {
        self.load(field, FIRST).lookup(set, true)
    }

    /// Whether the port and what is in a field are a pair of the set.
    fn pair(self, side: Side, field: Field, set: Set, found: bool) -> Rule {
        self.meta(side as u32).load(field, BEHIND_NAME).lookup(set, found)
    }

    /// It is outside of fe80::/10.
    fn not_link_local(self, field: Field) -> Rule {
        let head = Field(field.0, field.1, 4);
        let mask = self.load(head, FIRST).then("bitwise", |w| {
            w.number(1, FIRST).number(2, FIRST).number(3, 4);
            w.nested(4, |w| {
                w.bytes(1, &[0xff, 0xc0, 0, 0]);
            });
            w.nested(5, |w| {
                w.bytes(1, &[0; 4]);
            });
        });
        mask.compare(false, &[0xfe, 0x80, 0, 0])
    }

    /// It comes faster than so often in a second from one port.
    fn above(self, per_s: u32) -> Rule {
        self.meta(Side::In as u32).then("dynset", |w| {
            w.name(1, Set::Asked.name()).number(3, 1).number(4, FIRST).long(6, ASKED_FOR_MS);
            w.nested(7, |w| {
                w.name(1, "limit").nested(2, |w| {
                    w.long(1, per_s.into()).long(2, 1).number(3, per_s.saturating_mul(2));
                    w.number(4, 0).number(5, 1);
                });
            });
        })
    }

    /// Adds the rule to a chain.
    fn end(self, writer: &mut Writer, chain: &str, verdict: u32) {
        let counted = self.then("counter", |_| {});
        let rule = counted.then("immediate", |w| {
            w.number(1, 0).nested(2, |w| {
                w.nested(2, |w| {
                    w.number(1, verdict);
                });
            });
        });
        writer.message(kind::NEW_RULE, flag::CREATE | flag::APPEND, |w| {
            w.name(1, TABLE).name(2, chain).nested(4, |w| {
                for (name, data) in &rule.0 {
                    w.nested(1, |w| {
                        w.name(1, name).nested(2, |w| w.raw(data));
                    });
                }
            });
        });
    }
}
