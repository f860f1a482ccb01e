//! `[api]`: where the HTTP API listens beside the control socket, whom it believes, and how much
//! of it one caller may use.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::base::addr::parse_hex;
use crate::base::{Span, Timestamp};

use super::fault::{Fault, FaultKind, Place};
use super::limits::Rate;
use super::node::{At, Node, Table};
use super::read::{duration, number};
use super::schema;

/// Addresses to listen on.
const LISTEN_MAX: usize = 16;
/// Tokens, and certificates, in one file.
const CALLERS_MAX: usize = 1000;
/// Accounts that one caller may be bound to.
const ACCOUNTS_MAX: usize = 100;
const ACCOUNT_BYTES_MAX: usize = 64;
const PATH_BYTES_MAX: usize = 4095;
const KIB: u64 = 1 << 10;

/// What a caller of the API may do; each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Look.
    Read,
    /// Change leases, instances and the like.
    Operate,
    /// Everything: configuration, backups, tokens.
    Admin,
}

impl Role {
    /// All roles by name.
    pub const NAMED: [(&str, Role); 3] =
        [("read", Role::Read), ("operate", Role::Operate), ("admin", Role::Admin)];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Role::Read => "read",
            Role::Operate => "operate",
            Role::Admin => "admin",
        }
    }

    /// Back from [`Role::name`].
    pub fn named(name: &str) -> Option<Role> {
        Role::NAMED.iter().find(|(known, _)| *known == name).map(|(_, role)| *role)
    }
}

/// `[api]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiPolicy {
    /// TCP addresses beside the control socket; none by default.
    pub listen: Vec<SocketAddr>,
    /// What TLS needs; without it all of `listen` is loopback, and said to be insecure.
    pub tls: Option<TlsPolicy>,
    /// How much of it one caller, and all together, may use.
    pub limits: ApiLimits,
    /// `[[api.token]]`.
    pub tokens: Vec<TokenPolicy>,
    /// `[[api.client]]`: certificates that are believed.
    pub clients: Vec<ClientPolicy>,
}

/// Files in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsPolicy {
    /// The server's certificate, then those between it and its root.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Who signs certificates of clients.
    pub client_ca: Option<PathBuf>,
}

/// How much of the API one caller, and all together, may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiLimits {
    /// Requests of one caller.
    pub rate: Rate,
    /// Requests of one caller at once.
    pub requests_per_caller: usize,
    /// Requests of all callers at once.
    pub requests: usize,
    /// Connections of one listener at once.
    pub connections: usize,
    /// Of these, from one address or user.
    pub connections_per_peer: usize,
    /// Largest body of a request, in bytes.
    pub body_bytes: usize,
    /// How long the beginning of TLS, the head of a request, and then its body may each take.
    pub timeout: Span,
}

impl ApiLimits {
    /// What holds where nothing is configured.
    pub const DEFAULT: ApiLimits = ApiLimits {
        rate: Rate { per_s: 1000, burst: 4000 },
        requests_per_caller: 32,
        requests: 128,
        connections: 128,
        connections_per_peer: 64,
        body_bytes: 4 << 20,
        timeout: Span::from_secs(30),
    };
}

/// `[[api.token]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenPolicy {
    /// What logs and the audit call its bearer.
    pub name: Arc<str>,
    /// SHA-256 of the token.
    pub hash: [u8; 32],
    /// What its bearer may do.
    pub role: Role,
    /// The accounts that it is bound to; none for all.
    pub accounts: Vec<Arc<str>>,
    /// When it ends.
    pub expires: Option<Timestamp>,
}

/// `[[api.client]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientPolicy {
    /// The common name of the certificate's subject.
    pub name: Arc<str>,
    /// What its holder may do.
    pub role: Role,
    /// The accounts that it is bound to; none for all.
    pub accounts: Vec<Arc<str>>,
}

impl Default for ApiPolicy {
    fn default() -> ApiPolicy {
        ApiPolicy {
            listen: Vec::new(),
            tls: None,
            limits: ApiLimits::DEFAULT,
            tokens: Vec::new(),
            clients: Vec::new(),
        }
    }
}

