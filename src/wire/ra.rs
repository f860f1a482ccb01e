//! Router advertisements (RFC 4861 s4.2): ours as they are written, anyone's as they are read.

use std::net::Ipv6Addr;

use thiserror::Error;

use super::frame::FrameError;
use super::frame6::Ends;
use super::ndp::{self, ALL_NODES, NdpOptions, icmp, option};
use crate::base::name::{NameError, decode_name, encode_name};
use crate::base::{Mac, Prefix6};

/// Header and fixed fields of a router advertisement, in bytes.
const ADVERT_LEN: usize = 16;
/// Longest option: its length is one byte that counts units of 8 bytes.
const OPTION_MAX: usize = 255 * 8;
/// Most servers of one RDNSS option.
pub const RDNSS_MAX: usize = (OPTION_MAX - 8) / 16;
/// Largest advertisement that is written, the smallest MTU of IPv6 less its header, so that it
/// always fits its link (RFC 8200 s5).
pub const ADVERT_MAX: usize = 1280 - 40;
/// Most names of one DNSSL option when read.
const NAMES_MAX: usize = 128;

/// Lengths of prefixes that PREF64 can say, at the index that is its code (RFC 8781 s4).
const PREF64_LENGTHS: [u8; 6] = [96, 64, 56, 48, 40, 32];
/// Longest lifetime that PREF64 can say, in seconds.
pub const PREF64_LIFETIME_MAX: u16 = 8 * 0x1fff;

/// How much a router wants to be the default router (RFC 4191 s2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preference {
    /// Only where there is no other.
    Low,
    /// As any other.
    #[default]
    Medium,
    /// Before all others.
    High,
}

/// A prefix of the link (RFC 4861 s4.6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixInfo {
    /// The prefix.
    pub prefix: Prefix6,
    /// Flag L: its addresses are on the link.
    pub on_link: bool,
    /// Flag A: hosts may make addresses of it by themselves.
    pub autonomous: bool,
    /// Valid lifetime in seconds; 0xffffffff is for ever.
    pub valid_s: u32,
    /// Preferred lifetime in seconds, not over the valid one; 0xffffffff is for ever.
    pub preferred_s: u32,
}

/// DNS servers (RFC 8106 s5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rdnss<'a> {
    /// How long they may be used, in seconds; 0 is no longer.
    pub lifetime_s: u32,
    /// At least one, at most [`RDNSS_MAX`].
    pub servers: &'a [Ipv6Addr],
}

/// Domain search list (RFC 8106 s5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dnssl<'a, S> {
    /// How long it may be used, in seconds; 0 is no longer.
    pub lifetime_s: u32,
    /// The names.
    pub names: &'a [S],
}

/// The prefix of a NAT64 (RFC 8781).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pref64 {
    /// Of length 96, 64, 56, 48, 40 or 32.
    pub prefix: Prefix6,
    /// How long it may be used, in seconds: rounded up to a multiple of 8, at most
    /// [`PREF64_LIFETIME_MAX`].
    pub lifetime_s: u16,
}

/// An advertisement to be written. `S` is what the names of the search list are kept in.
#[derive(Clone, Copy, Debug, Default)]
pub struct RouterAdvert<'a, S = &'a str> {
    /// Hop limit that hosts should use; 0 leaves it to them.
    pub hop_limit: u8,
    /// Flag M: addresses come by DHCPv6.
    pub managed: bool,
    /// Flag O: other settings come by DHCPv6.
    pub other: bool,
    /// How much we want to be the default router.
    pub preference: Preference,
    /// How long we are one, in seconds; 0 is not, or no longer.
    pub lifetime_s: u16,
    /// How long a neighbour counts as reachable, in milliseconds; 0 leaves it to hosts.
    pub reachable_ms: u32,
    /// How long to wait between solicitations, in milliseconds; 0 leaves it to hosts.
    pub retransmit_ms: u32,
    /// Our link-layer address.
    pub source: Option<Mac>,
    /// MTU of the link.
    pub mtu: Option<u32>,
    /// Prefixes of the link.
    pub prefixes: &'a [PrefixInfo],
    /// DNS servers.
    pub rdnss: Option<Rdnss<'a>>,
    /// Domain search list.
    pub dnssl: Option<Dnssl<'a, S>>,
    /// Prefix of the NAT64.
    pub pref64: Option<Pref64>,
}

