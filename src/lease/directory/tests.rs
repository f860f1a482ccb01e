use std::collections::BTreeMap;

use crate::base::{Mac, Timestamp};
use crate::config::policy::{Application, Hold, Level, Rate, ShadowTerms, Terms, Tier, TierOrder};

use super::*;

const NET: NetworkId = NetworkId(7);

fn kept(last: u8, account: Option<&str>) -> Kept {
    Kept::new(KeptParts {
        network: NET,
        who: Identifiers {
            mac: Some(Mac([2, 0, 0, 0, 0, last])),
            duid: Some([0, 3, 0, 1, last].into()),
            client_id: None,
            port: Some([1, last].into()),
        },
        v4: Some([10, 0, 0, last].into()),
        v6: vec!["2001:db8::1".parse().unwrap()],
        prefixes: vec!["2001:db8:100::/56".parse().unwrap()],
        hostname: Some("vm.example".into()),
        account: account.map(Into::into),
        application: account.map(|_| "web".into()),
        instance: Some(format!("vm{last}").into()),
    })
}

fn instance(last: u8, account: Option<&str>) -> Entry {
    Entry::Instance(Arc::new(Instance {
        id: format!("vm{last}").into(),
        kept: Arc::new(kept(last, account)),
        mac_made: true,
        duid_seen: true,
        wished: vec!["10.0.0.9".parse().unwrap()],
        region: Some("eu-1".into()),
        tags: [("rack".into(), "\"7\"\n".into())].into(),
        created: Timestamp(5),
        changed: Timestamp(6),
    }))
}

fn account() -> Entry {
    let terms = Terms {
        level: Some(Level::Premium),
        priority: Some(9),
        max_addresses: Some(4),
        max_prefixes: Some(0),
        max_standbys: Some(2),
        requests: Some(Rate { per_s: 1, burst: 2 }),
        hold: Hold { min: None, max: Some(crate::base::Span(3)) },
        shadow: ShadowTerms {
            ready: 3,
            max: Some(9),
            quantile: Some(70),
            contiguous: true,
            sticky: true,
            ranges: Vec::new(),
        },
        tier: Some(TierOrder::of(&[Tier::Hot, Tier::Warm])),
    };
    Entry::Account(Arc::new(Account {
        name: "shop".into(),
        terms,
        networks: vec![NET],
        pools: vec!["10.0.0.0/24".parse().unwrap(), "2001:db8::1-2001:db8::9".parse().unwrap()],
        applications: Vec::new(),
    }))
}

/// A pair of every sort of resource; its standby is `last`.
fn pair(last: u8, state: StandbyState) -> Standby {
    let who = |last: u8| Identifiers {
        mac: Some(Mac([2, 0, 0, 0, 1, last])),
        duid: Some([0, 3, 0, 1, 9, last].into()),
        ..Identifiers::default()
    };
    let resources: Vec<Resource> =
        ["10.0.0.77", "2001:db8::77", "2001:db8:700::/56"].map(|text| text.parse().unwrap()).into();
    let told = Told {
        resource: resources[0],
        client: crate::base::ClientKey::client_id(&[255, 1, last]),
        until: Timestamp(90),
        next_hop: Some("fe80::2%br0".parse().unwrap()),
    };
    Standby {
        id: "db".into(),
        network: NET,
        resources,
        active: Party { who: who(1), port: Some("tap1".into()), host: None },
        standby: Party { who: who(last), port: Some("tap2".into()), host: Some("hv2".into()) },
        hostname: Some("db-b".into()),
        account: Some("shop".into()),
        application: Some("web".into()),
        instance: Some("vm1".into()),
        state,
        progress: 42,
        gated: true,
        epoch: 3,
        planned: None,
        on_failure: crate::config::policy::OnFailure::Switch,
        unfenced: true,
        told: vec![told],
        created: Timestamp(5),
        changed: Timestamp(6),
        until: Timestamp(700),
    }
}

fn switchover(step: Step) -> Switchover {
    Switchover {
        kind: Kind::Failure,
        step,
        forced: true,
        by: "token \"ops\"".into(),
        started: Timestamp(8),
        before: Readiness::Synced,
        noted: vec![(Step::Intended, Timestamp(9))],
        outage_us: Some(1_500),
    }
}

