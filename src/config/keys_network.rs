//! The keys of networks and what is below them, in the order of the reference; see
//! [`schema`](super::schema).

use super::keys::key;
use super::schema::{REQUIRED, Section};

pub(super) static NETWORK: Section = Section {
    path: "network",
    header: "[[network]]",
    about: "One layer-2 segment. It needs `interfaces`, `relays`, or both.",
    settings: true,
    keys: &[
        key(
            "name",
            "\"lan\"",
            REQUIRED,
            "Its name in logs and leases. Leases belong to the name: a renamed network is a new one.",
        ),
        key(
            "interfaces",
            "\"virbr0\" or [\"br-*\"]",
            "[]",
            "Interfaces it is served on, by name or pattern. They may appear later.",
        ),
        key(
            "relays",
            "[\"10.1.0.0/16\"]",
            "[]",
            "Which relays are believed, as prefixes or addresses of either protocol: by giaddr, on a bridge only by its `trusted_ports` and `trunk_ports`; and by source or link address for DHCPv6, on a link with clients by source alone.",
        ),
        key(
            "server_id",
            "\"10.0.0.1\"",
            "the interface's address",
            "Server identifier. Needed where the interface has no address in the client's subnet.",
        ),
        key(
            "authoritative",
            "true or false",
            "false",
            "Whether this server knows every lease of the segment and may refuse (NAK) others. Say true on bridges of your own.",
        ),
        key(
            "identity",
            "\"clone-safe\", \"client-id\", \"mac\" or \"circuit-id\"",
            "\"clone-safe\"",
            "How clients are told apart. `clone-safe`: by client identifier, but two live machines with the same one are two clients. `client-id`: strictly RFC 2131. `mac`: by hardware address. `circuit-id`: by the relay's circuit and remote id.",
        ),
        key(
            "rapid_commit",
            "true or false",
            "false",
            "Answer a DISCOVER or SOLICIT that asks for it with a lease at once (RFC 4039; RFC 9915 s18.3.1).",
        ),
        key(
            "preference",
            "255",
            "none",
            "How much DHCPv6 clients prefer this server to others, 0 to 255; with 255 they wait for no other.",
        ),
        key(
            "router_advertisements",
            "true, false or a table",
            "false",
            "Whether routers' advertisements are sent here. Without any on the link, no client begins DHCPv6.",
        ),
        key(
            "bootp",
            "\"off\", \"reserved\" or \"any\"",
            "\"off\"",
            "Who is served by BOOTP: nobody, clients with a reservation, or everybody, with addresses that never come back.",
        ),
        key(
            "trusted_ports",
            "[\"vnet-r*\"]",
            "[]",
            "Bridge ports on which DHCPv4 relays are believed: those that `relays` names, and relay information (option 82) without a relay address (giaddr).",
        ),
        key(
            "trunk_ports",
            "[\"eth0\"]",
            "[]",
            "Bridge ports that lead to many clients: limits that count per port do not count there, and DHCPv4 relays that `relays` names are believed.",
        ),
        key(
            "offer_hold",
            "\"30s\"",
            "\"30s\"",
            "How long an offered address is held for its client, 1 s to 1 h.",
        ),
        key(
            "quarantine",
            "\"10m\"",
            "\"10m\"",
            "How long a declined or conflicting address is out of use, 1 s to 30 d.",
        ),
        key(
            "hold",
            "{ max = \"1h\" }",
            "{}",
            "How long the addresses of destroyed instances are kept back, where their account does not say.",
        ),
        key(
            "short",
            "\"5%\"",
            "\"5%\"",
            "A pool with no more than this share of it free is short, \"0%\" to \"100%\": its last addresses, or prefixes, are for accounts of higher priority. With all priorities alike nothing is held back.",
        ),
        key("tiers", "a table", "none", "Hot, warm and cold shares of each pool."),
        key("reconcile", "a table", "{}", "What answers on the wire, compared with what is bound."),
        key("relocation", "a table", "{}", "Who is moved where a hot tier runs short."),
        key("standby", "a table", "{}", "Standbys that hold the addresses of others."),
        key("guard", "a table", "{}", "What the ports of guests may say."),
        key(
            "lifecycle",
            "a table",
            "{}",
            "What makes an address worth keeping for those who had it.",
        ),
        key(
            "declines_max",
            "4",
            "4",
            "At most this many DECLINEs of one client are believed within `quarantine`.",
        ),
        key("offers_max", "65536", "65536", "At most this many offers are held at once."),
        key(
            "limits",
            "true, false or a table",
            "true",
            "Whether guests are limited in how fast they ask and how many leases one of them may hold.",
        ),
        key(
            "verify",
            "true, false or a table",
            "true",
            "Whether addresses are proven free (ARP, neighbour solicitation) before they are offered.",
        ),
        key("subnet", "tables", "none", "Its subnets, one `[[network.subnet]]` each."),
        key(
            "reservation",
            "tables",
            "none",
            "Fixed addresses, one `[[network.reservation]]` each.",
        ),
    ],
};

