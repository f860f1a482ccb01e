//! What may happen to the engine, and what it asks for in return.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::ops::Range;
use std::sync::Arc;

use crate::base::{HwAddr, LinkId, Mac, NetworkId, Prefix4, Resource, Timestamp};
use crate::lease::directory::{Instance, Standby};
use crate::lease::{Change, Lease, Offer, Seq};

use super::quota::Met;
use super::relocate::plan::PoolPlan;
use super::standbys::news::StandbyNews;
use super::tally::{Answered, Asked, Outcome};

/// Something that happened.
#[derive(Debug)]
pub enum Input<'a> {
    /// A UDP payload that reached port 67 (or, from a server to a client, was overheard).
    Packet4(Arrival, &'a [u8]),
    /// A UDP payload that reached port 547.
    Packet6(Arrival6, &'a [u8]),
    /// A UDP payload for port 546: what a server says to a client.
    Overheard6(Arrival6, &'a [u8]),
    /// Somebody on a link was heard saying that it has an address.
    Neighbour(LinkId, Neighbour),
    /// What neighbours said on this interface was lost, or waits to be read: that nobody was heard
    /// means nothing.
    Deaf(LinkId),
    /// A host asks for a router advertisement (RFC 4861 s4.1): source of its frame, and IP source,
    /// unspecified where it has none yet.
    RouterSolicit(LinkId, Mac, Ipv6Addr),
    /// An interface that serves a network is there, or its addresses changed.
    LinkUp(LinkUp),
    /// An interface went away.
    LinkDown(LinkId),
    /// All batches up to this one are durable.
    Committed(Seq),
    /// This batch and every later one are lost; take them back.
    CommitFailed(Seq),
    /// The store can write again.
    StoreReady,
    /// Time is known to be right (or not): until it is, nothing expires after a restart.
    ClockTrusted(bool),
    /// Time passed (see `Engine::next_wakeup`).
    Tick,
    /// The server stops: last words.
    Stopping,
}

/// Where a packet came in.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// The interface.
    pub link: LinkId,
    /// The bridge port behind it, where the forwarding database knows it.
    pub port: Option<LinkId>,
    /// The port is one whose relays are believed (`trusted_ports`).
    pub trusted: bool,
    /// The port is a trunk (`trunk_ports`).
    pub trunk: bool,
    /// Source MAC of the frame; `None` for what came by UDP.
    pub src_mac: Option<Mac>,
    /// IP source and UDP source port.
    pub src: SocketAddrV4,
    /// IP destination.
    pub dst: Ipv4Addr,
    /// UDP destination port: 67, or 68 for what another server said.
    pub dst_port: u16,
}

impl Arrival {
    /// Whether its frame came by an access port of a bridge, or by a port that is not known: from
    /// where guests are.
    pub fn is_from_guest(&self) -> bool {
        let is_by_port = self.src_mac.is_some() && self.port != Some(self.link);
        is_by_port && !self.trunk && !self.trusted
    }
}

/// Where a DHCPv6 packet came in.
#[derive(Clone, Copy, Debug)]
pub struct Arrival6 {
    /// The interface.
    pub link: LinkId,
    /// The bridge port behind it, where the forwarding database knows it.
    pub port: Option<LinkId>,
    /// The port is a trunk (`trunk_ports`).
    pub trunk: bool,
    /// Source MAC of the frame; `None` for what came by UDP.
    pub src_mac: Option<Mac>,
    /// IP source and UDP source port.
    pub src: SocketAddrV6,
    /// IP destination.
    pub dst: Ipv6Addr,
}

/// What somebody says of an address and itself, by ARP (RFC 826) or neighbour discovery
/// (RFC 4861).
#[derive(Clone, Copy, Debug)]
pub struct Neighbour {
    /// The address; unspecified in a probe (RFC 5227), which claims nothing.
    pub addr: IpAddr,
    /// The hardware address that is said to have it.
    pub mac: Mac,
    /// Source of the frame that carried it.
    pub frame_source: Mac,
    /// From where.
    pub source: Source,
}

/// Where answers come from. A machine that answers for too many addresses is not believed, so what
/// is counted as one source must not be for guests to choose: their hardware address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// An access port of the bridge, or an interface that is none.
    Port(LinkId),
    /// One machine behind a trunk, where it is for others to keep it honest.
    Behind(Mac),
    /// Behind some port: the forwarding table does not say which. All such are one source.
    Unknown,
}