#[test]
fn standbys_survive_the_store_in_each_state() {
    let switching = Step::ALL.map(|step| StandbyState::Switching(switchover(step)));
    let promoted = StandbyState::Promoted(switchover(Step::Terminated));
    let plain = [StandbyState::Preparing, StandbyState::Synced, StandbyState::Ready];
    for state in plain.into_iter().chain(switching).chain([promoted]) {
        let (mut directory, mut changes) = (Directory::default(), Vec::new());
        let made = Arc::new(pair(2, state));
        directory.put(Seq(1), Entry::Standby(Arc::clone(&made)), &mut changes);
        let mut again = Directory::default();
        for (name, value) in facts(&directory) {
            assert_eq!(again.load(&name, &value), Ok(true));
        }
        assert_eq!(again.standby("db"), Some(&made));
        assert_eq!(facts(&again), facts(&directory));
    }
    let mut directory = Directory::default();
    let text = String::from_utf8(
        fact::encode(&Entry::Standby(Arc::new(pair(2, StandbyState::Ready)))).into(),
    )
    .unwrap();
    for (was, is) in [
        ("\"ready\"", "\"switching\""),
        ("\"progress\":42", "\"progress\":101"),
        ("10.0.0.77", "10.0.0.777"),
        ("02:00:00:00:01:02", "02:00"),
        ("\"switch\"", "\"panic\""),
    ] {
        let bad = text.replace(was, is);
        assert_ne!(bad, text);
        let read = directory.load("standby/db", bad.as_bytes());
        assert!(matches!(read, Err(FactError::Damaged { .. })), "{bad}: {read:?}");
    }
}

#[test]
fn a_standby_is_found_by_what_it_shares_and_who_it_is_until_it_is_gone() {
    let (mut directory, mut changes) = (Directory::default(), Vec::new());
    let mac = |last| Mac([2, 0, 0, 0, 1, last]);
    let found = |directory: &Directory| {
        let addr = "10.0.0.77".parse().unwrap();
        let by = [
            directory.pair_of(NET, addr).is_some(),
            directory.pair_of_standby(NET, Identifier::Mac(mac(2))).is_some(),
            directory.pair_of_standby(NET, Identifier::Duid(&[0, 3, 0, 1, 9, 2])).is_some(),
            directory.pairs_of_active(NET, mac(1)).len() == 1,
            directory.standbys_on(NET) == 1
                && directory.standbys_for(&("shop".into(), Some("web".into()))) == 1,
            directory.next_standby_due() == Some((Timestamp(700), &"db".into())),
        ];
        assert!(by.iter().all(|each| *each == by[0]), "{by:?}");
        by[0]
    };
    directory.put(Seq(1), Entry::Standby(Arc::new(pair(2, StandbyState::Preparing))), &mut changes);
    assert!(found(&directory));
    assert!(directory.pair_of_standby(NET, Identifier::Mac(mac(1))).is_none());
    assert!(directory.pair_of(NetworkId(8), "10.0.0.77".parse().unwrap()).is_none());
    directory.committed(Seq(1));
    directory.remove(Seq(2), "standby/db", &mut changes).unwrap();
    assert!(!found(&directory));
    let touched = directory.take_back(Seq(2));
    assert!(found(&directory) && touched.len() == 3, "{touched:?}");
    directory.remove(Seq(2), "standby/db", &mut changes).unwrap();
    assert_eq!(directory.committed(Seq(2)).len(), 3);
    assert!(!found(&directory) && directory.held().next().is_none());
}

fn facts(directory: &Directory) -> BTreeMap<Box<str>, Box<[u8]>> {
    directory.facts().collect()
}

#[test]
fn entries_survive_the_store() {
    let mut directory = Directory::default();
    let application = Application { name: "web".into(), terms: Terms::default() };
    let mut parts = kept(4, None).parts();
    parts.instance = None;
    let host = Entry::Host(Arc::new(Host {
        id: "r1".into(),
        kept: Arc::new(Kept::new(parts)),
        created: Timestamp(1),
        changed: Timestamp(2),
    }));
    let application = Entry::Application("shop".into(), Arc::new(application));
    let mut changes = Vec::new();
    for entry in [instance(1, Some("shop")), host, account(), application] {
        directory.put(Seq(1), entry, &mut changes);
    }
    let mut again = Directory::default();
    for (name, value) in facts(&directory) {
        assert_eq!(again.load(&name, &value), Ok(true));
    }
    assert_eq!(facts(&again), facts(&directory));
    assert_eq!(again.instance("vm1"), directory.instance("vm1"));
    assert_eq!(again.host("r1"), directory.host("r1"));
    let standing = again.accounts().get("shop").unwrap();
    assert_eq!(standing.account.application("web").map(|a| &*a.name), Some("web"));
    let Entry::Account(made) = account() else { unreachable!() };
    assert_eq!(standing.account.terms, made.terms);
    assert_eq!(
        (&standing.account.networks, &standing.account.pools),
        (&made.networks, &made.pools)
    );
}

