//! The keys of each table but those of networks, in the order of the reference; see
//! [`schema`](super::schema).

use super::agents::{AGENT_HOST, AGENTS};
use super::audit::AUDIT;
use super::driver::{ACT, DRIVER};
use super::forecast::FORECAST;
use super::guard::GUARD;
use super::hook::HOOK;
use super::keys_accounts::*;
use super::keys_api::*;
use super::keys_network::*;
use super::keys_telemetry::*;
use super::lifecycle::LIFECYCLE;
use super::metrics::METRICS;
use super::reconcile::RECONCILE;
use super::relocation::{DISTANCE, RELOCATION};
use super::schema::{Key, REQUIRED, Section};
use super::shadow::{OWNER, SHADOW};
use super::standby::{DETECT, STANDBY};
use super::tiers::{TIER, TIERS};

pub(super) const fn key(
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
    &AUDIT,
    &METRICS,
    &API,
    &API_TOKEN,
    &API_CLIENT,
    &TELEMETRY,
    &SCRAPE,
    &SCRAPE_METRIC,
    &HOOK,
    &AGENTS,
    &AGENT_HOST,
    &DRIVER,
    &ACT,
    &SHADOW,
    &FORECAST,
    &SETTINGS,
    &LEASE,
    &NETWORK,
    &LIMITS,
    &VERIFY,
    &LIFECYCLE,
    &TIERS,
    &TIER,
    &RECONCILE,
    &RELOCATION,
    &DISTANCE,
    &STANDBY,
    &DETECT,
    &GUARD,
    &ADVERTISEMENTS,
    &ADVERTISED_PREFIX,
    &SUBNET,
    &POOL,
    &DELEGATION,
    &EXCLUDE,
    &RESERVATION,
    &CLASS,
    &MATCH,
    &ACCOUNT,
    &APPLICATION,
    &HOLD,
    &OWNER,
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
        key("audit", "a table", "see below", "The archive of audit records."),
        key("metrics", "a table", "see below", "Metrics for scrapers."),
        key("api", "a table", "see below", "The HTTP API over TCP, and who may use it."),
        key("telemetry", "a table", "see below", "What instances report, and how long it is kept."),
        key(
            "scrape",
            "tables",
            "none",
            "Prometheus targets that are asked for telemetry, one `[[scrape]]` each.",
        ),
        key(
            "hook",
            "tables",
            "none",
            "Who is told of what happens to leases, one `[[hook]]` each.",
        ),
        key("agents", "a table", "see below", "The agents of other hosts."),
        key(
            "driver",
            "tables",
            "none",
            "What sees to the guests of pairs at a switchover, one `[[driver]]` each.",
        ),
        key("shadow", "a table", "see below", "Addresses that are held ahead of need."),
        key(
            "forecast",
            "a table",
            "see below",
            "Forecasts of how many instances start, and what is done with them.",
        ),
        key("network", "tables", "none", "The networks that are served, one `[[network]]` each."),
        key(
            "class",
            "tables",
            "none",
            "Kinds of clients, one `[[class]]` each. A client may be in several; where two say the same thing, the first in the file wins.",
        ),
        key(
            "account",
            "tables",
            "none",
            "Who owns machines, and what that may cost, one `[[account]]` each. Where there are some, no default `account` can stand at this level.",
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
            "agent_socket",
            "\"/path\"",
            "\"/run/foreshadow-agent/agent.sock\"",
            "Unix socket of this host's `foreshadow agent`, which makes the gates of standbys and guards ports. Without either nobody asks for it.",
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
        key(
            "duid",
            "\"00:04:..\"",
            "made once and kept",
            "DUID of this server, in hexadecimal, 3 to 130 bytes. DHCPv6 clients know their server by it, so that one that is set is kept, also after the key is gone. Takes effect at the next start.",
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
        key(
            "leases_per_s",
            "1000",
            "1000",
            "At most this many lines a second about leases; all of them are counted.",
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
        key(
            "options6",
            "{ dns-servers = [\"2001:db8::1\"] }",
            "{}",
            "DHCPv6 options by name or by code; see \"Options\".",
        ),
        key("next_server", "\"10.0.0.2\"", "none", "Address of the boot server (siaddr)."),
        key("server_name", "\"boot\"", "none", "Name of the boot server (sname), up to 63 bytes."),
        key(
            "boot_file",
            "\"pxelinux.0\"",
            "none",
            "Boot file or URL, up to 1,024 bytes; over 127 bytes it is sent as option 67. A URL is sent to DHCPv6 clients too.",
        ),
        key(
            "boot_file_url",
            "\"http://[2001:db8::2]/boot.efi\"",
            "`boot_file`, if it is a URL",
            "Boot file for DHCPv6 clients (option 59), up to 1,024 bytes.",
        ),
        key(
            "boot_params",
            "[\"console=ttyS0\"]",
            "none",
            "Parameters of the boot file for DHCPv6 clients (option 60).",
        ),
        key(
            "account",
            "\"tenant-a\"",
            "none",
            "Whom such clients belong to; appears in logs and leases. Its limits stand in `[[account]]`, if it has any.",
        ),
        key(
            "application",
            "\"web\"",
            "none",
            "What runs in such clients: an application of their account. One that is said further out than the account is not of it.",
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
            "Lease of a client that does not ask for a time, of DHCPv6 its valid lifetime; `\"infinite\"` is allowed.",
        ),
        key(
            "max",
            "\"1d\"",
            "\"1d\"",
            "Longest lease; `\"infinite\"` is allowed, and only then is an infinite lease ever given.",
        ),
        key(
            "t1",
            "\"30m\"",
            "half of the lease",
            "When the client begins to renew. By default half of the preferred lifetime for DHCPv6.",
        ),
        key(
            "t2",
            "\"52m30s\"",
            "7/8 of the lease",
            "When the client begins to ask any server. By default 4/5 of the preferred lifetime for DHCPv6.",
        ),
        key(
            "preferred",
            "\"45m\"",
            "as long as the lease",
            "DHCPv6: how long the address is used for new connections; never longer than the lease.",
        ),
        key(
            "adaptive",
            "true",
            "false",
            "Between `min` and `max`: longer than `default` for a client that has kept its address for longer, shorter for one that comes back and gave it up sooner, and for everybody the shorter the less than a quarter of the pool is free. A client gets no more than it asks for.",
        ),
        key(
            "jitter",
            "\"10%\"",
            "\"10%\"",
            "T1 and T2, where they are not said, come earlier by up to this share, for each client by another one, so that clients that began together do not renew together. Up to 50 %.",
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
        key(
            "tier",
            "\"cold\"",
            "by their account",
            "Which tiers of a pool its members use (`[network.tiers]`), where their account does not say; the first one that has room.",
        ),
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
            "Patterns for the vendor class (option 60; DHCPv6: 16).",
        ),
        key(
            "user_class",
            "[\"iPXE\"]",
            "any",
            "Patterns for the user class (option 77; DHCPv6: 15).",
        ),
        key("mac", "[\"52:54:00\"]", "any", "Leading bytes of the hardware address."),
        key("hostname", "[\"web-*\"]", "any", "Patterns for the host name that the client sends."),
        key(
            "arch",
            "[7, 9]",
            "any",
            "Client architectures (option 93; DHCPv6: 61): 0 BIOS, 7 and 9 UEFI x86-64, 11 UEFI arm64, 16 UEFI x86-64 by HTTP.",
        ),
        key(
            "circuit_id",
            "[\"port-7\"]",
            "any",
            "Whole circuit ids of the relay, as in reservations. DHCPv4 only.",
        ),
        key(
            "remote_id",
            "[\"switch-3\"]",
            "any",
            "Whole remote ids of the relay, as in reservations; of DHCPv6 without their enterprise number.",
        ),
        key("giaddr", "[\"10.1.0.0/16\"]", "any", "Prefixes or addresses of the DHCPv4 relay."),
        key("duid", "[\"00:03:00:01:52:54:00\"]", "any", "Leading bytes of the DUID. DHCPv6 only."),
        key(
            "interface_id",
            "[\"port-7\"]",
            "any",
            "Whole interface-ids of the relay next to the client. DHCPv6 only.",
        ),
        key("subscriber_id", "[\"s-17\"]", "any", "Whole subscriber-ids of a relay. DHCPv6 only."),
        key(
            "link_address",
            "[\"2001:db8:1::/48\"]",
            "any",
            "Prefixes or addresses of the link, as the relay next to the client gives it. DHCPv6 only.",
        ),
    ],
};

pub(super) static DEFINITION: Section = Section {
    path: "option-definitions",
    header: "[option-definitions.NAME]",
    about: "An option of your own.",
    settings: false,
    keys: &[
        key(
            "code",
            "224",
            REQUIRED,
            "Its code, 1 to 254; 1 to 255 within an enterprise's space; 1 to 65535 for DHCPv6.",
        ),
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
            "\"dhcp4\", \"dhcp6\", \"vendor-43\", \"ipxe\" or an enterprise number",
            "\"dhcp4\"",
            "Where the code counts: as an option of DHCPv4 or DHCPv6, as a sub-option of option 43 or of option 175, or of option 125 under that enterprise.",
        ),
    ],
};