/// `[api]` of the document, checked.
pub(super) fn api(root: &Table<'_>) -> ApiPolicy {
    let Some(table) = root.get("api").and_then(|n| n.table(&schema::API)) else {
        return ApiPolicy::default();
    };
    let listen = table.get("listen").map_or_else(Vec::new, |n| few(&n, LISTEN_MAX, address));
    let tls = tls(&table);
    let loopback = table.get("insecure_loopback").and_then(|n| n.boolean()).unwrap_or(false);
    // What is wrong with the files was said already.
    if tls.is_none() && table.get("certificate").or(table.get("key")).is_none() {
        listen.iter().for_each(|at| check_plain(at, loopback, &table));
    }
    let clients = callers(&table, "client", &schema::API_CLIENT, client);
    if let (false, None, Some(node)) =
        (clients.is_empty(), table.get("client_ca"), table.get("client"))
    {
        let message = "certificates of clients without `client_ca`";
        node.push(
            node.fault(FaultKind::MissingKey, message)
                .expected("add who signs them, as in client_ca = \"/etc/foreshadow/clients.pem\""),
        );
    }
    ApiPolicy {
        listen: listen.into_iter().map(|at| at.value).collect(),
        tls,
        limits: limits(&table),
        tokens: callers(&table, "token", &schema::API_TOKEN, token),
        clients,
    }
}

fn few<'a, T>(
    node: &Node<'a>,
    most: usize,
    read: impl FnMut(&Node<'a>) -> Option<T>,
) -> Vec<At<T>> {
    let found = node.each(read);
    if found.len() > most {
        let message = format!("{} entries", found.len());
        node.push(node.fault(FaultKind::Limit, message).expected(format!("at most {most}")));
    }
    found.into_iter().take(most).collect()
}

pub(super) fn address(node: &Node<'_>) -> Option<SocketAddr> {
    let text = node.string("an address and a port in a string")?;
    match text.parse::<SocketAddr>() {
        Ok(addr) if addr.port() != 0 => Some(addr),
        _ => {
            node.bad("not an address with its port", "\"10.0.0.1:8067\" or \"[2001:db8::1]:8067\"")
        }
    }
}

fn tls(table: &Table<'_>) -> Option<TlsPolicy> {
    let path = |key: &str| table.get(key).and_then(|n| n.path(PATH_BYTES_MAX));
    let (certificate, key) = (path("certificate"), path("key"));
    for (there, lone, other) in
        [(&certificate, table.get("certificate"), "key"), (&key, table.get("key"), "certificate")]
    {
        if let (Some(_), Some(node), None) = (there, lone, table.get(other)) {
            let message = format!("`{other}` is missing beside it");
            let form = format!("add {other} = \"/etc/foreshadow/api.pem\"");
            node.push(node.fault(FaultKind::MissingKey, message).expected(form));
        }
    }
    let client_ca = path("client_ca");
    match (certificate, key) {
        (Some(certificate), Some(key)) => Some(TlsPolicy { certificate, key, client_ca }),
        _ => None,
    }
}

/// Without TLS a token could be read on the way.
fn check_plain(listen: &At<SocketAddr>, loopback: bool, table: &Table<'_>) {
    if loopback && listen.value.ip().is_loopback() {
        return;
    }
    let message = format!("{} without TLS, where tokens could be read on the way", listen.value);
    let expected = match listen.value.ip().is_loopback() {
        true => "`certificate` and `key`, or insecure_loopback = true",
        false => "`certificate` and `key` beside it",
    };
    table.push(Fault::new(FaultKind::Conflict, &listen.place, message).expected(expected));
}

fn limits(table: &Table<'_>) -> ApiLimits {
    let get = |key: &str| table.get(key);
    let ApiLimits { rate, requests_per_caller, requests, connections, .. } = ApiLimits::DEFAULT;
    let count = |key: &str, default: usize| number(get(key), 1, 10_000, default);
    ApiLimits {
        rate: Rate {
            per_s: number(get("rate"), 0, 1_000_000, rate.per_s),
            burst: number(get("burst"), 1, 1_000_000, rate.burst),
        },
        requests_per_caller: count("requests_per_caller", requests_per_caller),
        requests: count("requests", requests),
        connections: count("connections", connections),
        connections_per_peer: count(
            "connections_per_peer",
            ApiLimits::DEFAULT.connections_per_peer,
        ),
        body_bytes: get("body")
            .and_then(|n| n.size(64 * KIB, 64 << 20))
            .and_then(|bytes| usize::try_from(bytes).ok())
            .unwrap_or(ApiLimits::DEFAULT.body_bytes),
        timeout: duration(
            get("timeout"),
            Span::from_ms(100),
            Span::from_secs(600),
            ApiLimits::DEFAULT.timeout,
        ),
    }
}

