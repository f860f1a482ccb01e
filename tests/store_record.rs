//! The byte format of one fact: everything survives it, and nothing else is read from it.
#![allow(clippy::unwrap_used)]

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use foreshadow::base::{ClientKey, HwAddr, Mac, NetworkId, Resource, Timestamp};
use foreshadow::config::policy::{OnFailure, Tier};
use foreshadow::engine::standbys::name::SHARED_MAX;
use foreshadow::lease::change::ACT_JSON_MAX;
use foreshadow::lease::directory::{
    Entry, Identifiers, Kind, Party, Readiness, Standby, StandbyState, Step, Switchover, Told,
};
use foreshadow::lease::{
    Act, Cause, Change, Details, Directory, Drain, Foreseen, Foreseer, Lease, Mover, NextHop,
    QuarantineReason, Seq, State, Uses,
};
use foreshadow::store::record::{RECORD_MAX, RecordError, decode, encode};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

fn encoded(change: &Change) -> Vec<u8> {
    let mut out = Vec::new();
    encode(change, &mut out).unwrap();
    out
}

#[test]
fn a_standby_with_the_longest_names_and_identifiers_is_one_record() {
    let long = |byte: u8, len: usize| vec![byte; len].into_boxed_slice();
    let text = |len: usize| "x".repeat(len);
    let party = |last: u8| Party {
        who: Identifiers {
            mac: Some(Mac([2, 0, 0, 0, 0, last])),
            duid: Some(long(last, 200)),
            ..Identifiers::default()
        },
        port: Some(text(15).into()),
        host: Some(text(64).into()),
    };
    let hw = HwAddr::new(1, &[9; 16]).unwrap();
    let next_hop = "fe80:1111:2222:3333:4444:5555:6666:7777%brbrbrbrbrbrbrb".parse().unwrap();
    let mut told = vec![Told {
        resource: "255.255.255.255".parse().unwrap(),
        client: ClientKey::clone_of(&long(9, 255), &hw),
        until: Timestamp::NEVER,
        next_hop: None,
    }];
    told.extend((1..SHARED_MAX as u128).map(|n| Told {
        resource: Resource::Prefix6(Ipv6Addr::from_bits(u128::MAX - (n << 64)), 128),
        client: ClientKey::ia_pd_clone(&long(9, 130), u32::MAX, &hw),
        until: Timestamp::NEVER,
        next_hop: Some(Clone::clone(&next_hop)),
    }));
    let standby = Standby {
        id: text(64).into(),
        network: NetworkId(u32::MAX),
        resources: told.iter().map(|told| told.resource).collect(),
        active: party(1),
        standby: party(2),
        hostname: Some(text(253).into()),
        account: Some(text(64).into()),
        application: Some(text(64).into()),
        instance: Some(text(64).into()),
        state: StandbyState::Promoted(Switchover {
            kind: Kind::Failure,
            step: Step::Terminated,
            forced: false,
            by: "\"".repeat(128).into(),
            started: Timestamp::NEVER,
            before: Readiness::Preparing,
            noted: vec![(Step::Intended, Timestamp(9))],
            outage_us: Some(1_500),
        }),
        progress: 100,
        gated: false,
        epoch: u64::MAX,
        planned: None,
        on_failure: OnFailure::Switch,
        unfenced: false,
        told,
        created: Timestamp::NEVER,
        changed: Timestamp::NEVER,
        until: Timestamp::NEVER,
    };
    let (mut directory, mut changes) = (Directory::default(), Vec::new());
    directory.put(Seq(1), Entry::Standby(Arc::new(standby)), &mut changes);
    assert!(encoded(&changes[0]).len() > RECORD_MAX / 2, "the longest there is");
}

fn resource() -> impl Strategy<Value = Resource> {
    prop_oneof![
        any::<u32>().prop_map(|a| Resource::V4(Ipv4Addr::from_bits(a))),
        any::<u128>().prop_map(|a| Resource::V6(Ipv6Addr::from_bits(a))),
        (any::<u128>(), 0..=128u8).prop_map(|(a, l)| Resource::Prefix6(Ipv6Addr::from_bits(a), l)),
    ]
}

fn hw() -> impl Strategy<Value = HwAddr> {
    (any::<u8>(), vec(any::<u8>(), 0..=16)).prop_map(|(t, b)| HwAddr::new(t, &b).unwrap())
}