/// Why an advertisement was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AdvertError {
    /// It would not fit every link.
    #[error("router advertisement of {0} bytes, at most {ADVERT_MAX} fit every link")]
    TooLong(usize),
    /// A name of the search list cannot be put on the wire.
    #[error("search list of the router advertisement: {0}")]
    BadName(NameError),
    /// A prefix length that PREF64 cannot say.
    #[error("pref64 prefix length {0}, want 96, 64, 56, 48, 40 or 32")]
    BadPref64(u8),
}

impl<S: AsRef<str>> RouterAdvert<'_, S> {
    /// Appends the whole frame from the link-local address `src` to all nodes.
    pub fn write_to_all(
        &self,
        out: &mut Vec<u8>,
        eth_src: Mac,
        src: Ipv6Addr,
    ) -> Result<(), AdvertError> {
        self.write_frame(out, &Ends::to_group(eth_src, src, ALL_NODES))
    }

    /// Appends the whole frame. `ends.src` must be link-local (RFC 4861 s4.2). On error `out` is
    /// as it was.
    pub fn write_frame(&self, out: &mut Vec<u8>, ends: &Ends) -> Result<(), AdvertError> {
        let mut message = Vec::new();
        self.write_icmp6(&mut message)?;
        ndp::write_icmp6(out, ends, &message);
        Ok(())
    }

    /// Appends the ICMPv6 message with a checksum of 0, as a raw socket takes it: the kernel
    /// fills it in. On error `out` is as it was.
    pub fn write_icmp6(&self, out: &mut Vec<u8>) -> Result<(), AdvertError> {
        let start = out.len();
        let written = self.write_parts(out).and_then(|()| match out.len() - start {
            ..=ADVERT_MAX => Ok(()),
            len => Err(AdvertError::TooLong(len)),
        });
        written.inspect_err(|_| out.truncate(start))
    }

    fn write_parts(&self, out: &mut Vec<u8>) -> Result<(), AdvertError> {
        let preference = match self.preference {
            Preference::Low => 0b11,
            Preference::Medium => 0b00,
            Preference::High => 0b01,
        };
        // RFC 4191 s2.2: who is no default router says medium.
        let preference = if self.lifetime_s == 0 { 0 } else { preference };
        let flags = u8::from(self.managed) << 7 | u8::from(self.other) << 6 | preference << 3;
        out.extend_from_slice(&[icmp::ROUTER_ADVERT, 0, 0, 0, self.hop_limit, flags]);
        out.extend_from_slice(&self.lifetime_s.to_be_bytes());
        out.extend_from_slice(&self.reachable_ms.to_be_bytes());
        out.extend_from_slice(&self.retransmit_ms.to_be_bytes());
        if let Some(Mac(mac)) = self.source {
            put_option(out, option::SOURCE_LINK_LAYER, |out| out.extend_from_slice(&mac))?;
        }
        if let Some(mtu) = self.mtu {
            put_option(out, option::MTU, |out| {
                out.extend_from_slice(&[0, 0]);
                out.extend_from_slice(&mtu.to_be_bytes());
            })?;
        }
        self.prefixes.iter().try_for_each(|prefix| prefix.write(out))?;
        self.rdnss.iter().try_for_each(|rdnss| rdnss.write(out))?;
        self.dnssl.iter().try_for_each(|dnssl| dnssl.write(out))?;
        self.pref64.iter().try_for_each(|pref64| pref64.write(out))
    }
}

/// Appends an option, padded with zeros to a multiple of 8 bytes, and its length.
fn put_option(
    out: &mut Vec<u8>,
    kind: u8,
    inside: impl FnOnce(&mut Vec<u8>),
) -> Result<(), AdvertError> {
    let start = out.len();
    out.extend_from_slice(&[kind, 0]);
    inside(out);
    let units = (out.len() - start).div_ceil(8);
    out.resize(start + 8 * units, 0);
    let Ok(units) = u8::try_from(units) else { return Err(AdvertError::TooLong(out.len())) };
    if let Some(len) = out.get_mut(start + 1) {
        *len = units;
    }
    Ok(())
}

