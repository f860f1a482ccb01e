//! The keys of each table, in the order of the reference; see [`schema`](super::schema).

use super::schema::{Key, REQUIRED, Section};

const fn key(
    name: &'static str,
    form: &'static str,
    default: &'static str,
    meaning: &'static str,
) -> Key {
    Key { name, form, default, meaning }
}

/// All tables, in the order of the reference.
pub(super) const SECTIONS: &[&Section] = &[
    &ROOT,
    &SERVER,
    &LOG,
    &STORE,
    &SETTINGS,
    &LEASE,
    &NETWORK,
    &VERIFY,
    &SUBNET,
    &POOL,
    &RESERVATION,
    &CLASS,
    &MATCH,
    &DEFINITION,
];

pub(super) static ROOT: Section = Section {
    path: "",
    header: "the top level",
    about: "The whole file. The settings of this level hold for every network.",
    settings: true,
    keys: &[
        key("server", "a table", "see below", "Paths, and interfaces that only relays use."),
        key("log", "a table", "see below", "Log lines."),
        key("store", "a table", "see below", "The lease store."),
        key("network", "tables", "none", "The networks that are served, one `[[network]]` each."),
        key(
            "class",
            "tables",
            "none",
            "Kinds of clients, one `[[class]]` each. A client may be in several; where two say the same thing, the first in the file wins.",
        ),
        key(
            "option-definitions",
            "tables",
            "none",
            "Options of your own, one `[option-definitions.NAME]` each.",
        ),
    ],
};

pub(super) static SERVER: Section = Section {
    path: "server",
    header: "[server]",
    about: "Paths, and interfaces that only relays use.",
    settings: false,
    keys: &[
        key("state_dir", "\"/path\"", "\"/var/lib/foreshadow\"", "Directory of the lease store."),
        key(
            "control_socket",
            "\"/path\"",
            "\"/run/foreshadow/control.sock\"",
            "Unix socket that `foreshadow status`, `leases` and `reload` talk to.",
        ),
        key(
            "hosts_file",
            "\"/path\"",
            "none",
            "Where to write current leases in the format of /etc/hosts, for a DNS server to read. Replaced whole at each change, never half-written.",
        ),
        key(
            "relay_interfaces",
            "[\"eth0\"]",
            "[]",
            "Interfaces, by name or pattern, that carry packets of relays and no network of this file.",
        ),
    ],
};

pub(super) static LOG: Section = Section {
    path: "log",
    header: "[log]",
    about: "Log lines.",
    settings: false,
    keys: &[
        key(
            "format",
            "\"text\" or \"json\"",
            "\"text\"",
            "One line of text, or one JSON object, per event.",
        ),
        key(
            "level",
            "\"info\"",
            "\"info\"",
            "`error`, `warn`, `info`, `debug` or `trace`; also by module, as in `info,foreshadow::offer=debug`.",
        ),
        key(
            "bad_packets_per_s",
            "5",
            "5",
            "At most this many lines a second about bad packets; all of them are counted.",
        ),
    ],
};

pub(super) static STORE: Section = Section {
    path: "store",
    header: "[store]",
    about: "The lease store. The defaults hold a million leases.",
    settings: false,
    keys: &[
        key(
            "journal",
            "\"16MiB\"",
            "\"16MiB\"",
            "Size of each of the two journals, 1 MiB to 4 GiB. They grow when they must.",
        ),
        key(
            "checkpoint",
            "\"1s\"",
            "\"1s\"",
            "How often what changed is written behind the journal, 100 ms to 1 h.",
        ),
        key(
            "cache",
            "\"64MiB\"",
            "\"64MiB\"",
            "Memory for the checkpoint's pages, 1 MiB to 64 GiB; best above twice the size of the leases.",
        ),
    ],
};