fn client() -> impl Strategy<Value = ClientKey> {
    let id = || vec(any::<u8>(), 0..=255);
    prop_oneof![
        hw().prop_map(|hw| ClientKey::hardware(&hw)),
        id().prop_map(|id| ClientKey::client_id(&id)),
        (id(), id()).prop_map(|(c, r)| ClientKey::circuit(&c, &r)),
        (id(), hw()).prop_map(|(id, hw)| ClientKey::clone_of(&id, &hw)),
        (id(), any::<u32>()).prop_map(|(duid, iaid)| ClientKey::ia(&duid, iaid)),
    ]
}

fn state() -> impl Strategy<Value = State> {
    prop_oneof![
        Just(State::Leased),
        Just(State::Expired),
        Just(State::Released),
        Just(State::Shadow),
        Just(State::Quarantined(QuarantineReason::Declined)),
        Just(State::Quarantined(QuarantineReason::Operator)),
        Just(State::Quarantined(QuarantineReason::Leaving)),
        any::<[u8; 6]>().prop_map(|m| State::Quarantined(QuarantineReason::InUse(Mac(m)))),
    ]
}

/// Any text: separators, line ends, quotes, zero bytes.
fn text() -> impl Strategy<Value = String> {
    vec(prop_oneof![any::<char>(), Just('\n'), Just(','), Just('"'), Just('\0')], 0..40)
        .prop_map(String::from_iter)
}

fn next_hop() -> impl Strategy<Value = NextHop> {
    let link = text().prop_filter("a name", |link| !link.is_empty());
    (any::<u128>(), of(link)).prop_map(|(addr, link)| NextHop {
        addr: Ipv6Addr::from_bits(addr),
        link: link.map(Into::into),
    })
}

fn foreseen() -> impl Strategy<Value = Foreseen> {
    let word = || of(text().prop_filter("a word", |word| !word.is_empty()));
    (prop::sample::select(&Foreseer::ALL[..]), word(), word()).prop_map(
        |(by, prediction, instance_type)| Foreseen {
            by,
            prediction: prediction.map(Into::into),
            instance_type: instance_type.map(Into::into),
        },
    )
}

fn details() -> impl Strategy<Value = Details> {
    let bytes = || of(vec(any::<u8>(), 0..=255));
    let texts = (of(text()), of(text()), of(text()), of(text()));
    let ids = (bytes(), bytes());
    let tier = of(prop::sample::select(&Tier::ALL[..]));
    let foreseen = of(foreseen());
    let by = prop_oneof![Just(Mover::Policy), Just(Mover::Operator)];
    let drain = (any::<u64>(), by).prop_map(|(at, by)| Drain { since: Timestamp(at), by });
    let rest = (foreseen, tier, of(drain), any::<bool>());
    (texts, ids, of(any::<u32>()), any::<bool>(), of(next_hop()), rest).prop_map(
        |(
            (hostname, account, application, instance),
            (circuit, remote),
            relay,
            boot_stage,
            next_hop,
            (foreseen, tier, draining, wakes),
        )| Details {
            hostname: hostname.map(Into::into),
            account: account.map(Into::into),
            application: application.map(Into::into),
            instance: instance.map(Into::into),
            circuit_id: circuit.map(Into::into),
            remote_id: remote.map(Into::into),
            relay: relay.map(Ipv4Addr::from_bits),
            boot_stage,
            next_hop,
            foreseen: foreseen.map(Box::new),
            tier,
            draining,
            wakes,
        },
    )
}

fn lease() -> impl Strategy<Value = Lease> {
    let times = (any::<u64>(), any::<u64>(), prop_oneof![any::<u64>(), Just(u64::MAX)]);
    let who = prop_oneof![
        (client(), hw()).boxed(),
        hw().prop_map(|hw| (ClientKey::hardware(&hw), hw)).boxed(),
    ];
    let uses = (any::<u16>(), any::<u8>()).prop_map(|(binds, traffic)| Uses { binds, traffic });
    (any::<u32>(), resource(), who, state(), times, uses, details()).prop_map(
        |(network, resource, (client, hw), state, (since, updated, until), uses, details)| Lease {
            network: NetworkId(network),
            resource,
            client,
            hw,
            state,
            since: Timestamp(since),
            updated: Timestamp(updated),
            until: Timestamp(until),
            port: None,
            uses,
            details: Arc::new(details),
        },
    )
}

fn cause() -> impl Strategy<Value = Cause> {
    let imported = any::<u64>().prop_map(|at| Cause::Imported(Timestamp(at)));
    prop_oneof![4 => prop::sample::select(Cause::TIMELESS), 1 => imported]
}

