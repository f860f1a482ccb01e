//! What the API goes by and what changes while it runs: whom it believes, its limits, its
//! certificate.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::http::{HeaderMap, header};
use tokio_rustls::rustls::ServerConfig;

use crate::base::Timestamp;
use crate::config::policy::{ApiPolicy, ClientPolicy};

use super::caller::{Caller, Role, Scope, unknown};
use super::gate::Gate;
use super::peer::{Peer, user_name};
use super::problem::Problem;
use super::tls;
use super::token::{self, Token};

/// Longest `Authorization` that is looked at.
const SECRET_BYTES_MAX: usize = 256;

/// The other end of a connection, as far as it is known before anything is asked.
#[derive(Clone, Debug)]
pub(super) enum Remote {
    /// Of the control socket: whom the kernel says.
    Local(Option<Peer>),
    /// Of TCP; with the name in the certificate that it showed.
    Tcp(IpAddr, Option<Arc<str>>),
}

impl Remote {
    /// Whose connection it is, where connections and refusals are counted.
    pub(super) fn name(&self) -> Arc<str> {
        match self {
            Remote::Local(Some(peer)) => format!("user number {}", peer.uid).into(),
            Remote::Local(None) => "somebody".into(),
            // One host has a whole /64.
            Remote::Tcp(IpAddr::V6(addr), _) => {
                let [a, b, c, d, ..] = addr.segments();
                format!("peer {a:x}:{b:x}:{c:x}:{d:x}::/64").into()
            }
            Remote::Tcp(addr, _) => format!("peer {addr}").into(),
        }
    }
}

/// Whom the API believes, and how much it does for them.
#[derive(Debug)]
pub struct Live {
    own: Peer,
    book: RwLock<Book>,
    tls: RwLock<Option<Arc<ServerConfig>>>,
    body_max: AtomicUsize,
    timeout_ms: AtomicU64,
    pub(super) gate: Arc<Gate>,
}

#[derive(Debug, Default)]
struct Book {
    /// Of the configuration.
    configured: Vec<Token>,
    /// Made at run time, by name.
    stored: BTreeMap<Arc<str>, Token>,
    clients: Vec<ClientPolicy>,
}

impl Live {
    /// Goes by `policy` for a server that runs as `own`; `facts` are those of the store, the
    /// tokens among them. An error if the certificate cannot be used.
    pub fn new<'f>(
        policy: &ApiPolicy,
        own: Peer,
        facts: impl IntoIterator<Item = (&'f Box<str>, &'f Box<[u8]>)>,
    ) -> Result<Live, String> {
        let live = Live {
            own,
            book: RwLock::default(),
            tls: RwLock::default(),
            body_max: AtomicUsize::new(policy.limits.body_bytes),
            timeout_ms: AtomicU64::new(policy.limits.timeout.0),
            gate: Gate::new(policy.limits),
        };
        let stored = facts.into_iter().filter_map(|(name, bytes)| Token::stored(name, bytes));
        live.write().stored = stored.map(|token| (token.name.clone(), token)).collect();
        live.set_policy(policy, prepare(policy)?);
        Ok(live)
    }

    /// Another policy, with its certificate as [`prepare`] read it.
    pub fn set_policy(&self, policy: &ApiPolicy, tls: Option<Arc<ServerConfig>>) {
        *self.tls.write().unwrap_or_else(PoisonError::into_inner) = tls;
        self.gate.set_limits(policy.limits);
        self.body_max.store(policy.limits.body_bytes, Ordering::Relaxed);
        self.timeout_ms.store(policy.limits.timeout.0, Ordering::Relaxed);
        let mut book = self.write();
        book.configured = policy.tokens.iter().map(Token::configured).collect();
        book.clients = policy.clients.clone();
    }

    /// The largest body of a request, in bytes.
    pub(super) fn body_max(&self) -> usize {
        self.body_max.load(Ordering::Relaxed)
    }

    /// How long the beginning of TLS, the head of a request, and its body may each take.
    pub(super) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms.load(Ordering::Relaxed))
    }

    /// The certificate for the next connection.
    pub(super) fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.tls.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Who sends a request over this connection with these headers, at `now`. A token counts
    /// before a certificate and before the user of the control socket.
    pub(super) fn caller(
        &self,
        remote: &Remote,
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Result<Caller, Problem> {
        if let Some(value) = headers.get(header::AUTHORIZATION) {
            let secret = value.to_str().ok().filter(|text| text.len() <= SECRET_BYTES_MAX);
            let secret = secret.and_then(|text| text.split_once(' '));
            let secret = secret.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
            return self.bearer(secret.ok_or_else(unknown)?.1.trim(), now).ok_or_else(unknown);
        }
        match remote {
            Remote::Local(Some(peer)) => Ok(self.user(*peer)),
            Remote::Local(None) | Remote::Tcp(_, None) => Err(unknown()),
            Remote::Tcp(_, Some(name)) => self.client(name).ok_or_else(unknown),
        }
    }

    fn bearer(&self, secret: &str, now: Timestamp) -> Option<Caller> {
        let hash = token::hash(secret);
        let book = self.read();
        let mut found = None;
        // To the end, so that the time says nothing of where it was.
        for token in book.configured.iter().chain(book.stored.values()) {
            if token.is(&hash, now) && !token.is_over(now) {
                found = Some(token);
            }
        }
        let token = found?;
        let name = format!("token {}", token.name).into();
        let (role, scope, since) = (token.role, token.scope.clone(), token.created);
        Some(Caller { name, role, scope, since })
    }

    fn client(&self, name: &str) -> Option<Caller> {
        let book = self.read();
        let client = book.clients.iter().find(|client| *client.name == *name)?;
        let name = format!("certificate {name}").into();
        Some(Caller { name, role: client.role, scope: Scope::of(&client.accounts), since: None })
    }

    /// Who may connect at all may read; root, the server's user and its group may do anything.
    fn user(&self, peer: Peer) -> Caller {
        let role = if peer.may_change(self.own) { Role::Admin } else { Role::Read };
        let name = format!("user {}", user_name(peer.uid)).into();
        Caller { name, role, scope: Scope::All, since: None }
    }

    /// All tokens by name: those made at run time, then those of the configuration.
    pub(super) fn tokens(&self) -> Vec<Token> {
        let book = self.read();
        book.stored.values().chain(&book.configured).cloned().collect()
    }

    /// The token of a name that was made at run time.
    pub(super) fn token(&self, name: &str) -> Option<Token> {
        self.read().stored.get(name).cloned()
    }

    /// A token that is durable now.
    pub(super) fn keep_token(&self, token: Token) {
        self.write().stored.insert(token.name.clone(), token);
    }

    /// A token that is not there any more.
    pub(super) fn drop_token(&self, name: &str) {
        self.write().stored.remove(name);
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Book> {
        self.book.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Book> {
        self.book.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the certificates that `policy` names. On error: which file, and why.
pub fn prepare(policy: &ApiPolicy) -> Result<Option<Arc<ServerConfig>>, String> {
    policy.tls.as_ref().map(tls::server).transpose()
}