/// The tables of `key`, no two of one name.
fn callers<T>(
    table: &Table<'_>,
    key: &str,
    section: &'static schema::Section,
    read: impl Fn(&Table<'_>) -> Option<(At<Arc<str>>, T)>,
) -> Vec<T> {
    let Some(node) = table.get(key) else { return Vec::new() };
    let tables = node.tables(section);
    if tables.len() > CALLERS_MAX {
        let fault = node.fault(FaultKind::Limit, format!("{} of them", tables.len()));
        node.push(fault.expected(format!("at most {CALLERS_MAX}")));
    }
    let mut first: BTreeMap<Arc<str>, Place> = BTreeMap::new();
    let mut found = Vec::new();
    for one in tables.iter().take(CALLERS_MAX) {
        let Some((name, caller)) = read(one) else { continue };
        if let Some(before) = first.get(&name.value) {
            let message = format!("two are called \"{}\"", name.value);
            let fault = Fault::new(FaultKind::Duplicate, &name.place, message);
            node.push(fault.related(before, "first here"));
            continue;
        }
        first.insert(name.value, name.place);
        found.push(caller);
    }
    found
}

fn token(table: &Table<'_>) -> Option<(At<Arc<str>>, TokenPolicy)> {
    let hash = table.require("hash").and_then(|n| hash(&n));
    let expires = table.get("expires").map(|n| moment(&n));
    let (name, role, accounts) = caller(table)?;
    let expires = match expires {
        Some(moment) => Some(moment?),
        None => None,
    };
    let token = TokenPolicy { name: name.value.clone(), hash: hash?, role, accounts, expires };
    Some((name, token))
}

fn client(table: &Table<'_>) -> Option<(At<Arc<str>>, ClientPolicy)> {
    let (name, role, accounts) = caller(table)?;
    let client = ClientPolicy { name: name.value.clone(), role, accounts };
    Some((name, client))
}

type NamedRole = (At<Arc<str>>, Role, Vec<Arc<str>>);

/// Name, role and accounts, which both kinds of callers have.
fn caller(table: &Table<'_>) -> Option<NamedRole> {
    let name = table.require("name").and_then(|n| Some(n.at(n.name()?)));
    let role = table.require("role").and_then(|n| n.word(&Role::NAMED));
    let account = |n: &Node<'_>| n.text(ACCOUNT_BYTES_MAX).map(Arc::<str>::from);
    let accounts = table.get("accounts").map(|n| {
        if n.list().is_empty() {
            n.bad::<()>("an empty list, which no account is in", "at least one, or no `accounts`");
        }
        few(&n, ACCOUNTS_MAX, account).into_iter().map(|at| at.value).collect()
    });
    Some((name?, role?, accounts.unwrap_or_default()))
}

fn hash(node: &Node<'_>) -> Option<[u8; 32]> {
    let text = node.string("a hash in a string")?;
    let bytes = parse_hex(text).and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    let expected = "the SHA-256 of the token in 64 hexadecimal digits, as \
                    `printf %s TOKEN | sha256sum` writes it";
    bytes.or_else(|| node.bad("not a hash", expected))
}

fn moment(node: &Node<'_>) -> Option<Timestamp> {
    let text = node.moment_text();
    let Some(text) = text else { return node.wrong_type("a time, as in 2027-01-31T12:00:00Z") };
    let parsed = OffsetDateTime::parse(&text, &Rfc3339).ok();
    let ms = parsed.and_then(|at| u64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok());
    match ms {
        Some(ms) => Some(Timestamp(ms)),
        None => node.bad("not a time", "date, time and zone, as in 2027-01-31T12:00:00Z"),
    }
}