fn act() -> impl Strategy<Value = Act> {
    let optional = (of(text()), of(text()), of(text()));
    (any::<u64>(), text(), text(), text(), optional).prop_map(
        |(at, who, verb, object, (account, before, after))| Act {
            at: Timestamp(at),
            who: who.into(),
            verb: verb.into(),
            object: object.into(),
            account: account.map(Into::into),
            before: before.map(Into::into),
            after: after.map(Into::into),
        },
    )
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (lease(), cause()).prop_map(|(lease, cause)| Change::Put(lease, cause)),
        1 => (any::<u32>(), resource(), of(any::<u64>()))
            .prop_map(|(n, r, at)| Change::Remove(NetworkId(n), r, at.map(Timestamp))),
        1 => text().prop_map(|name| Change::Forget(name.into())),
        1 => act().prop_map(|act| Change::Act(Box::new(act))),
        1 => (text(), vec(any::<u8>(), 0..400))
            .prop_map(|(name, value)| Change::Meta(name.into(), value.into())),
    ]
}

proptest! {
    #[test]
    fn what_was_written_is_read(change in change()) {
        prop_assert_eq!(decode(&encoded(&change)), Ok(change));
    }

    #[test]
    fn any_changed_byte_is_noticed(change in change(), at in any::<prop::sample::Index>(), bit in 0..8u32) {
        let mut bytes = encoded(&change);
        let at = at.index(bytes.len());
        bytes[at] ^= 1u8 << bit;
        prop_assert!(decode(&bytes).is_err());
    }

    #[test]
    fn no_part_of_a_record_is_a_record(change in change(), at in any::<prop::sample::Index>()) {
        let bytes = encoded(&change);
        prop_assert!(decode(&bytes[..at.index(bytes.len())]).is_err());
    }

    /// The checksum is made to fit, so that the decoder itself meets the bytes.
    #[test]
    fn any_bytes_end_in_a_fact_or_an_error(mut bytes in vec(any::<u8>(), 0..300), kind in 0..9u8) {
        let head = [1, kind];
        bytes.splice(0..0, head);
        bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
        if let Ok(change) = decode(&bytes) {
            prop_assert_eq!(decode(&encoded(&change)), Ok(change));
        }
    }

    /// As above, but from bytes that are nearly a record.
    #[test]
    fn nearly_a_record_ends_in_a_fact_or_an_error(
        change in change(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = encoded(&change);
        bytes.truncate(bytes.len() - 4);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
        let _ = decode(&bytes);
    }
}

fn sealed(body: &[u8]) -> Vec<u8> {
    [body, &crc32c::crc32c(body).to_le_bytes()].concat()
}

#[test]
fn what_is_unknown_is_an_error() {
    let body = {
        let bytes = encoded(&Change::Meta("a".into(), [].into()));
        bytes[..bytes.len() - 4].to_vec()
    };
    assert!(decode(&sealed(&body)).is_ok());
    let with = |at: usize, byte: u8| {
        let mut body = body.clone();
        body[at] = byte;
        decode(&sealed(&body))
    };
    assert_eq!(with(0, 2), Err(RecordError::Version(2)));
    assert_eq!(with(1, 8), Err(RecordError::Kind(8)));
    assert_eq!(decode(&sealed(&[&body[..], b"x"].concat())), Err(RecordError::Trailing(1)));
    assert_eq!(decode(&[]), Err(RecordError::Short("checksum")));
}

/// The format is on disks: this record must be read for ever.
#[test]
fn the_first_version_stays_readable() {
    let hw = HwAddr::ethernet(Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]));
    let lease = Lease {
        network: NetworkId(7),
        resource: Resource::V4(Ipv4Addr::new(10, 0, 0, 9)),
        client: ClientKey::hardware(&hw),
        hw,
        state: State::Leased,
        since: Timestamp(1000),
        updated: Timestamp(1128),
        until: Timestamp(1129),
        port: None,
        uses: Default::default(),
        details: Arc::new(Details { hostname: Some("vm".into()), ..Details::default() }),
    };
    let change = Change::Put(lease, Cause::Renewed);
    let body = [
        &[1, 1, 7, 0, 0, 0, 4, 10, 0, 0, 9][..],
        &[8, 1, 1, 0x52, 0x54, 0, 0x12, 0x34, 0x56],
        &[0x81, 1, 0xe8, 0x07, 0x80, 0x01, 1, 2, b'v', b'm'],
    ]
    .concat();
    assert_eq!(encoded(&change), sealed(&body));
    assert_eq!(decode(&sealed(&body)), Ok(change));
}