#[test]
fn other_facts_are_left_alone_and_newer_ones_refused() {
    let mut directory = Directory::default();
    assert_eq!(directory.load("clock", b"1"), Ok(false));
    assert_eq!(directory.load("token/7", b"{}"), Ok(false));
    let newer = directory.load("instance/x", br#"{"form":2,"strange":1}"#);
    assert!(matches!(newer, Err(FactError::Newer { found: 2, .. })), "{newer:?}");
    for bad in [&b""[..], b"{}", b"[]", br#"{"form":1,"mac":"x"}"#, br#"{"form":1,"more":1}"#] {
        let read = directory.load("host/x", bad);
        assert!(matches!(read, Err(FactError::Damaged { .. })), "{read:?}");
    }
    assert!(directory.is_empty());
}

#[test]
fn what_is_lost_is_taken_back_from_every_index() {
    let (mut directory, mut changes) = (Directory::default(), Vec::new());
    let shop: Owner = ("shop".into(), None);
    let web: Owner = ("shop".into(), Some("web".into()));
    directory.put(Seq(1), instance(1, Some("shop")), &mut changes);
    assert_eq!(directory.committed(Seq(1)), []);
    let before = facts(&directory);
    let held = Held { addresses: 2, prefixes: 1 };
    assert_eq!((directory.kept_for(&shop), directory.kept_for(&web)), (held, held));

    directory.remove(Seq(2), "instance/vm1", &mut changes).unwrap();
    directory.put(Seq(3), instance(1, None), &mut changes);
    let addr = Resource::V4([10, 0, 0, 1].into());
    assert!(directory.is_pending(NET, addr));
    assert_eq!(directory.kept_for(&shop), Held::default());
    assert!(directory.take_back(Seq(2)).contains(&(NET, addr)));
    assert_eq!(facts(&directory), before);
    assert_eq!((directory.kept_for(&shop), directory.members(&web)), (held, 1));
    assert!(!directory.is_pending(NET, addr) && directory.is_name("vm"));
    for id in [Identifier::Mac(Mac([2, 0, 0, 0, 0, 1])), Identifier::Duid(&[0, 3, 0, 1, 1])] {
        assert!(directory.find(NET, id).is_some(), "{id:?}");
        assert!(directory.find(NetworkId(8), id).is_none());
    }

    directory.remove(Seq(2), "instance/vm1", &mut changes).unwrap();
    assert!(directory.committed(Seq(2)).contains(&(NET, addr)));
    assert!(directory.find(NET, Identifier::Port(&[1, 1])).is_none());
    assert!(directory.keeper(NET, addr).is_none() && !directory.is_name("vm"));
}

#[test]
fn the_configuration_counts_before_what_was_made() {
    let (mut directory, mut changes) = (Directory::default(), Vec::new());
    directory.put(Seq(1), account(), &mut changes);
    let declared = |applications: &[&str]| {
        let named = |name: &&str| Application { name: (*name).into(), terms: Terms::default() };
        let applications = applications.iter().map(named).collect();
        vec![Arc::new(Account { name: "shop".into(), applications, ..Account::default() })]
    };
    let extra = Application { name: "extra".into(), terms: Terms::default() };
    directory.put(Seq(1), Entry::Application("shop".into(), Arc::new(extra)), &mut changes);
    directory.declare(&declared(&["web"]));
    let standing = directory.accounts().get("shop").unwrap();
    assert!(standing.is_declared && standing.account.terms == Terms::default());
    let names: Vec<&str> = standing.account.applications.iter().map(|a| &*a.name).collect();
    assert_eq!(names, ["extra", "web"]);
    directory.declare(&[]);
    let standing = directory.accounts().get("shop").unwrap();
    assert_eq!((standing.is_declared, standing.account.priority(None)), (false, 9));
    assert_eq!(directory.accounts().len(), 1);
}

#[test]
fn a_lease_from_elsewhere_is_of_the_instance_that_it_is_kept_for_here() {
    let (mut directory, mut changes) = (Directory::default(), Vec::new());
    directory.put(Seq(1), instance(1, None), &mut changes);
    let of = |resource: &str, instance: Option<&str>| {
        let hw = crate::base::HwAddr::ethernet(Mac([2, 0, 0, 0, 0, 1]));
        let lease = Lease {
            network: NET,
            resource: resource.parse().unwrap(),
            client: crate::base::ClientKey::hardware(&hw),
            hw,
            state: crate::lease::State::Leased,
            since: Timestamp(1),
            updated: Timestamp(1),
            until: Timestamp(9),
            port: None,
            uses: Default::default(),
            details: Arc::new(Details { instance: instance.map(Into::into), ..Details::default() }),
        };
        directory.attributed(lease).details.instance.as_deref().map(String::from)
    };
    let vm1 = Some("vm1".to_owned());
    assert_eq!(of("10.0.0.1", Some("vm1")), vm1);
    assert_eq!(of("10.0.0.1", None), vm1);
    assert_eq!(of("10.0.0.1", Some("vm9")), vm1);
    assert_eq!(of("10.0.0.2", Some("vm1")), None, "counted for it where it is kept, and not twice");
    assert_eq!(of("2001:db8:200::/56", Some("vm1")), vm1);
    assert_eq!(of("2001:db8:200::/56", Some("vm9")), None);
}