pub(super) static LIMITS: Section = Section {
    path: "network.limits",
    header: "[network.limits]",
    about: "How fast guests may ask, and how much one of them may hold; see \"What guests can and cannot do\". A limit of 0 is none.",
    settings: false,
    keys: &[
        key(
            "port_rate",
            "20",
            "20",
            "Packets per second of one access port of a bridge, DHCPv4 and DHCPv6 together.",
        ),
        key("port_burst", "100", "100", "Of these, how many may come at once after a pause."),
        key(
            "client_rate",
            "10",
            "10",
            "Packets per second of one client of a trunk port, of a relay, or of an interface that is no bridge.",
        ),
        key("client_burst", "40", "40", "Of these, how many may come at once after a pause."),
        key(
            "relay_rate",
            "5000",
            "0",
            "Packets per second of one relay, of all its clients together.",
        ),
        key("relay_burst", "10000", "10000", "Of these, how many may come at once after a pause."),
        key(
            "leases_per_port",
            "1024",
            "1024",
            "Live leases of one access port, IPv4, IPv6 and prefixes together. Who is bound stays bound.",
        ),
    ],
};

pub(super) static VERIFY: Section = Section {
    path: "network.verify",
    header: "[network.verify]",
    about: "The background check that keeps a queue of addresses proven free.",
    settings: false,
    keys: &[
        key("enabled", "true or false", "true", "Off: addresses are offered unproven."),
        key("ready", "64", "64", "Proven addresses kept ready in each pool, 1 to 65,536."),
        key("probes_per_s", "200", "200", "Probes per second at most, 1 to 100,000."),
        key("wait", "\"100ms\"", "\"100ms\"", "How long to wait for an answer, 10 ms to 5 s."),
        key("fresh", "\"5m\"", "\"5m\"", "How long a proof holds, 1 s to 1 d."),
    ],
};

pub(super) static ADVERTISEMENTS: Section = Section {
    path: "network.router_advertisements",
    header: "[network.router_advertisements]",
    about: "What is told to hosts of the link as a router (RFC 4861), also where this host routes nothing.",
    settings: false,
    keys: &[
        key(
            "managed",
            "true or false",
            "where there are addresses to give",
            "M flag: addresses come by DHCPv6.",
        ),
        key(
            "other",
            "true or false",
            "where `managed` holds or `options6` say something",
            "O flag: options come by DHCPv6.",
        ),
        key("router", "true or false", "false", "Whether this host is the link's default router."),
        key(
            "router_lifetime",
            "\"30m\"",
            "3 times `max_interval`",
            "How long it is one, up to 9000 s. Only with `router = true`.",
        ),
        key("max_interval", "\"10m\"", "\"10m\"", "Most time between advertisements, 4 s to 30 m."),
        key(
            "min_interval",
            "\"200s\"",
            "a third of `max_interval`",
            "Least time between them, from 3 s to 3/4 of `max_interval`.",
        ),
        key("mtu", "1500", "none", "MTU of the link, 1280 to 65535."),
        key(
            "prefix",
            "tables",
            "the subnets on the link",
            "Prefix information, one `[[network.router_advertisements.prefix]]` each; `[]` for none.",
        ),
        key(
            "rdnss",
            "[\"2001:db8::53\"]",
            "those of `options6`",
            "DNS servers (RFC 8106); `[]` for none.",
        ),
        key(
            "dnssl",
            "[\"example.net\"]",
            "that of `options6`",
            "Search list (RFC 8106); `[]` for none.",
        ),
        key("dns_lifetime", "\"30m\"", "3 times `max_interval`", "How long both hold."),
        key("pref64", "\"64:ff9b::/96\"", "none", "Prefix of NAT64 (RFC 8781)."),
        key(
            "pref64_lifetime",
            "\"30m\"",
            "3 times `max_interval`",
            "How long it holds, up to 65528 s; rounded up to 8 s.",
        ),
        key(
            "goodbye",
            "true or false",
            "false",
            "When the server stops, say that this host routes no more.",
        ),
    ],
};