/// The same for what a delegated prefix says of its router.
#[test]
fn a_next_hop_stays_readable() {
    let hw = HwAddr::ethernet(Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]));
    let next_hop = Some("fe80::9%br0".parse().unwrap());
    let lease = Lease {
        network: NetworkId(7),
        resource: Resource::Prefix6("2001:db8:8000::".parse().unwrap(), 56),
        client: ClientKey::hardware(&hw),
        hw,
        state: State::Leased,
        since: Timestamp(1),
        updated: Timestamp(1),
        until: Timestamp(2),
        port: None,
        uses: Default::default(),
        details: Arc::new(Details { next_hop, ..Details::default() }),
    };
    let change = Change::Put(lease, Cause::Renewed);
    let body = [
        &[1, 1, 7, 0, 0, 0, 7, 0x20, 1, 0x0d, 0xb8, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 56][..],
        &[8, 1, 1, 0x52, 0x54, 0, 0x12, 0x34, 0x56, 0xa0, 1, 1, 0, 1],
        &[0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 3, b'b', b'r', b'0'],
    ]
    .concat();
    assert_eq!(encoded(&change), sealed(&body));
    assert_eq!(decode(&sealed(&body)), Ok(change));
}

/// The same for what the second format added.
#[test]
fn reasons_and_acts_stay_readable() {
    let resource = Resource::V4(Ipv4Addr::new(10, 0, 0, 9));
    let lifted = Change::Remove(NetworkId(7), resource, Some(Timestamp(200)));
    assert_eq!(encoded(&lifted), sealed(&[1, 5, 0xc8, 1, 7, 0, 0, 0, 4, 10, 0, 0, 9]),);
    assert_eq!(encoded(&Change::Forget("a".into())), sealed(&[1, 6, 1, b'a']));
    let act = Act {
        at: Timestamp(3),
        who: "me".into(),
        verb: "do".into(),
        object: "it".into(),
        account: None,
        before: Some("1".into()),
        after: Some("2".into()),
    };
    let body = [&[1, 7, 3, 6, 2][..], b"me\x02do\x02it\x011\x012"].concat();
    assert_eq!(encoded(&Change::Act(Box::new(act))), sealed(&body));
    let hw = HwAddr::ethernet(Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]));
    let lease = Lease {
        network: NetworkId(7),
        resource,
        client: ClientKey::hardware(&hw),
        hw,
        state: State::Leased,
        since: Timestamp(1),
        updated: Timestamp(1),
        until: Timestamp(2),
        port: None,
        uses: Default::default(),
        details: Arc::default(),
    };
    let body = [
        &[7, 0, 0, 0, 4, 10, 0, 0, 9][..],
        &[8, 1, 1, 0x52, 0x54, 0, 0x12, 0x34, 0x56, 0x80, 1, 1, 0, 1],
    ]
    .concat();
    let granted = Change::Put(lease.clone(), Cause::Granted);
    assert_eq!(encoded(&granted), sealed(&[&[1, 4, 2][..], &body].concat()));
    let imported = Change::Put(lease, Cause::Imported(Timestamp(200)));
    assert_eq!(encoded(&imported), sealed(&[&[1, 4, 1, 0xc8, 1][..], &body].concat()));
}

/// The largest act that is let in fits a record.
#[test]
fn an_act_within_its_bounds_fits() {
    let long = || Box::<str>::from("x".repeat(ACT_JSON_MAX));
    let (who, verb, object, account) = (long(), long(), long(), Some(long()));
    let (at, before, after) = (Timestamp(u64::MAX), Some(long()), Some(long()));
    let act = Act { at, who, verb, object, account, before, after }.bounded();
    assert_eq!(act.after.as_deref().map(str::len), Some(ACT_JSON_MAX));
    let change = Change::Act(Box::new(act));
    assert_eq!(decode(&encoded(&change)), Ok(change));
}

#[test]
fn what_cannot_be_stored_is_refused_and_leaves_nothing() {
    let mut out = b"before".to_vec();
    let long = Change::Meta("a".into(), vec![0; RECORD_MAX].into());
    assert_eq!(encode(&long, &mut out), Err(RecordError::TooLong(RECORD_MAX + 10)));
    assert_eq!(out, b"before");
}