impl PrefixInfo {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), AdvertError> {
        put_option(out, option::PREFIX_INFORMATION, |out| {
            let flags = u8::from(self.on_link) << 7 | u8::from(self.autonomous) << 6;
            out.extend_from_slice(&[self.prefix.len(), flags]);
            out.extend_from_slice(&self.valid_s.to_be_bytes());
            out.extend_from_slice(&self.preferred_s.to_be_bytes());
            out.extend_from_slice(&[0; 4]);
            out.extend_from_slice(&self.prefix.network().octets());
        })
    }

    fn read(data: &[u8]) -> Option<PrefixInfo> {
        let ([len, flags, times @ .., _, _, _, _], octets) = data.split_first_chunk::<14>()?;
        let octets: [u8; 16] = octets.try_into().ok()?;
        let (valid, preferred) = times.split_first_chunk()?;
        Some(PrefixInfo {
            prefix: Prefix6::new(Ipv6Addr::from(octets), *len)?,
            on_link: flags & 0x80 != 0,
            autonomous: flags & 0x40 != 0,
            valid_s: u32::from_be_bytes(*valid),
            preferred_s: u32::from_be_bytes(preferred.try_into().ok()?),
        })
    }
}

impl Rdnss<'_> {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), AdvertError> {
        if self.servers.is_empty() {
            return Ok(());
        }
        put_option(out, option::RDNSS, |out| {
            out.extend_from_slice(&[0, 0]);
            out.extend_from_slice(&self.lifetime_s.to_be_bytes());
            self.servers.iter().for_each(|server| out.extend_from_slice(&server.octets()));
        })
    }
}

impl<S: AsRef<str>> Dnssl<'_, S> {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), AdvertError> {
        if self.names.is_empty() {
            return Ok(());
        }
        let mut encoded = Vec::new();
        for name in self.names {
            encode_name(name.as_ref(), &mut encoded).map_err(AdvertError::BadName)?;
        }
        put_option(out, option::DNSSL, |out| {
            out.extend_from_slice(&[0, 0]);
            out.extend_from_slice(&self.lifetime_s.to_be_bytes());
            out.extend_from_slice(&encoded);
        })
    }
}

impl Pref64 {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), AdvertError> {
        let len = self.prefix.len();
        let code = PREF64_LENGTHS.iter().position(|known| *known == len);
        let code = code.ok_or(AdvertError::BadPref64(len))?;
        let units = self.lifetime_s.min(PREF64_LIFETIME_MAX).div_ceil(8);
        put_option(out, option::PREF64, |out| {
            out.extend_from_slice(&(units << 3 | code as u16).to_be_bytes());
            out.extend_from_slice(&self.prefix.network().octets()[..12]);
        })
    }

    fn read(data: &[u8]) -> Option<Pref64> {
        let (word, high) = data.split_first_chunk()?;
        let word = u16::from_be_bytes(*word);
        let len = *PREF64_LENGTHS.get(usize::from(word & 7))?;
        let mut octets = [0; 16];
        octets[..12].copy_from_slice(high.get(..12)?);
        let prefix = Prefix6::new(Ipv6Addr::from(octets), len)?;
        Some(Pref64 { prefix, lifetime_s: word & !7 })
    }
}

/// An advertisement as it was heard.
#[derive(Clone, Debug)]
pub struct SeenAdvert<'a> {
    /// Ethernet source.
    pub eth_src: Mac,
    /// The router's link-local address.
    pub src: Ipv6Addr,
    /// IP destination.
    pub dst: Ipv6Addr,
    /// Hop limit that hosts should use.
    pub hop_limit: u8,
    /// Flag M: addresses come by DHCPv6.
    pub managed: bool,
    /// Flag O: other settings come by DHCPv6.
    pub other: bool,
    /// How much it wants to be the default router; a reserved value reads as medium.
    pub preference: Preference,
    /// How long it is one, in seconds.
    pub lifetime_s: u16,
    /// How long a neighbour counts as reachable, in milliseconds.
    pub reachable_ms: u32,
    /// How long to wait between solicitations, in milliseconds.
    pub retransmit_ms: u32,
    options: NdpOptions<'a>,
}

