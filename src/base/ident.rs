//! Who a client is.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use super::addr::{HwAddr, parse_hex, write_hex};

/// The one key by which clients are found (with their network): a client identifier, a hardware
/// address, a relay's circuit, or a DHCPv6 DUID with its IAID.
///
/// Short keys (all hardware addresses and most identifiers) are kept without an allocation.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientKey(Repr);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Repr {
    Short { len: u8, bytes: [u8; SHORT] },
    Long(Box<[u8]>),
}

const SHORT: usize = 22;

/// The first byte of a key says what the rest is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum KeyKind {
    /// Hardware type and address (RFC 2131 s4.2, no client identifier sent).
    Hardware = 1,
    /// DHCPv4 client identifier, option 61, as sent.
    ClientId = 2,
    /// Circuit and remote id of the relay (identity mode `circuit-id`).
    Circuit = 3,
    /// A client identifier that two live machines share, told apart by hardware address.
    Clone = 4,
    /// DHCPv6 addresses: IAID (4 bytes, big endian), then the DUID.
    Ia = 6,
    /// DHCPv6 delegated prefixes: IAID, then the DUID.
    IaPd = 7,
    /// DHCPv6 addresses of a clone: hardware type, length and address, then IAID and DUID.
    IaClone = 8,
    /// DHCPv6 delegated prefixes of a clone: as `IaClone`.
    IaPdClone = 9,
    /// Nobody yet: a demand shadow of this address.
    Shadow = 10,
}

/// Equal keys have equal bytes.
impl Hash for ClientKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.as_bytes());
    }
}

impl ClientKey {
    fn new(kind: KeyKind, parts: &[&[u8]]) -> ClientKey {
        let len = 1 + parts.iter().map(|p| p.len()).sum::<usize>();
        if len <= SHORT {
            let mut bytes = [0; SHORT];
            bytes[0] = kind as u8;
            let mut at = 1;
            for part in parts {
                bytes[at..at + part.len()].copy_from_slice(part);
                at += part.len();
            }
            return ClientKey(Repr::Short { len: len as u8, bytes });
        }
        let mut bytes = Vec::with_capacity(len);
        bytes.push(kind as u8);
        parts.iter().for_each(|p| bytes.extend_from_slice(p));
        ClientKey(Repr::Long(bytes.into_boxed_slice()))
    }

    /// By hardware type and address.
    pub fn hardware(hw: &HwAddr) -> ClientKey {
        ClientKey::new(KeyKind::Hardware, &[&[hw.htype()], hw.bytes()])
    }

    /// By client identifier (option 61), compared whole (RFC 2131 s4.2).
    pub fn client_id(id: &[u8]) -> ClientKey {
        ClientKey::new(KeyKind::ClientId, &[id])
    }

    /// By the relay's circuit id and remote id.
    pub fn circuit(circuit: &[u8], remote: &[u8]) -> ClientKey {
        ClientKey::new(KeyKind::Circuit, &[&(circuit.len() as u16).to_be_bytes(), circuit, remote])
    }

    /// A clone: its shared client identifier and its own hardware address.
    pub fn clone_of(id: &[u8], hw: &HwAddr) -> ClientKey {
        ClientKey::new(KeyKind::Clone, &[&[hw.htype(), hw.bytes().len() as u8], hw.bytes(), id])
    }

    /// An identity association of a DHCPv6 client.
    pub fn ia(duid: &[u8], iaid: u32) -> ClientKey {
        ClientKey::new(KeyKind::Ia, &[&iaid.to_be_bytes(), duid])
    }

    /// An identity association for prefixes of a DHCPv6 client.
    pub fn ia_pd(duid: &[u8], iaid: u32) -> ClientKey {
        ClientKey::new(KeyKind::IaPd, &[&iaid.to_be_bytes(), duid])
    }

    /// An identity association of a clone: a DUID that two live machines share.
    pub fn ia_clone(duid: &[u8], iaid: u32, hw: &HwAddr) -> ClientKey {
        ClientKey::clone6(KeyKind::IaClone, duid, iaid, hw)
    }

    /// An identity association of a clone for prefixes.
    pub fn ia_pd_clone(duid: &[u8], iaid: u32, hw: &HwAddr) -> ClientKey {
        ClientKey::clone6(KeyKind::IaPdClone, duid, iaid, hw)
    }

    /// Whoever will claim the demand shadow of that address.
    pub fn shadow(of: std::net::IpAddr) -> ClientKey {
        match of {
            std::net::IpAddr::V4(addr) => ClientKey::new(KeyKind::Shadow, &[&addr.octets()]),
            std::net::IpAddr::V6(addr) => ClientKey::new(KeyKind::Shadow, &[&addr.octets()]),
        }
    }

    fn clone6(kind: KeyKind, duid: &[u8], iaid: u32, hw: &HwAddr) -> ClientKey {
        let length = hw.bytes().len() as u8;
        ClientKey::new(kind, &[&[hw.htype(), length], hw.bytes(), &iaid.to_be_bytes(), duid])
    }

