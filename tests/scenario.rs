//! Dialogues as data: each file in `tests/scenario` is a policy, then lines of
//!
//! ```text
//! TIME WHO VERB ARGUMENTS -> EXPECTATION
//! ```
//!
//! played against the engine on a virtual clock. `scenario/README.md` has the words. The store is
//! a map that commits at once, unless a line says otherwise; after every line the invariants
//! of the engine are checked against it.

#![allow(clippy::unwrap_used, clippy::expect_used)] // A panic is how a test fails.

#[path = "scenario/check.rs"]
mod check;
#[path = "scenario/check6.rs"]
mod check6;
#[path = "scenario/directory.rs"]
mod directory;
#[path = "scenario/invariants.rs"]
mod invariants;
#[path = "scenario/shadows.rs"]
mod shadows;
#[path = "scenario/standbys.rs"]
mod standbys;
#[path = "sim/tiers.rs"]
mod tiers;
#[path = "scenario/words.rs"]
mod words;
#[path = "scenario/world.rs"]
mod world;
#[path = "scenario/world4.rs"]
mod world4;
#[path = "scenario/world6.rs"]
mod world6;

use std::path::Path;

fn play(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenario").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    if let Err(fault) = world::play(&text) {
        panic!("{name}: {fault}");
    }
}

/// Every file is played by a test of its own name; a file without one fails here.
macro_rules! scenarios {
    ($($name:ident)*) => {
        $(#[test] fn $name() { play(concat!(stringify!($name), ".txt")); })*

        #[test]
        fn every_file_is_played() {
            let listed = [$(concat!(stringify!($name), ".txt")),*];
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenario");
            let mut found: Vec<String> = std::fs::read_dir(folder)
                .expect("tests/scenario is there")
                .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
                .filter(|name| name.ends_with(".txt"))
                .collect();
            found.sort();
            let mut listed = listed.map(String::from).to_vec();
            listed.sort();
            assert_eq!(found, listed);
        }
    };
}

scenarios! {
    account_caps account_displaced account_pools account_priority account_priority6 account_rate account_rate6 adoption affinity boot_chain bootp choice classes
    clones declines destinations exhaustion foreign_servers hostile_client_id_empty
    hostile_deafening hostile_flood hostile_foreign_decline hostile_foreign_release
    hostile_forged_adoption hostile_forged_arp hostile_guest_relay hostile_hlen hostile_hostname
    hostile_names hostile_no_subnet hostile_other_port hostile_own_address hostile_pool_removed
    hostile_port_full hostile_reserved_clone hostile_short_relayed hostile_subnet_deleted
    hostile_unknown_port hostile_unproven_select hostile_v6_duid_long hostile_v6_flood
    hostile_v6_foreign_decline hostile_v6_foreign_release hostile_v6_guest_relay hostile_v6_many
    hostile_v6_many_doubts hostile_v6_names hostile_v6_no_subnet hostile_v6_own_address
    hostile_v6_port_full hostile_v6_relay_depth hostile_v6_reserved_duid hostile_v6_subnet_deleted
    identity inform instance_clones instance_ends instance_hosts instance_restart instance_store_failure instance_v6 instances lifecycle options quarantine rapid_commit relay_links relays relocate relocate_by_hand relocate_policy relocate_v6 instance_ghosts reservations shadow_age shadow_caps shadow_claims shadow_evicted shadow_fall shadow_ghosts shadow_hand shadow_ranks shadow_ready shadow_reserved shadow_restart shadow_sticky shadow_yields shadow_outranks tiers tiers_shadows tiers_v6
    shorter_lease standby standby_clone standby_conflict standby_ends standby_named standby_promoted
    standby_relocate standby_reserved standby_restart
    standby_store_failure standby_v6 states store_failure times times_adaptive v6_adoption v6_boot v6_classes v6_clones
    v6_clones_reload v6_confirm v6_declines v6_delegation_hints v6_exclude
    v6_generate v6_no_addrs v6_no_binding v6_no_prefix v6_not_on_link v6_options v6_partial
    v6_preference v6_rapid_commit v6_rebind v6_relays v6_reload v6_reservations v6_several_questions
    v6_stable v6_states v6_store_failure v6_times v6_validation v6_verifier verifier
}

#[test]
fn a_wrong_expectation_is_found() {
    let text = "[[network]]\nname='lab'\ninterfaces=['br0']\nverify=false\n[[network.subnet]]\n\
                prefix='10.0.0.0/24'\npools=['10.0.0.10-10.0.0.20']\n---\n\
                0s c1 discover -> offer 10.0.0.11\n";
    let fault = world::play(text).expect_err("10.0.0.10 comes first");
    assert!(fault.contains("offer 10.0.0.10"), "{fault}");
}