pub(super) static ADVERTISED_PREFIX: Section = Section {
    path: "network.router_advertisements.prefix",
    header: "[[network.router_advertisements.prefix]]",
    about: "A prefix as hosts of the link are told of it.",
    settings: false,
    keys: &[
        key("prefix", "\"2001:db8::/64\"", REQUIRED, "The prefix."),
        key("on_link", "true or false", "true", "L flag: its addresses are on this link."),
        key(
            "autonomous",
            "true or false",
            "false",
            "A flag: hosts make addresses of it by themselves. Needs a /64.",
        ),
        key("valid", "\"30d\"", "\"30d\"", "Valid lifetime; `\"infinite\"` is allowed."),
        key("preferred", "\"7d\"", "\"7d\"", "Preferred lifetime, at most the valid one."),
    ],
};

pub(super) static SUBNET: Section = Section {
    path: "network.subnet",
    header: "[[network.subnet]]",
    about: "One prefix of a network, of IPv4 or of IPv6.",
    settings: true,
    keys: &[
        key("prefix", "\"10.0.0.0/24\"", REQUIRED, "The prefix; it says which protocol."),
        key(
            "region",
            "\"eu-1\"",
            "none",
            "Where it is: what a move to another subnet costs depends on it.",
        ),
        key(
            "pools",
            "[\"10.0.0.100-10.0.0.199\"]",
            "[]",
            "Ranges, prefixes or single addresses to give out. A prefix leaves out the subnet's network and broadcast address, or its anycast addresses, by itself.",
        ),
        key(
            "pool",
            "tables",
            "none",
            "Pools with settings of their own, one `[[network.subnet.pool]]` each.",
        ),
        key(
            "delegations",
            "[{ prefix = \"2001:db8:8000::/33\", length = 56 }]",
            "[]",
            "IPv6: prefixes to delegate to clients of this subnet, each as `[[network.subnet.delegation]]`.",
        ),
        key("delegation", "tables", "none", "The same, one `[[network.subnet.delegation]]` each."),
        key(
            "interface_ids",
            "[\"port-7\"]",
            "[]",
            "IPv6: interface-ids of relays whose clients are in this subnet, whatever link address the relay gives; identifiers as in reservations.",
        ),
        key(
            "reservation",
            "tables",
            "none",
            "As `[[network.reservation]]`, with the addresses in this subnet.",
        ),
    ],
};

pub(super) static POOL: Section = Section {
    path: "network.subnet.pool",
    header: "[[network.subnet.pool]]",
    about: "Addresses that are given to whoever asks and may. Reserved addresses, the subnet's `routers` and the network's `server_id` are left out by themselves.",
    settings: true,
    keys: &[
        key("range", "\"10.0.0.100-10.0.0.199\"", REQUIRED, "A range, prefix or single address."),
        key(
            "exclude",
            "[\"10.0.0.150\"]",
            "[]",
            "Addresses, ranges or prefixes in it that are never given out.",
        ),
        key(
            "generate",
            "\"iterative\", \"random\" or \"stable\"",
            "random for a prefix",
            "IPv6: how a new address is chosen: one after another (the default for a range), not to be guessed, or always the same for the same client.",
        ),
        key("allow", "[\"class\"]", "[]", "Only clients of one of these classes."),
        key("deny", "[\"class\"]", "[]", "Never clients of one of these classes."),
    ],
};