/// An interface that serves a network.
#[derive(Clone, Debug)]
pub struct LinkUp {
    /// The interface.
    pub link: LinkId,
    /// Its name, for logs.
    pub name: std::sync::Arc<str>,
    /// The network it serves.
    pub network: NetworkId,
    /// Its own MAC.
    pub mac: Mac,
    /// Its IPv4 addresses with their prefixes, primary first.
    pub addrs: Vec<(Ipv4Addr, Prefix4)>,
    /// Its IPv6 addresses of more than the link's scope.
    pub addrs6: Vec<Ipv6Addr>,
}

impl LinkUp {
    /// Its addresses of both families.
    pub fn resources(&self) -> impl Iterator<Item = Resource> {
        let v4 = self.addrs.iter().map(|(addr, _)| Resource::V4(*addr));
        v4.chain(self.addrs6.iter().map(|addr| Resource::V6(*addr)))
    }
}

/// What the engine asks for. Cleared and reused for each batch.
#[derive(Debug, Default)]
pub struct Effects {
    /// Payloads of all replies of this batch.
    pub bytes: Vec<u8>,
    /// Replies that promise nothing: send at once.
    pub send_now: Vec<Reply>,
    /// Replies that wait until this batch's [`Effects::changes`] are durable.
    pub send_after: Vec<Reply>,
    /// What must become durable, in order.
    pub changes: Vec<Change>,
    /// Questions to the wire.
    pub probes: Vec<Probe>,
    /// What happened, for logs, metrics, the hosts file and, later, forecasts.
    pub events: Vec<Event>,
    /// What each packet asked for and what became of it, for metrics.
    pub outcomes: Vec<(Asked, Outcome)>,
}

/// One reply: where to, and which part of [`Effects::bytes`].
#[derive(Clone, Debug)]
pub struct Reply {
    /// Where it goes.
    pub to: Destination,
    /// What it is.
    pub kind: Answered,
    /// Its payload.
    pub payload: Range<usize>,
}

/// Where a reply goes (RFC 2131 s4.1, RFC 9915 s7.2), or an advertisement (RFC 4861 s6.2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A frame of our own making on `link`: `from`:67 to `ip`:68, Ethernet destination `mac`.
    Frame {
        /// The interface.
        link: LinkId,
        /// Ethernet destination.
        mac: Mac,
        /// IP source: the server identifier.
        from: Ipv4Addr,
        /// IP destination.
        ip: Ipv4Addr,
    },
    /// A frame of our own making on `link`: from port 547 of the interface's link-local address.
    Frame6 {
        /// The interface.
        link: LinkId,
        /// Ethernet destination.
        mac: Mac,
        /// IP destination; to port 546.
        ip: Ipv6Addr,
    },
    /// An ICMPv6 message with its checksum to be filled in, in a frame of our own making from the
    /// interface's link-local address.
    Advert {
        /// The interface.
        link: LinkId,
        /// One host; `None` for all nodes.
        to: Option<(Mac, Ipv6Addr)>,
    },
    /// A datagram from port 547 with the kernel's routing.
    Udp6 {
        /// The interface that the request came in by.
        link: LinkId,
        /// IP source, if it is an address of ours alone.
        from: Ipv6Addr,
        /// Address and port.
        to: (Ipv6Addr, u16),
    },
    /// A datagram from port 67 with the kernel's routing: to a relay, or to a client off the link.
    Udp {
        /// The socket it came in by.
        link: LinkId,
        /// IP source if it must be a certain one, else the kernel's choice (0.0.0.0).
        from: Ipv4Addr,
        /// Where to.
        to: SocketAddrV4,
    },
}