pub(super) static SETTINGS: Section = Section {
    path: "settings",
    header: "settings",
    about: "These keys may stand at the top level and in networks, subnets, pools, classes and reservations. The nearest level that says something wins: reservation, class, pool, subnet, network, top level.",
    settings: false,
    keys: &[
        key("lease", "{ default = \"1h\" }", "see below", "Lease times."),
        key(
            "options",
            "{ routers = [\"10.0.0.1\"] }",
            "{}",
            "DHCPv4 options by name or by code; see \"Options\".",
        ),
        key("next_server", "\"10.0.0.2\"", "none", "Address of the boot server (siaddr)."),
        key("server_name", "\"boot\"", "none", "Name of the boot server (sname), up to 63 bytes."),
        key(
            "boot_file",
            "\"pxelinux.0\"",
            "none",
            "Boot file or URL, up to 1,024 bytes; over 127 bytes it is sent as option 67.",
        ),
        key(
            "account",
            "\"tenant-a\"",
            "none",
            "Whom such clients belong to; appears in logs and leases.",
        ),
    ],
};

pub(super) static LEASE: Section = Section {
    path: "lease",
    header: "lease",
    about: "Lease times. A time that is not given comes from the next level out; a default that does not fit the times of this level gives way to them.",
    settings: false,
    keys: &[
        key("min", "\"2m\"", "\"2m\"", "Shortest lease that a client may ask for."),
        key(
            "default",
            "\"1h\"",
            "\"1h\"",
            "Lease of a client that does not ask for a time; `\"infinite\"` is allowed.",
        ),
        key(
            "max",
            "\"1d\"",
            "\"1d\"",
            "Longest lease; `\"infinite\"` is allowed, and only then is an infinite lease ever given.",
        ),
        key("t1", "\"30m\"", "half of the lease", "When the client begins to renew."),
        key("t2", "\"52m30s\"", "7/8 of the lease", "When the client begins to ask any server."),
    ],
};

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
            "Which relay addresses (giaddr) are believed, as prefixes or addresses.",
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
            "Answer a DISCOVER that asks for it with an ACK (RFC 4039).",
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
            "Bridge ports on which relay information is believed though no relay address (giaddr) is set.",
        ),
        key(
            "trunk_ports",
            "[\"eth0\"]",
            "[]",
            "Bridge ports that lead to many clients: limits that count per port do not count there.",
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
            "declines_max",
            "4",
            "4",
            "At most this many DECLINEs of one client are believed within `quarantine`.",
        ),
        key("offers_max", "65536", "65536", "At most this many offers are held at once."),
        key(
            "verify",
            "true, false or a table",
            "true",
            "Whether addresses are proven free (ARP) before they are offered.",
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

pub(super) static VERIFY: Section = Section {
    path: "network.verify",
    header: "[network.verify]",
    about: "The background check that keeps a queue of addresses proven free.",
    settings: false,
    keys: &[
        key("enabled", "true or false", "true", "Off: addresses are offered unproven."),
        key("ready", "64", "64", "Proven addresses kept ready in each pool, 1 to 65,536."),
        key("probes_per_s", "200", "200", "ARP probes per second at most, 1 to 100,000."),
        key("wait", "\"100ms\"", "\"100ms\"", "How long to wait for an answer, 10 ms to 5 s."),
        key("fresh", "\"5m\"", "\"5m\"", "How long a proof holds, 1 s to 1 d."),
    ],
};

pub(super) static SUBNET: Section = Section {
    path: "network.subnet",
    header: "[[network.subnet]]",
    about: "One prefix of a network.",
    settings: true,
    keys: &[
        key("prefix", "\"10.0.0.0/24\"", REQUIRED, "The prefix."),
        key(
            "pools",
            "[\"10.0.0.100-10.0.0.199\"]",
            "[]",
            "Ranges, prefixes or single addresses to give out. A prefix leaves out the subnet's network and broadcast address by itself.",
        ),
        key(
            "pool",
            "tables",
            "none",
            "Pools with settings of their own, one `[[network.subnet.pool]]` each.",
        ),
        key(
            "reservation",
            "tables",
            "none",
            "As `[[network.reservation]]`, with the address in this subnet.",
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
        key("allow", "[\"class\"]", "[]", "Only clients of one of these classes."),
        key("deny", "[\"class\"]", "[]", "Never clients of one of these classes."),
    ],
};

pub(super) static RESERVATION: Section = Section {
    path: "network.reservation",
    header: "[[network.reservation]]",
    about: "A fixed address for one client, inside or outside the pools. It names its client by exactly one of `mac`, `client_id`, `circuit_id` and `remote_id`. The last three are text, or hexadecimal written as `\"0x01525400\"` or `{ hex = \"01 52 54 00\" }`.",
    settings: true,
    keys: &[
        key(
            "mac",
            "\"52:54:00:12:34:56\"",
            "none",
            "Hardware address; of another type than Ethernet as `\"32/0a:0b\"`.",
        ),
        key(
            "client_id",
            "\"0x01525400123456\"",
            "none",
            "Whole client identifier (option 61), with its type byte.",
        ),
        key("circuit_id", "\"port-7\"", "none", "Whole circuit id of the relay."),
        key("remote_id", "\"switch-3\"", "none", "Whole remote id of the relay."),
        key("address", "\"10.0.0.10\"", REQUIRED, "The address, in a subnet of the network."),
        key(
            "hostname",
            "\"web-1\"",
            "none",
            "Host name told to the client and written to the hosts file.",
        ),
    ],
};

pub(super) static CLASS: Section = Section {
    path: "class",
    header: "[[class]]",
    about: "Clients that have something in common.",
    settings: true,
    keys: &[
        key("name", "\"ipxe\"", REQUIRED, "Its name, for `allow`, `deny` and logs."),
        key("match", "{ user_class = \"iPXE\" }", REQUIRED, "Who belongs to it."),
    ],
};

pub(super) static MATCH: Section = Section {
    path: "class.match",
    header: "[class.match]",
    about: "Every key that is given must match; a list matches when one of its entries does. `*` stands for any run of characters, `?` for one. A single value may stand without its list.",
    settings: false,
    keys: &[
        key(
            "vendor_class",
            "[\"PXEClient*\"]",
            "any",
            "Patterns for the vendor class (option 60).",
        ),
        key("user_class", "[\"iPXE\"]", "any", "Patterns for the user class (option 77)."),
        key("mac", "[\"52:54:00\"]", "any", "Leading bytes of the hardware address."),
        key("hostname", "[\"web-*\"]", "any", "Patterns for the host name that the client sends."),
        key(
            "arch",
            "[7, 9]",
            "any",
            "Client architectures (option 93): 0 BIOS, 7 and 9 UEFI x86-64, 11 UEFI arm64, 16 UEFI x86-64 by HTTP.",
        ),
        key(
            "circuit_id",
            "[\"port-7\"]",
            "any",
            "Whole circuit ids of the relay, as in reservations.",
        ),
        key(
            "remote_id",
            "[\"switch-3\"]",
            "any",
            "Whole remote ids of the relay, as in reservations.",
        ),
        key("giaddr", "[\"10.1.0.0/16\"]", "any", "Prefixes or addresses of the relay."),
    ],
};

pub(super) static DEFINITION: Section = Section {
    path: "option-definitions",
    header: "[option-definitions.NAME]",
    about: "An option of your own.",
    settings: false,
    keys: &[
        key("code", "224", REQUIRED, "Its code, 1 to 254; 1 to 255 within an enterprise's space."),
        key(
            "type",
            "\"ip\"",
            REQUIRED,
            "`ip`, `ip6`, `u8`, `u16`, `u32`, `i8`, `i16`, `i32`, `bool`, `text`, `domain` or `hex`.",
        ),
        key(
            "array",
            "true or false",
            "false",
            "Whether the value is a list. Not for text and hex, whose end is the option's end.",
        ),
        key(
            "space",
            "\"dhcp4\", \"vendor-43\", \"ipxe\" or an enterprise number",
            "\"dhcp4\"",
            "Where the code counts: as an option, as a sub-option of option 43 or of option 175, or of option 125 under that enterprise.",
        ),
    ],
};
