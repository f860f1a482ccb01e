use super::*;
use crate::lease::{QuarantineReason, State};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

const NET: NetworkId = NetworkId(1);

fn lease(last: u8, client: u8, state: State, until: u64) -> Lease {
    let hw = HwAddr::new(1, &[client; 6]).unwrap();
    Lease {
        network: NET,
        resource: Ipv4Addr::new(10, 0, 0, last).into(),
        client: ClientKey::hardware(&hw),
        hw,
        state,
        since: Timestamp(0),
        updated: Timestamp(0),
        until: Timestamp(until),
        port: None,
        uses: Default::default(),
        details: Default::default(),
    }
}

const HALF_LIFE: Span = Span::from_secs(1);

fn resource(last: u8) -> Resource {
    Ipv4Addr::new(10, 0, 0, last).into()
}

#[test]
fn every_index_finds_a_binding_and_forgets_it() {
    let mut table = LeaseTable::default();
    let one = lease(1, 9, State::Leased, 50);
    table.put(Seq(1), one.clone(), Cause::Granted, HALF_LIFE, &mut Vec::new());
    assert_eq!(table.get(NET, resource(1)), Some(&one));
    assert_eq!(table.of_client(NET, &one.client).collect::<Vec<_>>(), [&one]);
    assert_eq!(table.of_hw(NET, &one.hw).collect::<Vec<_>>(), [&one]);
    assert_eq!(table.first_due(Timestamp(50)), Some(&one));
    assert_eq!(table.first_due(Timestamp(49)), None);
    table.remove(Seq(1), NET, resource(1), None, &mut Vec::new());
    assert!(table.is_empty() && table.get(NET, resource(1)).is_none());
    assert_eq!(table.of_client(NET, &one.client).count() + table.of_hw(NET, &one.hw).count(), 0);
    assert_eq!(table.next_deadline(), None);
}

#[test]
fn the_other_network_is_another_world() {
    let mut table = LeaseTable::default();
    let one = lease(1, 9, State::Leased, 50);
    let two = Lease { network: NetworkId(2), ..one.clone() };
    table.load(one.clone());
    table.load(two.clone());
    assert_eq!(table.get(NetworkId(2), resource(1)), Some(&two));
    assert_eq!(table.of_client(NET, &one.client).count(), 1);
}

#[test]
fn a_resource_settles_with_its_last_pending_write() {
    let mut table = LeaseTable::default();
    table.put(Seq(1), lease(1, 1, State::Leased, 50), Cause::Granted, HALF_LIFE, &mut Vec::new());
    table.put(
        Seq(2),
        lease(1, 1, State::Released, 10),
        Cause::Released,
        HALF_LIFE,
        &mut Vec::new(),
    );
    let mut settled = Vec::new();
    table.committed(Seq(1), |_, key| settled.push(key));
    assert!(settled.is_empty() && table.is_pending(NET, resource(1)));
    table.committed(Seq(2), |_, key| settled.push(key));
    assert_eq!(settled, [(NET, resource(1))]);
}

#[derive(Clone, Debug)]
enum Op {
    Put(u8, u8, u8),
    Remove(u8),
    Commit,
    Fail,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => (0u8..6, 0u8..4, 0u8..4).prop_map(|(a, c, s)| Op::Put(a, c, s)),
        1 => (0u8..6).prop_map(Op::Remove),
        1 => Just(Op::Commit),
        1 => Just(Op::Fail),
    ];
    prop::collection::vec(op, 0..80)
}

proptest! {
    /// After a failed commit the table is exactly what was durable, in every index.
    #[test]
    fn taking_back_restores_what_was_durable(ops in ops()) {
        let mut table = LeaseTable::default();
        let (mut durable, mut current) = (BTreeMap::new(), BTreeMap::new());
        let mut seq = Seq(1);
        for op in ops {
            match op {
                Op::Put(addr, client, state) => {
                    let state = [
                        State::Leased,
                        State::Expired,
                        State::Released,
                        State::Quarantined(QuarantineReason::Declined),
                    ][usize::from(state)];
                    let new = lease(addr, client, state, u64::from(addr) + 5);
                    table.put(seq, new.clone(), Cause::Granted, HALF_LIFE, &mut Vec::new());
                    let uses = table.get(NET, resource(addr)).unwrap().uses;
                    current.insert(addr, Lease { uses, ..new });
                }
                Op::Remove(addr) => {
                    current.remove(&addr);
                    table.remove(seq, NET, resource(addr), None, &mut Vec::new());
                }
                Op::Commit => {
                    table.committed(seq, |_, _| {});
                    durable = current.clone();
                }
                Op::Fail => {
                    table.take_back(seq);
                    current = durable.clone();
                }
            }
            if matches!(op, Op::Commit | Op::Fail) {
                seq = seq.next();
            }
            prop_assert_eq!(table.len(), current.len());
            for (addr, want) in &current {
                prop_assert_eq!(table.get(NET, resource(*addr)), Some(want));
                prop_assert!(table.of_client(NET, &want.client).any(|l| l == want));
                prop_assert!(table.of_hw(NET, &want.hw).any(|l| l == want));
            }
            let held = current.values().filter(|l| l.state.is_held());
            prop_assert_eq!(table.next_deadline(), held.map(|l| l.until).min());
            let leased = current.values().filter(|l| l.state == State::Leased).count() as u64;
            let counts = table.counts(NET, Sort::V4);
            prop_assert_eq!(counts.leased, leased);
            let quarantined = counts.quarantined + counts.remembered;
            prop_assert_eq!(leased + quarantined, current.len() as u64);
        }
    }
}