/// A question to the wire: who has this address? It upsets no neighbour's table: an ARP probe
/// names no sender (RFC 5227 s2.1.1). A neighbour solicitation does name us (RFC 4861 s7.2.2):
/// without a source it would fail the duplicate detection of whoever begins to use the address
/// (RFC 4862 s5.4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The interface.
    pub link: LinkId,
    /// The one host that is asked; `None` for everybody.
    pub to: Option<Mac>,
    /// The address.
    pub target: IpAddr,
}

/// Something worth telling. `at` is the engine's time.
#[derive(Clone, Debug)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// The network, where known.
    pub network: Option<NetworkId>,
    /// What.
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum EventKind {
    /// An address was offered.
    Offered(Box<Offered>),
    /// A lease was acknowledged for the first time (or to a new client).
    Granted(Box<Lease>),
    /// A lease was extended.
    Renewed(Box<Lease>),
    /// An unknown lease of a live client was taken over.
    Adopted(Box<Lease>),
    /// A binding was taken over by an import.
    Imported(Box<Lease>),
    /// The client gave it back.
    Released(Box<Lease>),
    /// It ran out.
    Expired(Box<Lease>),
    /// The client found it in use.
    Declined(Box<Lease>),
    /// Its client is to move to another address.
    Draining(Box<Lease>),
    /// Its client need not move any more.
    Spared(Box<Lease>),
    /// A pool is too short for its hot tier: what is to be done about it.
    Short(Box<PoolPlan>),
    /// NAK sent: to whom, for which address.
    Nak(HwAddr, Ipv4Addr, NakReason),
    /// INFORM or INFORMATION-REQUEST answered: to whom, and its address.
    Informed(HwAddr, IpAddr),
    /// An address answered a probe though nobody has it.
    InUse(Resource, Mac),
    /// One machine answers for many unbound addresses: a proxy, or an attack. Said once.
    Proxy(Mac),
    /// The same client identifier from a second live machine.
    Clone(Box<Lease>, HwAddr),
    /// Another DHCP server answered on this network; said once in a while for each.
    ForeignServer(IpAddr, Option<Mac>),
    /// What another server said to a client, each time.
    Overheard(Box<Overheard>),
    /// Nothing is free for this client.
    Exhausted(HwAddr),
    /// An account or application met one of its limits; said once in a while for each.
    Limited(Box<Met>),
    /// An instance was registered.
    Registered(Arc<Instance>),
    /// An instance was destroyed.
    Ended(Arc<Instance>),
    /// Something became of a standby: what, and as it is now.
    Standby(StandbyNews, Arc<Standby>),
    /// A packet was dropped.
    Dropped(DropReason, Option<HwAddr>),
}

/// An offer, and whether its address was known to be free.
#[derive(Clone, Debug)]
pub struct Offered {
    /// The offer.
    pub offer: Offer,
    /// The client had it before, or a probe stayed unanswered; `false` is counted as unproven.
    pub proven: bool,
}

/// The answer of another server.
#[derive(Clone, Debug)]
pub struct Overheard {
    /// Its server identifier, else the source address.
    pub server: IpAddr,
    /// What it said.
    pub said: Said,
    /// To whom.
    pub hw: HwAddr,
    /// Which address or prefix, if any.
    pub resource: Option<Resource>,
}

/// What another server said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// OFFER or ADVERTISE.
    Offered,
    /// ACK, or REPLY with something in it.
    Leased,
    /// NAK, or REPLY with nothing in it.
    Refused,
}

/// Why a NAK was sent (RFC 2131 s4.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NakReason {
    /// The address is not of this network.
    WrongNetwork,
    /// The client has another address.
    WrongAddress,
    /// Somebody else has the address.
    Taken,
    /// The address is out of use, or not this client's to have.
    NotAllowed,
    /// The lease is unknown here, and this server knows them all (`authoritative`).
    Unknown,
    /// The address is needed for others, and there is one elsewhere.
    Moved,
}