/// Reads a router advertisement with the checks of RFC 4861 s6.1.2. Options that are not known
/// are skipped, those that make no sense read as absent.
///
/// `checksum_ready` is as for [`read_udp4`](super::frame::read_udp4).
pub fn read(frame: &[u8], checksum_ready: bool) -> Result<SeenAdvert<'_>, FrameError> {
    let packet = ndp::read_icmp6(frame, checksum_ready)?;
    let kind = packet.payload.first().copied().unwrap_or(0);
    if kind != icmp::ROUTER_ADVERT {
        return Err(FrameError::OtherIcmp6(kind));
    }
    if !packet.src.is_unicast_link_local() {
        return Err(FrameError::BadNdp("router advertisement not from a link-local address"));
    }
    let options = ndp::options(&packet, ADVERT_LEN)?;
    let short = FrameError::BadNdp("message is too short");
    let fixed = packet.payload.first_chunk::<ADVERT_LEN>().ok_or(short)?;
    let [_, _, _, _, hop_limit, flags, l0, l1, r0, r1, r2, r3, t0, t1, t2, t3] = *fixed;
    Ok(SeenAdvert {
        eth_src: packet.eth_src,
        src: packet.src,
        dst: packet.dst,
        hop_limit,
        managed: flags & 0x80 != 0,
        other: flags & 0x40 != 0,
        preference: match flags >> 3 & 0b11 {
            0b01 => Preference::High,
            0b11 => Preference::Low,
            _ => Preference::Medium,
        },
        lifetime_s: u16::from_be_bytes([l0, l1]),
        reachable_ms: u32::from_be_bytes([r0, r1, r2, r3]),
        retransmit_ms: u32::from_be_bytes([t0, t1, t2, t3]),
        options,
    })
}

impl<'a> SeenAdvert<'a> {
    fn all(&self, kind: u8) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.options.clone().filter(move |(found, _)| *found == kind).map(|(_, data)| data)
    }

    /// The router's link-layer address, if told.
    pub fn source(&self) -> Option<Mac> {
        ndp::link_layer(self.options.clone(), option::SOURCE_LINK_LAYER)
    }

    /// MTU of the link, if told.
    pub fn mtu(&self) -> Option<u32> {
        let [_, _, mtu @ ..] = <[u8; 6]>::try_from(self.all(option::MTU).next()?).ok()?;
        Some(u32::from_be_bytes(mtu))
    }

    /// Prefixes of the link.
    pub fn prefixes(&self) -> impl Iterator<Item = PrefixInfo> + use<'a> {
        self.all(option::PREFIX_INFORMATION).filter_map(PrefixInfo::read)
    }

    /// DNS servers, each with its lifetime in seconds.
    pub fn dns_servers(&self) -> impl Iterator<Item = (u32, Ipv6Addr)> + use<'a> {
        let options = self.all(option::RDNSS).filter_map(lifetime);
        options.flat_map(|(lifetime_s, rest)| {
            let octets = rest.chunks_exact(16).filter_map(|octets| octets.try_into().ok());
            octets.map(move |octets: [u8; 16]| (lifetime_s, Ipv6Addr::from(octets)))
        })
    }

    /// Domains to search, each with its lifetime in seconds. An option ends at a name that does
    /// not read, and after 128 names.
    pub fn search_domains(&self) -> Vec<(u32, String)> {
        let mut names = Vec::new();
        for (lifetime_s, rest) in self.all(option::DNSSL).filter_map(lifetime) {
            let mut at = 0;
            while let Ok((name, next)) = decode_name(rest, at) {
                // The root alone is the padding at the end (RFC 8106 s5.2).
                if name.is_empty() || names.len() == NAMES_MAX {
                    break;
                }
                names.push((lifetime_s, name));
                at = next;
            }
        }
        names
    }

    /// Prefix of the NAT64, if told.
    pub fn pref64(&self) -> Option<Pref64> {
        self.all(option::PREF64).find_map(Pref64::read)
    }
}

