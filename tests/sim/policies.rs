//! The configurations that are put in force in turn.

use std::sync::Arc;

use foreshadow::config::{self, Policy};

use super::random::Random;

/// The configurations that are put in force in turn.
pub(crate) fn policies(seed: u64) -> Vec<Arc<Policy>> {
    let mut random = Random::new(seed ^ 0xcaf);
    let parse = |text: &&str| {
        let text = format!("{text}{}", cloud(&mut random));
        Arc::new(config::check(&text, "sim").expect("sound").policy)
    };
    POLICIES.iter().map(parse).collect()
}

pub(crate) const POLICIES: [&str; 2] = [
    "[[network]]\nname='lab'\ninterfaces=['br0']\nauthoritative=true\nquarantine='30s'\n\
     offers_max=12\ndeclines_max=1000\nverify={ready=2,probes_per_s=50}\nlease={min='5s',default='60s'}\n\
     [[network.subnet]]\nprefix='10.0.0.0/24'\npools=['10.0.0.2-10.0.0.19']\n\
     [[network.subnet]]\nprefix='2001:db8:1::/64'\npools=['2001:db8:1::2-2001:db8:1::f']\n\
     delegations=[{prefix='2001:db8:aa00::/56',length=60,min_length=58,max_length=61}]\n\
     [[network.reservation]]\nmac='02:00:00:00:00:01'\naddress='10.0.0.5'\n\
     [[network]]\nname='far'\nrelays=['10.9.0.0/24','2001:db8:9::/64']\nserver_id='10.8.0.1'\n\
     rapid_commit=true\nquarantine='30s'\noffers_max=40\noffer_hold='10s'\ndeclines_max=1000\n\
     lease={min='5s',default='30s'}\n\
     [[network.subnet]]\nprefix='10.9.0.0/24'\npools=['10.9.0.10-10.9.0.250']\n\
     [[network.subnet]]\nprefix='2001:db8:9::/64'\npools=['2001:db8:9::2-2001:db8:9::ff']\n\
     delegations=[{prefix='2001:db8:bb00::/56',length=60}]\n",
    "[[network]]\nname='lab'\ninterfaces=['br0']\nrapid_commit=true\n\
     quarantine='30s'\noffers_max=12\ndeclines_max=1000\nverify=false\nlease={min='5s',default='20s'}\n\
     [[network.subnet]]\nprefix='10.0.0.0/24'\npools=['10.0.0.6-10.0.0.22']\n\
     [[network.subnet]]\nprefix='2001:db8:1::/64'\npools=['2001:db8:1::4-2001:db8:1::14']\n\
     delegations=[{prefix='2001:db8:aa00::/56',length=59,min_length=57}]\n\
     [[network.reservation]]\nmac='02:00:00:00:00:02'\naddress='10.0.0.6'\n\
     [[network]]\nname='far'\nrelays=['10.9.0.0/24','2001:db8:9::/64']\nserver_id='10.8.0.1'\n\
     rapid_commit=true\nquarantine='30s'\noffers_max=40\noffer_hold='10s'\ndeclines_max=1000\n\
     lease={min='5s',default='40s'}\n\
     [[network.subnet]]\nprefix='10.9.0.0/24'\npools=['10.9.0.10-10.9.0.240']\n\
     [[network.subnet]]\nprefix='2001:db8:9::/64'\npools=['2001:db8:9::2-2001:db8:9::ff']\n\
     delegations=[{prefix='2001:db8:bb00::/56',length=60}]\n",
];

/// Where the orchestrator's machines are; the account that it makes is as the first. How long
/// addresses are kept back, how fast they are proven and how many there may be is left to chance.
fn cloud(random: &mut Random) -> String {
    let max = random.within(10, 60);
    let hold = match random.below(4) {
        0 | 1 => String::new(),
        2 => format!("hold={{max='{max}s'}}\n"),
        _ => format!("hold={{min='{}s',max='{max}s'}}\n", random.within(1, 10)),
    };
    let (ready, probes) = (random.within(1, 3), random.pick(&[1, 1, 50]));
    let tiers = match random.below(2) {
        0 => "",
        _ => "tiers={hot={min='20%'},cold={max='60%',lease={default='30s'}}}\n",
    };
    let (cap, of_web) = (random.within(5, 9), random.within(2, 6));
    let (ready_of_acme, ready_of_web) = (random.below(3), random.below(3));
    let (of_nobody, short) = (random.pick(&[3, 7, 9]), random.pick(&[0, 5, 20]));
    let (most, per_owner) = (random.within(6, 24), random.within(2, 12));
    let (max_age, topup, keep_free) =
        (random.within(60, 100), random.pick(&[0, 5, 30]), random.pick(&[0, 0, 10, 50]));
    let shrink = random.pick(&[1, 10, 100]);
    format!(
        "[[network]]\nname='cloud'\ninterfaces=['br1']\nquarantine='30s'\n{hold}\
         offers_max=40\ndeclines_max=1000\nverify={{ready={ready},probes_per_s={probes}}}\n\
         lease={{min='5s',default='90s'}}\nshort='{short}%'\n{tiers}\
         [[network.subnet]]\nprefix='10.1.0.0/24'\npools=['10.1.0.10-10.1.0.21']\n\
         [[network.subnet]]\nprefix='2001:db8:c::/64'\npools=['2001:db8:c::10-2001:db8:c::1f']\n\
         [[account]]\nname='acme'\nnetworks=['cloud']\npriority=7\nmax_addresses={cap}\n\
         shadow={{ready={ready_of_acme},max=5}}\n\
         [[account.application]]\nname='web'\nmax_addresses={of_web}\nshadow={{ready={ready_of_web}}}\n\
         [[account]]\nname='nobody'\nnetworks=['cloud']\npriority={of_nobody}\n\
         [shadow]\nmax={most}\nmax_per_owner={per_owner}\nmax_age='{max_age}s'\ntopup='{topup}s'\n\
         keep_free='{keep_free}%'\nverify_every='10s'\nshrink='{shrink}%'\n\
         [[class]]\nname='acme'\nmatch={{mac=['02:00:00:71']}}\naccount='acme'\n\
         [[class]]\nname='web'\nmatch={{mac=['02:00:00:72']}}\naccount='acme'\napplication='web'\n"
    )
}
