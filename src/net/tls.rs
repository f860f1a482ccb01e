//! What TLS takes from files: certificates and keys in PEM, and the name in a certificate.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Longest name that is taken from a certificate, in bytes.
const NAME_BYTES_MAX: usize = 255;
/// DER tags (X.690 s8).
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_ID: u8 = 0x06;
const VERSION: u8 = 0xa0;
const UTF8: u8 = 0x0c;
const PRINTABLE: u8 = 0x13;
/// id-at-commonName, 2.5.4.3 (RFC 5280 appendix A.1).
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// The certificates of a file in PEM, at least one. On error: which file, and why.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let named = |why: &dyn std::fmt::Display| format!("certificate {}: {why}", path.display());
    let found = CertificateDer::pem_file_iter(path).map_err(|error| named(&error))?;
    let found: Vec<_> = found.collect::<Result<_, _>>().map_err(|error| named(&error))?;
    if found.is_empty() { Err(named(&"no certificate in it")) } else { Ok(found) }
}

/// Who signs, of a file in PEM.
pub fn roots(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(roots)
}

/// The private key of a file in PEM.
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| format!("key {}: {error}", path.display()))
}

/// The common name of the subject of a certificate (RFC 5280 s4.1), which was verified before.
pub fn common_name(certificate: &[u8]) -> Option<Arc<str>> {
    let (mut certificate, _) = inside(certificate, SEQUENCE)?;
    let (mut signed, _) = inside(std::mem::take(&mut certificate), SEQUENCE)?;
    if signed.first() == Some(&VERSION) {
        signed = element(signed)?.2;
    }
    // Serial number, signature, issuer, validity.
    for _ in 0..4 {
        signed = element(signed)?.2;
    }
    let (mut names, _) = inside(signed, SEQUENCE)?;
    while !names.is_empty() {
        let (mut set, rest) = inside(names, SET)?;
        while !set.is_empty() {
            let (pair, more) = inside(set, SEQUENCE)?;
            let (kind, value) = inside(pair, OBJECT_ID)?;
            let (tag, text, _) = element(value)?;
            if kind == COMMON_NAME && matches!(tag, UTF8 | PRINTABLE) {
                return Some(std::str::from_utf8(text).ok().filter(is_plain)?.into());
            }
            set = more;
        }
        names = rest;
    }
    None
}

fn is_plain(name: &&str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control)
}

/// What is inside the first element, which must have this tag; and what follows it.
fn inside(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = element(bytes)?;
    (found == tag).then_some((content, rest))
}

/// Tag, content and what follows of the first element (X.690 s8.1, definite lengths of at most
/// three bytes).
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x0f))?;
            (digits.iter().fold(0, |length, byte| (length << 8) | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn der(tag: u8, content: &[u8]) -> Vec<u8> {
        [&[tag, 0x82, (content.len() >> 8) as u8, content.len() as u8], content].concat()
    }

    fn certificate(common_name: &[u8], tag: u8) -> Vec<u8> {
        let pair = |id: &[u8], tag, text: &[u8]| {
            der(SET, &der(SEQUENCE, &[der(OBJECT_ID, id), der(tag, text)].concat()))
        };
        let subject = [pair(&[0x55, 4, 10], UTF8, b"acme"), pair(COMMON_NAME, tag, common_name)];
        let before = [
            der(VERSION, &[2, 1, 2]),
            der(2, &[1]),
            der(SEQUENCE, &[]),
            der(SEQUENCE, &[]),
            der(SEQUENCE, &[]),
        ];
        let signed = [before.concat(), der(SEQUENCE, &subject.concat())].concat();
        der(SEQUENCE, &der(SEQUENCE, &signed))
    }

    #[test]
    fn the_name_of_a_certificate_is_its_common_name() {
        let name = |text: &[u8], tag| common_name(&certificate(text, tag));
        assert_eq!(name(b"orchestrator", UTF8).as_deref(), Some("orchestrator"));
        assert_eq!(name(b"a b", PRINTABLE).as_deref(), Some("a b"));
        assert_eq!(name(b"", UTF8), None);
        assert_eq!(name(b"a\nb", UTF8), None);
        assert_eq!(name(b"\xff", UTF8), None);
        assert_eq!(name(b"x", 0x1e), None, "no kind of text that is taken");
    }

    #[test]
    fn bytes_that_are_cut_or_changed_have_a_name_or_none() {
        let whole = certificate(b"orchestrator", UTF8);
        for end in 0..whole.len() {
            assert_eq!(common_name(&whole[..end]), None);
        }
        for at in 0..whole.len() {
            for byte in [0, 0x7f, 0x80, 0x84, 0xff] {
                let mut changed = whole.clone();
                changed[at] = byte;
                drop(common_name(&changed));
            }
        }
    }
}