/// Lifetime, after two reserved bytes, and what follows.
fn lifetime(data: &[u8]) -> Option<(u32, &[u8])> {
    let ([_, _, lifetime @ ..], rest) = data.split_first_chunk::<6>()?;
    Some((u32::from_be_bytes(*lifetime), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::addr::parse_hex;

    const A: Mac = Mac([0x52, 0x54, 0, 0, 0, 0xa]);

    fn src() -> Ipv6Addr {
        "fe80::a".parse().unwrap()
    }

    fn info() -> PrefixInfo {
        PrefixInfo {
            prefix: "2001:db8:1::/64".parse().unwrap(),
            on_link: true,
            autonomous: false,
            valid_s: 86400,
            preferred_s: 14400,
        }
    }

    fn message<S: AsRef<str>>(advert: &RouterAdvert<'_, S>) -> Vec<u8> {
        let mut out = Vec::new();
        advert.write_icmp6(&mut out).unwrap();
        out
    }

    fn with_option(option: &[u8]) -> Vec<u8> {
        let mut message = message(&RouterAdvert::<&str>::default());
        message.extend_from_slice(option);
        let mut frame = Vec::new();
        let ends = Ends::to_group(A, src(), ALL_NODES);
        ndp::write_icmp6(&mut frame, &ends, &message);
        frame
    }

    #[test]
    fn an_advertisement_is_written_to_the_byte() {
        let servers = ["2001:db8::53".parse().unwrap()];
        let advert = RouterAdvert {
            hop_limit: 64,
            managed: true,
            other: true,
            preference: Preference::High,
            lifetime_s: 1800,
            reachable_ms: 1,
            retransmit_ms: 2,
            source: Some(A),
            mtu: Some(1500),
            prefixes: &[info()],
            rdnss: Some(Rdnss { lifetime_s: 600, servers: &servers }),
            dnssl: Some(Dnssl { lifetime_s: 600, names: &["lab.example"] }),
            pref64: Some(Pref64 { prefix: "64:ff9b::/96".parse().unwrap(), lifetime_s: 601 }),
        };
        let want = parse_hex(
            "86 00 0000 40 c8 0708 00000001 00000002 \
             01 01 52540000000a \
             05 01 0000 000005dc \
             03 04 40 80 00015180 00003840 00000000 20010db8000100000000000000000000 \
             19 03 0000 00000258 20010db8000000000000000000000053 \
             1f 03 0000 00000258 03 6c6162 07 6578616d706c65 00 000000 \
             26 02 0260 0064ff9b0000000000000000",
        );
        assert_eq!(Some(message(&advert)), want);
        let mut frame = Vec::new();
        advert.write_to_all(&mut frame, A, src()).unwrap();
        let seen = read(&frame, true).unwrap();
        assert_eq!((seen.eth_src, seen.src, seen.dst), (A, src(), ALL_NODES));
        assert_eq!((seen.managed, seen.other), (true, true));
        assert_eq!((seen.preference, seen.lifetime_s), (Preference::High, 1800));
        assert_eq!((seen.hop_limit, seen.reachable_ms, seen.retransmit_ms), (64, 1, 2));
        assert_eq!((seen.source(), seen.mtu()), (Some(A), Some(1500)));
        assert_eq!(seen.prefixes().collect::<Vec<_>>(), [info()]);
        assert_eq!(seen.dns_servers().collect::<Vec<_>>(), [(600, servers[0])]);
        assert_eq!(seen.search_domains(), [(600, "lab.example".to_owned())]);
        let pref64 = seen.pref64().unwrap();
        assert_eq!((pref64.prefix.to_string().as_str(), pref64.lifetime_s), ("64:ff9b::/96", 608));
    }

    #[test]
    fn a_bare_advertisement_says_that_there_is_no_router() {
        let bare = RouterAdvert::<&str> { preference: Preference::Low, ..RouterAdvert::default() };
        assert_eq!(message(&bare), [&[134][..], &[0; 15]].concat());
        let flags = |managed, other| {
            let advert = RouterAdvert::<&str> { managed, other, ..RouterAdvert::default() };
            message(&advert)[5]
        };
        assert_eq!((flags(true, false), flags(false, true)), (0x80, 0x40));
        // Lists without entries are no options.
        let empty = RouterAdvert {
            rdnss: Some(Rdnss { lifetime_s: 1, servers: &[] }),
            dnssl: Some(Dnssl::<&str> { lifetime_s: 1, names: &[] }),
            ..RouterAdvert::default()
        };
        assert_eq!(message(&empty).len(), ADVERT_LEN);
    }

    #[test]
    fn every_length_of_pref64_comes_back() {
        for len in PREF64_LENGTHS {
            let prefix = Prefix6::new("2001:db8:aabb:ccdd:eeff:1122::".parse().unwrap(), len);
            let pref64 = Pref64 { prefix: prefix.unwrap(), lifetime_s: 65528 };
            let advert = RouterAdvert::<&str> { pref64: Some(pref64), ..RouterAdvert::default() };
            let mut frame = Vec::new();
            advert.write_to_all(&mut frame, A, src()).unwrap();
            assert_eq!(read(&frame, true).unwrap().pref64(), Some(pref64));
        }
        let pref64 = Pref64 { prefix: "2001:db8::/60".parse().unwrap(), lifetime_s: 8 };
        let advert = RouterAdvert::<&str> { pref64: Some(pref64), ..RouterAdvert::default() };
        let mut out = b"before".to_vec();
        assert_eq!(advert.write_icmp6(&mut out), Err(AdvertError::BadPref64(60)));
        assert_eq!(out, b"before");
        // Code 6 is not a length (RFC 8781 s4).
        let unknown = with_option(&[&[38, 2, 0, 6][..], &[0; 12]].concat());
        assert_eq!(read(&unknown, true).unwrap().pref64(), None);
    }

    #[test]
    fn an_advertisement_fits_every_link() {
        let fits = vec![info(); (ADVERT_MAX - ADVERT_LEN) / 32];
        let advert = RouterAdvert::<&str> { prefixes: &fits, ..RouterAdvert::default() };
        assert_eq!(message(&advert).len(), 1232);
        let over = vec![info(); fits.len() + 1];
        let advert = RouterAdvert::<&str> { prefixes: &over, ..RouterAdvert::default() };
        let mut out = Vec::new();
        assert_eq!(advert.write_icmp6(&mut out), Err(AdvertError::TooLong(1264)));
        let servers = vec![src(); RDNSS_MAX + 1];
        let rdnss = Some(Rdnss { lifetime_s: 1, servers: &servers });
        let advert = RouterAdvert::<&str> { rdnss, ..RouterAdvert::default() };
        assert!(matches!(advert.write_icmp6(&mut out), Err(AdvertError::TooLong(_))));
        let dnssl = Some(Dnssl { lifetime_s: 1, names: &["a..b"] });
        let advert = RouterAdvert { dnssl, ..RouterAdvert::default() };
        let error = advert.write_icmp6(&mut out);
        assert_eq!(error, Err(AdvertError::BadName(NameError::EmptyLabel)));
        assert!(out.is_empty());
    }

    #[test]
    fn options_that_make_no_sense_read_as_absent() {
        let long = [&[3, 4, 129, 0xc0][..], &[0; 28]].concat();
        assert_eq!(read(&with_option(&long), true).unwrap().prefixes().count(), 0);
        for short in [3, 5, 25, 31, 38] {
            let frame = with_option(&[short, 1, 0, 0, 0, 0, 0, 0]);
            let seen = read(&frame, true).unwrap();
            assert_eq!(seen.prefixes().count() + seen.dns_servers().count(), 0, "{short}");
            assert!(seen.search_domains().is_empty() && seen.pref64().is_none());
        }
        // A name with a pointer to itself.
        let cyclic = with_option(&[31, 2, 0, 0, 0, 0, 0, 1, 0xc0, 0, 0, 0, 0, 0, 0, 0]);
        assert!(read(&cyclic, true).unwrap().search_domains().is_empty());
    }

    #[test]
    fn only_link_local_routers_are_believed() {
        let mut frame = Vec::new();
        let ends = Ends::to_group(A, "2001:db8::1".parse().unwrap(), ALL_NODES);
        RouterAdvert::<&str>::default().write_frame(&mut frame, &ends).unwrap();
        let error = read(&frame, true).unwrap_err();
        assert_eq!(error, FrameError::BadNdp("router advertisement not from a link-local address"));
        let mut probe = Vec::new();
        ndp::write_probe(&mut probe, A, src());
        assert_eq!(read(&probe, true).unwrap_err(), FrameError::OtherIcmp6(135));
        let whole = with_option(&[]);
        for len in 0..whole.len() {
            assert!(read(&whole[..len], true).is_err(), "cut to {len} bytes");
        }
    }
}
