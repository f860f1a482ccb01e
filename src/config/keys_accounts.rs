//! The keys of accounts; see [`schema`](super::schema).

use super::keys::key;
use super::schema::{Key, REQUIRED, Section};

pub(super) static ACCOUNT: Section = Section {
    path: "account",
    header: "[[account]]",
    about: "An owner of machines: what all its applications together may have. Others can be added at run time, and those of this file only here.",
    settings: false,
    keys: &[
        key("name", "\"shop\"", REQUIRED, "Its name, as `account` says it in settings."),
        LEVEL,
        PRIORITY,
        MAX_ADDRESSES,
        MAX_PREFIXES,
        MAX_STANDBYS,
        REQUESTS,
        BURST,
        HOLD_KEY,
        SHADOW_KEY,
        TIER_KEY,
        key("networks", "[\"lan\"]", "all", "The networks that it may use."),
        key(
            "pools",
            "[\"10.0.0.0/25\"]",
            "all",
            "Prefixes or ranges of either protocol: it is given addresses of pools, and prefixes of delegations, that lie in one of them, and of no other.",
        ),
        key("application", "tables", "none", "What it runs, one `[[account.application]]` each."),
    ],
};

pub(super) static APPLICATION: Section = Section {
    path: "account.application",
    header: "[[account.application]]",
    about: "What an account runs. Its limits hold beside those of the account.",
    settings: false,
    keys: &[
        key("name", "\"web\"", REQUIRED, "Its name, as `application` says it in settings."),
        LEVEL,
        PRIORITY,
        MAX_ADDRESSES,
        MAX_PREFIXES,
        MAX_STANDBYS,
        REQUESTS,
        BURST,
        HOLD_KEY,
        SHADOW_KEY,
        TIER_KEY,
    ],
};

pub(super) static HOLD: Section = Section {
    path: "hold",
    header: "hold",
    about: "How long the address of a destroyed instance is kept back. On a link it is free as soon as nobody answers for it any more, through relays when its lease would have run out.",
    settings: false,
    keys: &[
        key("min", "\"0s\"", "\"0s\"", "At least so long, up to 30 d, even if it is silent."),
        key(
            "max",
            "\"1h\"",
            "the rest of the lease",
            "At most so long, up to 30 d, even if somebody answers or the lease would have been longer.",
        ),
    ],
};

const LEVEL: Key = key(
    "level",
    "\"economy\", \"standard\" or \"premium\"",
    "standard, or that of its account",
    "Service level: priority 2, 5 or 8.",
);

const PRIORITY: Key = key(
    "priority",
    "7",
    "that of its level",
    "0 to 9. When a pool runs short (`short`), its last addresses are for those of higher priority. Clients without an account have 5.",
);

const MAX_ADDRESSES: Key = key(
    "max_addresses",
    "500",
    "any number",
    "Most addresses of both protocols together, bound or kept for its instances. Who has an address keeps it.",
);

const MAX_PREFIXES: Key = key("max_prefixes", "16", "any number", "Most delegated prefixes.");

const MAX_STANDBYS: Key =
    key("max_standbys", "4", "any number", "Most standbys of its instances, on all networks.");

const REQUESTS: Key = key(
    "requests_per_s",
    "50",
    "any number",
    "Exchanges that its clients begin and instances that it creates, in a second, 1 to 1,000,000. Renewals are not counted.",
);

const BURST: Key = key(
    "requests_burst",
    "100",
    "twice `requests_per_s`",
    "How many of them may come at once, 1 to 1,000,000.",
);

const HOLD_KEY: Key = key(
    "hold",
    "{ max = \"10m\" }",
    "that of the network",
    "How long the addresses of its destroyed instances are kept back.",
);

const SHADOW_KEY: Key = key(
    "shadow",
    "{ ready = 4 }",
    "none but what is predicted",
    "Addresses that are held ready before its instances exist.",
);

const TIER_KEY: Key = key(
    "tier",
    "[\"hot\", \"warm\"]",
    "that of its account, or by its level",
    "Which tiers of a pool it uses (`[network.tiers]`), the first one that has room. By level: premium hot and warm, standard warm and cold, economy cold.",
);
