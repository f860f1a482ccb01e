//! Bearer tokens: random, known by their hash alone, durable as facts of the store.

use std::fmt::Write;
use std::hint::black_box;
use std::sync::Arc;

use ring::digest;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use crate::base::Timestamp;
use crate::base::addr::parse_hex;
use crate::config::policy::TokenPolicy;

use super::caller::{Role, Scope};

/// Facts of the store that are tokens: this and a name.
pub const FACT: &str = "token/";
/// Tokens at once, those of the configuration aside.
pub const TOKENS_MAX: usize = 1000;
/// What a token begins with, so that those who search for leaked secrets find it.
const MARK: &str = "foreshadow_";
/// The format of a stored token.
const FORMAT: u32 = 1;

/// A token as the server knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its name.
    pub name: Arc<str>,
    /// SHA-256 of the token.
    pub hash: [u8; 32],
    /// The one before it, and until when that holds too.
    pub before: Option<([u8; 32], Timestamp)>,
    /// What its bearer may do.
    pub role: Role,
    /// With whose leases and instances.
    pub scope: Scope,
    /// When it was made; `None` for one of the configuration.
    pub created: Option<Timestamp>,
    /// When it ends.
    pub expires: Option<Timestamp>,
}

/// A token as it is stored.
#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    hash: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    before: Option<(String, u64)>,
    role: String,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    accounts: Vec<String>,
    created: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    expires: Option<u64>,
}

/// A new secret, and its hash.
pub fn secret() -> Result<(String, [u8; 32]), String> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| "no randomness to be had".to_owned())?;
    let secret = format!("{MARK}{}", hex(&bytes));
    let hash = hash(&secret);
    Ok((secret, hash))
}

/// What is kept of a secret.
pub fn hash(secret: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, secret.as_bytes()).as_ref());
    hash
}

/// Whether two hashes are the same, in a time that does not tell where they differ.
fn is_same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    black_box(a.iter().zip(b).fold(0, |differs, (a, b)| differs | (a ^ b))) == 0
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    bytes.iter().for_each(|byte| {
        let _ = write!(text, "{byte:02x}");
    });
    text
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    parse_hex(text)?.try_into().ok()
}

impl Token {
    /// A token of the configuration.
    pub fn configured(policy: &TokenPolicy) -> Token {
        Token {
            name: policy.name.clone(),
            hash: policy.hash,
            before: None,
            role: policy.role,
            scope: Scope::of(&policy.accounts),
            created: None,
            expires: policy.expires,
        }
    }

    /// A token back from its fact, if this is one that this version understands.
    pub fn stored(fact: &str, bytes: &[u8]) -> Option<Token> {
        let name = fact.strip_prefix(FACT)?;
        let stored: Stored = serde_json::from_slice(bytes).ok()?;
        let accounts: Vec<Arc<str>> = stored.accounts.iter().map(|one| (**one).into()).collect();
        let before = match stored.before {
            Some((hash, until)) => Some((unhex(&hash)?, Timestamp(until))),
            None => None,
        };
        (stored.format == FORMAT).then_some(Token {
            name: name.into(),
            hash: unhex(&stored.hash)?,
            before,
            role: Role::named(&stored.role)?,
            scope: Scope::of(&accounts),
            created: Some(Timestamp(stored.created)),
            expires: stored.expires.map(Timestamp),
        })
    }

    /// The name of its fact.
    pub fn fact(&self) -> Box<str> {
        format!("{FACT}{}", self.name).into()
    }

    /// What is stored of it.
    pub fn bytes(&self) -> Box<[u8]> {
        let accounts = self.scope.accounts().unwrap_or_default();
        let stored = Stored {
            format: FORMAT,
            hash: hex(&self.hash),
            before: self.before.map(|(hash, until)| (hex(&hash), until.0)),
            role: self.role.name().into(),
            accounts: accounts.iter().map(|one| one.to_string()).collect(),
            created: self.created.map_or(0, |at| at.0),
            expires: self.expires.map(|at| at.0),
        };
        // Texts and numbers: JSON can say them.
        serde_json::to_vec(&stored).unwrap_or_default().into()
    }

    /// Whether a secret with this hash is this token, at `now`. Takes as long either way.
    pub fn is(&self, hash: &[u8; 32], now: Timestamp) -> bool {
        let before = self.before.is_some_and(|(old, until)| is_same(&old, hash) & (now < until));
        is_same(&self.hash, hash) | before
    }

    /// Whether it has ended by `now`.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|at| at <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_differ_and_are_known_by_their_hash() {
        let ((one, kept), (other, _)) = (secret().unwrap(), secret().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.len(), MARK.len() + 64);
        assert_eq!(hash(&one), kept);
        assert_eq!(
            hex(&hash("abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn a_token_comes_back_from_its_fact() {
        let token = Token {
            name: "ci".into(),
            hash: [7; 32],
            before: Some(([8; 32], Timestamp(50))),
            role: Role::Operate,
            scope: Scope::of(&["acme".into()]),
            created: Some(Timestamp(1)),
            expires: Some(Timestamp(99)),
        };
        assert_eq!(Token::stored(&token.fact(), &token.bytes()).unwrap(), token);
        assert!(token.is(&[7; 32], Timestamp(60)));
        assert!(token.is(&[8; 32], Timestamp(49)) && !token.is(&[8; 32], Timestamp(50)));
        assert!(!token.is(&[9; 32], Timestamp(1)));
        for bad in ["", "{}", "null", "{\"format\":2}"] {
            assert!(Token::stored("token/ci", bad.as_bytes()).is_none(), "{bad}");
        }
    }
}