macro_rules! drop_reasons {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal,)*) => {
        /// Why a packet got no answer. Each is counted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum DropReason { $($(#[doc = $doc])* $name,)* }

        impl DropReason {
            /// All of them, in order: `reason as usize` is its index.
            pub const ALL: &'static [DropReason] = &[$(DropReason::$name),*];

            /// The reason as logs and metrics say it.
            pub fn as_str(self) -> &'static str {
                match self { $(DropReason::$name => $text,)* }
            }
        }
    };
}

drop_reasons! {
    /// Shorter than its header, or a length runs past the end.
    Malformed = "malformed",
    /// hlen over 16, or 0 without a client identifier.
    BadHardwareAddress = "bad-hardware-address",
    /// A client identifier of no bytes.
    EmptyClientId = "empty-client-id",
    /// Not a request of a client (op), or a message type that servers send.
    NotARequest = "not-a-request",
    /// No such message type.
    UnknownType = "unknown-type",
    /// Names another server.
    OtherServer = "other-server",
    /// No network or subnet for where it came from.
    NoSubnet = "no-subnet",
    /// giaddr is not in `relays`, or relay information came by an untrusted port.
    UntrustedRelay = "untrusted-relay",
    /// Relayed by a port of a bridge that neither `trusted_ports` nor `trunk_ports` names.
    GuestRelay = "guest-relay",
    /// Nothing is free for this client.
    Exhausted = "exhausted",
    /// Unknown client in INIT-REBOOT, or a renewal that is not ours: RFC 2131 s4.3.2 wants silence.
    UnknownClient = "unknown-client",
    /// RELEASE or DECLINE of what the sender does not have.
    NotTheHolder = "not-the-holder",
    /// One hardware address with more bindings than a machine has.
    TooManyLeases = "too-many-leases",
    /// An access port with more packets than its limit.
    PortRate = "port-rate",
    /// A client of a trunk, a relay or a plain interface with more packets than its limit.
    ClientRate = "client-rate",
    /// A relay with more packets than its limit, or more of what is relayed by strangers.
    RelayRate = "relay-rate",
    /// An access port with as many live bindings as it may have.
    PortFull = "port-full",
    /// Its account or application has as many addresses as it may have.
    AccountFull = "account-full",
    /// None of the tiers that it may use has room in a pool that is not full.
    TierFull = "tier-full",
    /// More requests of an account or application than its limit.
    AccountRate = "account-rate",
    /// More DECLINEs of one client than are believed.
    TooManyDeclines = "too-many-declines",
    /// A standby whose gate is not known to be in place.
    StandbyUngated = "standby-ungated",
    /// A standby that asks for something else than the address of its active, or through a relay.
    StandbyElsewhere = "standby-elsewhere",
    /// A BOOTP request where BOOTP is not served.
    Bootp = "bootp",
    /// The client's class may not use any pool.
    Denied = "denied",
    /// More decisions waiting for a probe than are kept.
    Overload = "overload",
    /// It needs a write, and the store cannot write.
    StoreFailed = "store-failed",
    /// REQUEST without an address.
    NoAddress = "no-address",
    /// VLAN-tagged: not of this segment.
    VlanTagged = "vlan-tagged",
    /// IP or UDP header disagrees with the frame, or a checksum is wrong.
    BadFrame = "bad-frame",
    /// A fragment of a datagram.
    Fragment = "fragment",
    /// The answer does not fit what the client takes.
    Unsendable = "unsendable",
    /// A DHCPv6 client that does not say who it is.
    NoClientId = "no-client-id",
    /// Names a server where it must not, or none where it must (RFC 9915 s16).
    ServerIdRule = "server-id-rule",
    /// No address of ours to answer from: set `server_id`.
    NoServerId = "no-server-id",
}