    /// The bytes to store: kind, then the key.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::Short { len, bytes } => &bytes[..usize::from(*len)],
            Repr::Long(bytes) => bytes,
        }
    }

    /// From stored bytes; `None` if the kind is unknown or nothing is there.
    pub fn from_bytes(bytes: &[u8]) -> Option<ClientKey> {
        let (kind, rest) = bytes.split_first()?;
        Some(ClientKey::new(KeyKind::from_byte(*kind)?, &[rest]))
    }

    /// What this key is.
    pub fn kind(&self) -> KeyKind {
        self.as_bytes()
            .first()
            .and_then(|kind| KeyKind::from_byte(*kind))
            .unwrap_or(KeyKind::ClientId)
    }

    /// The client identifier (option 61), if this key is one or a clone's.
    pub fn option_61(&self) -> Option<&[u8]> {
        let bytes = self.as_bytes();
        match self.kind() {
            KeyKind::ClientId => bytes.get(1..),
            KeyKind::Clone => bytes.get(3 + usize::from(*bytes.get(2)?)..),
            _ => None,
        }
    }

    /// IAID and DUID, if this key is an identity association: the same for a clone's as for the
    /// one that it shares them with.
    pub fn association(&self) -> Option<(bool, &[u8])> {
        let bytes = self.as_bytes();
        let of_clone = || bytes.get(3 + usize::from(*bytes.get(2)?)..);
        match self.kind() {
            KeyKind::Ia => Some((false, bytes.get(1..)?)),
            KeyKind::IaPd => Some((true, bytes.get(1..)?)),
            KeyKind::IaClone => Some((false, of_clone()?)),
            KeyKind::IaPdClone => Some((true, of_clone()?)),
            _ => None,
        }
    }

    /// The DUID, if this key is an identity association.
    pub fn duid(&self) -> Option<&[u8]> {
        let bytes = self.as_bytes();
        match self.kind() {
            KeyKind::Ia | KeyKind::IaPd => bytes.get(5..),
            KeyKind::IaClone => bytes.get(7 + usize::from(*bytes.get(2)?)..),
            _ => None,
        }
    }
}

impl KeyKind {
    fn from_byte(byte: u8) -> Option<KeyKind> {
        use KeyKind::*;
        [Hardware, ClientId, Circuit, Clone, Ia, IaPd, IaClone, IaPdClone, Shadow]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// `hw:01:52:54:00:12:34:56`, `id:ff:00:01`, ...: the kind, then hexadecimal.
impl fmt::Display for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind() {
            KeyKind::Hardware => "hw:",
            KeyKind::ClientId => "id:",
            KeyKind::Circuit => "circuit:",
            KeyKind::Clone => "clone:",
            KeyKind::Ia => "ia:",
            KeyKind::IaPd => "ia-pd:",
            KeyKind::IaClone => "ia-clone:",
            KeyKind::IaPdClone => "ia-pd-clone:",
            KeyKind::Shadow => "shadow:",
        })?;
        write_hex(f, self.as_bytes().get(1..).unwrap_or_default(), ":")
    }
}

/// As [`ClientKey`] displays it.
impl FromStr for ClientKey {
    type Err = ();
    fn from_str(s: &str) -> Result<ClientKey, ()> {
        let (kind, hex) = s.split_once(':').ok_or(())?;
        let kind = match kind {
            "hw" => KeyKind::Hardware,
            "id" => KeyKind::ClientId,
            "circuit" => KeyKind::Circuit,
            "clone" => KeyKind::Clone,
            "ia" => KeyKind::Ia,
            "ia-pd" => KeyKind::IaPd,
            "ia-clone" => KeyKind::IaClone,
            "ia-pd-clone" => KeyKind::IaPdClone,
            "shadow" => KeyKind::Shadow,
            _ => return Err(()),
        };
        let bytes = parse_hex(hex).filter(|bytes| !bytes.is_empty()).ok_or(())?;
        Ok(ClientKey::new(kind, &[&bytes]))
    }
}

impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_compared_whole() {
        let keys: Vec<_> = [&b"pfx"[..], b"pfx\0", b"pfx\0\0"].map(ClientKey::client_id).into();
        assert!(keys[0] != keys[1] && keys[1] != keys[2]);
        let long = [7; 200];
        assert_eq!(ClientKey::client_id(&long).option_61(), Some(&long[..]));
    }

    #[test]
    fn kinds_never_meet() {
        let hw = HwAddr::new(1, &[1; 6]).unwrap();
        let same_bytes = [1, 1, 1, 1, 1, 1, 1];
        assert_ne!(ClientKey::hardware(&hw), ClientKey::client_id(&same_bytes));
    }

    #[test]
    fn keys_survive_the_store() {
        let hw = HwAddr::new(1, &[2; 6]).unwrap();
        for key in [
            ClientKey::hardware(&hw),
            ClientKey::client_id(&[9; 100]),
            ClientKey::clone_of(b"image", &hw),
            ClientKey::ia(&[0, 3, 0, 1], 7),
            ClientKey::ia_pd(&[0, 3, 0, 1], 7),
            ClientKey::ia_clone(&[0, 3, 0, 1], 7, &hw),
            ClientKey::ia_pd_clone(&[0, 3, 0, 1], 7, &hw),
        ] {
            assert_eq!(ClientKey::from_bytes(key.as_bytes()), Some(key.clone()));
            assert_eq!(key.to_string().parse(), Ok(key.clone()));
        }
        assert_eq!(ClientKey::clone_of(b"image", &hw).option_61(), Some(&b"image"[..]));
        let duid = &[0, 3, 0, 1][..];
        for key in [ClientKey::ia(duid, 7), ClientKey::ia_clone(duid, 7, &hw)] {
            assert_eq!(key.duid(), Some(duid));
        }
        assert_eq!(ClientKey::from_bytes(&[6, 0]).unwrap().duid(), None);
        assert_eq!(ClientKey::from_bytes(&[]), None);
        assert_eq!(ClientKey::from_bytes(&[99, 1]), None);
        for bad in ["", "id", "id:", "id:0", "name:00"] {
            assert_eq!(bad.parse::<ClientKey>(), Err(()), "{bad}");
        }
    }
}