pub(super) static DELEGATION: Section = Section {
    path: "network.subnet.delegation",
    header: "[[network.subnet.delegation]]",
    about: "Prefixes that are delegated to whoever asks and may (IA_PD). Reserved prefixes are left out by themselves.",
    settings: true,
    keys: &[
        key("prefix", "\"2001:db8:8000::/33\"", REQUIRED, "What is cut into prefixes."),
        key("length", "56", REQUIRED, "Length of a delegated prefix."),
        key("min_length", "48", "as `length`", "Shortest length that a client may ask for."),
        key("max_length", "64", "as `length`", "Longest length that a client may ask for."),
        key(
            "exclude",
            "{ length = 64, id = 0 }",
            "none",
            "The part of each delegated prefix that its holder keeps off (RFC 6603).",
        ),
        key("allow", "[\"class\"]", "[]", "Only clients of one of these classes."),
        key("deny", "[\"class\"]", "[]", "Never clients of one of these classes."),
        key(
            "install_route",
            "true or false",
            "false",
            "Keep a route to each delegated prefix in this host's table. Needs CAP_NET_ADMIN.",
        ),
    ],
};

pub(super) static EXCLUDE: Section = Section {
    path: "network.subnet.delegation.exclude",
    header: "[network.subnet.delegation.exclude]",
    about: "The part of each delegated prefix that its holder must not use for itself: the link to us (RFC 6603).",
    settings: false,
    keys: &[
        key("length", "64", REQUIRED, "Length of the excluded prefix, over any delegated one."),
        key("id", "0", "0", "Which of the prefixes of that length in the delegated one, from 0."),
    ],
};

pub(super) static RESERVATION: Section = Section {
    path: "network.reservation",
    header: "[[network.reservation]]",
    about: "Fixed addresses and prefixes for one client, inside or outside the pools. It names its client by exactly one key: `mac` for either protocol or both, `client_id`, `circuit_id` or `remote_id` for DHCPv4, `duid` or `interface_id` for DHCPv6. All but `mac` and `duid` are text, or hexadecimal written as `\"0x01525400\"` or `{ hex = \"01 52 54 00\" }`. It needs `address`, `addresses` or `prefixes`.",
    settings: true,
    keys: &[
        key(
            "mac",
            "\"52:54:00:12:34:56\"",
            "none",
            "Hardware address; of another type than Ethernet as `\"32/0a:0b\"`. For DHCPv6 the relay, the link or the DUID tells it.",
        ),
        key(
            "client_id",
            "\"0x01525400123456\"",
            "none",
            "Whole client identifier (option 61), with its type byte.",
        ),
        key("circuit_id", "\"port-7\"", "none", "Whole circuit id of the DHCPv4 relay."),
        key("remote_id", "\"switch-3\"", "none", "Whole remote id of the DHCPv4 relay."),
        key("duid", "\"00:03:00:01:52:54:00:12:34:56\"", "none", "Whole DUID, in hexadecimal."),
        key(
            "interface_id",
            "\"port-7\"",
            "none",
            "Whole interface-id of the DHCPv6 relay next to the client.",
        ),
        key("address", "\"10.0.0.10\"", "none", "The IPv4 address, in a subnet of the network."),
        key(
            "addresses",
            "[\"2001:db8::10\"]",
            "none",
            "IPv6 addresses, each in a subnet of the network.",
        ),
        key(
            "prefixes",
            "[\"2001:db8:8000::/56\"]",
            "none",
            "Prefixes that are delegated to it, inside or outside the pools of prefixes.",
        ),
        key(
            "hostname",
            "\"web-1\"",
            "none",
            "Host name told to the client and written to the hosts file.",
        ),
    ],
};
