//! Networks, pools, the store and alarms: what the engine's thread says, with the names of the
//! policy. How many series that may be is bounded by `[metrics]`.

use crate::api::exposition::{Exposition, Family};
use crate::api::gauges::{Figures, NetworkFigures, PoolFigures};
use crate::base::Sort;
use crate::config::policy::{Network, Tier};
use crate::lease::Counts;

/// Networks, pools and accounts that have no series of their own. No network may be called so.
pub(super) const OTHER: &str = "(other)";
/// All of a pool, whatever tier it counts for.
const TIER: &str = "all";

/// A network of the policy and its figures.
type Pair<'a> = (&'a Network, &'a NetworkFigures);

/// Writes all of them.
pub(super) fn write(pages: &[Figures], out: &mut Exposition) {
    let figures = pages.iter().flat_map(|page| &page.networks);
    let policy = pages.first().map(|page| &page.policy);
    let names = policy.into_iter().flat_map(|policy| &policy.networks);
    let all: Vec<Pair<'_>> = names.zip(figures).collect();
    let most = policy.map_or(0, |policy| policy.metrics.pools);
    pools(&pool_rows(&all, most), out);
    networks(&network_rows(&all, most), out);
    accounts(pages.first(), out);
    super::shadows::write(pages.first(), out);
    store(pages.first(), out);
    alarms(pages.first(), &all, out);
}

/// The figures of one pool, or of several together.
struct PoolRow {
    network: String,
    name: String,
    figures: PoolFigures,
}

fn pool_rows(all: &[Pair<'_>], most: usize) -> Vec<PoolRow> {
    let each = all
        .iter()
        .flat_map(|(network, figures)| figures.pools.iter().map(move |pool| (*network, *pool)));
    let mut rows: Vec<PoolRow> = Vec::new();
    let mut others: Vec<PoolRow> = Vec::new();
    for (network, figures) in each {
        if rows.len() < most {
            let name = pool_name(network, &figures);
            rows.push(PoolRow { network: network.name.to_string(), name, figures });
        } else if let Some(other) = others.iter_mut().find(|o| o.figures.sort == figures.sort) {
            add_pool(&mut other.figures, &figures);
        } else {
            others.push(PoolRow { network: OTHER.into(), name: OTHER.into(), figures });
        }
    }
    rows.append(&mut others);
    rows
}

fn pool_name(network: &Network, pool: &PoolFigures) -> String {
    let subnet6 = network.subnets6.get(pool.subnet);
    let name = match pool.sort {
        Sort::V4 => network.subnets.get(pool.subnet).and_then(|subnet| {
            let range = subnet.pools.get(pool.index)?.range;
            Some(format!("{}-{}", range.first, range.last))
        }),
        Sort::V6 => subnet6.and_then(|subnet| {
            let pool = subnet.pools.get(pool.index)?;
            Some(format!("{}-{}", pool.first, pool.last))
        }),
        Sort::Prefix6 => subnet6
            .and_then(|subnet| subnet.delegations.get(pool.index))
            .map(|pool| pool.prefix.to_string()),
    };
    name.unwrap_or_default()
}

fn add_pool(to: &mut PoolFigures, more: &PoolFigures) {
    to.size = to.size.saturating_add(more.size);
    to.free = to.free.saturating_add(more.free);
    to.proven += more.proven;
    for (to, more) in to.tiers.iter_mut().flatten().zip(more.tiers.iter().flatten()) {
        to.used = to.used.saturating_add(more.used);
        to.size = to.size.saturating_add(more.size);
        to.min = to.min.saturating_add(more.min);
        to.max = to.max.saturating_add(more.max);
    }
    add_counts(&mut to.bindings, &more.bindings);
}

fn add_counts(to: &mut Counts, more: &Counts) {
    to.leased += more.leased;
    to.remembered += more.remembered;
    to.shadows += more.shadows;
    to.quarantined += more.quarantined;
    to.in_use += more.in_use;
}

/// Networks with their names, those without series of their own as one.
fn network_rows(all: &[Pair<'_>], most: usize) -> Vec<(String, NetworkFigures)> {
    let named = |(network, figures): &Pair<'_>| (network.name.to_string(), (*figures).clone());
    let (shown, rest) = all.split_at(most.min(all.len()));
    let mut rows: Vec<_> = shown.iter().map(named).collect();
    let other = rest.iter().map(|(_, figures)| (*figures).clone()).reduce(|mut to, more| {
        for ((_, counts), (_, more)) in to.bindings.iter_mut().zip(&more.bindings) {
            add_counts(counts, more);
        }
        to.offers += more.offers;
        to.verifier.probed += more.verifier.probed;
        to.verifier.proven += more.verifier.proven;
        to.verifier.answered += more.verifier.answered;
        to.interfaces += more.interfaces;
        to.foreign_servers += more.foreign_servers;
        to
    });
    rows.extend(other.map(|other| (OTHER.to_owned(), other)));
    rows
}

fn family_name(sort: Sort) -> &'static str {
    match sort {
        Sort::V4 => "v4",
        Sort::V6 => "v6",
        Sort::Prefix6 => "prefix",
    }
}

fn pools(rows: &[PoolRow], out: &mut Exposition) {
    type Figure = fn(&PoolFigures) -> f64;
    let size: Figure = |pool| pool.size as f64;
    let mut gauge = |name, help, figures: &[(&str, Figure)]| {
        out.family(Family::gauge(name, help));
        for PoolRow { network, name, figures: pool } in rows {
            let family = family_name(pool.sort);
            let labels =
                [("network", &**network), ("family", family), ("pool", name), ("tier", TIER)];
            for (state, figure) in figures {
                let state = ("state", *state);
                let [a, b, c, d] = labels;
                match state.1 {
                    "" => out.value(&labels, figure(pool)),
                    _ => out.value(&[a, b, c, d, state], figure(pool)),
                }
            }
        }
    };
    gauge(
        "foreshadow_pool_size",
        "Addresses of a pool, without those excluded or reserved; of a pool of prefixes, those of \
         its longest length.",
        &[("", size)],
    );
    gauge(
        "foreshadow_pool_addresses",
        "Addresses of a pool by state: free; leased; shadow; quarantined; held, which is offered, on its way \
         to or from the disk, or the server's own. Of prefixes, held is 0 while some are shorter \
         than the longest length.",
        &[
            ("free", |pool| pool.free as f64),
            ("leased", |pool| pool.bindings.leased as f64),
            ("shadow", |pool| pool.bindings.shadows as f64),
            ("quarantined", |pool| pool.bindings.quarantined as f64),
            ("held", |pool| {
                let Counts { leased, shadows, quarantined, .. } = pool.bindings;
                let bound = leased.saturating_add(shadows).saturating_add(quarantined);
                pool.size.saturating_sub(pool.free).saturating_sub(u128::from(bound)) as f64
            }),
        ],
    );
    gauge(
        "foreshadow_pool_proven_addresses",
        "Free addresses of a pool that a probe found silent a short while ago.",
        &[("", |pool| pool.proven as f64)],
    );
    tiers(rows, out);
}

fn tiers(rows: &[PoolRow], out: &mut Exposition) {
    out.family(Family::gauge(
        "foreshadow_tier_addresses",
        "Addresses of a tier of a pool: used, which count for it; kept, which others leave to it, \
         used ones included; min and max, between which that moves.",
    ));
    for PoolRow { network, name, figures } in rows {
        let family = family_name(figures.sort);
        for (tier, share) in figures.tiers.iter().flat_map(|shares| Tier::ALL.iter().zip(shares)) {
            let states = [
                ("used", share.used),
                ("kept", share.size),
                ("min", share.min),
                ("max", share.max),
            ];
            for (state, figure) in states {
                let labels = [
                    ("network", &**network),
                    ("family", family),
                    ("pool", name),
                    ("tier", tier.as_str()),
                    ("state", state),
                ];
                out.value(&labels, figure as f64);
            }
        }
    }
}

fn networks(rows: &[(String, NetworkFigures)], out: &mut Exposition) {
    out.family(Family::gauge(
        "foreshadow_bindings",
        "Bindings of a network by state, those outside of pools included: leased; remembered, which \
         are free and kept for their client; declined, which a client or an operator put in \
         quarantine; in-use, which a stranger answers for.",
    ));
    for (network, figures) in rows {
        for (sort, counts) in &figures.bindings {
            let states = [
                ("leased", counts.leased),
                ("remembered", counts.remembered),
                ("declined", counts.quarantined.saturating_sub(counts.in_use)),
                ("in-use", counts.in_use),
            ];
            for (state, n) in states {
                let family = family_name(*sort);
                out.count(&[("network", network), ("family", family), ("state", state)], n);
            }
        }
    }
    let mut one = |family: Family, figure: fn(&NetworkFigures) -> u64| {
        out.family(family);
        rows.iter().for_each(|(name, of)| out.count(&[("network", name)], figure(of)));
    };
    let help = "Offers that nobody asked for yet.";
    one(Family::gauge("foreshadow_offers", help), |of| of.offers);
    let help = "Interfaces that serve a network now.";
    one(Family::gauge("foreshadow_network_interfaces", help), |of| of.interfaces);
    let help = "Other DHCP servers that were heard on a network.";
    one(Family::gauge("foreshadow_foreign_servers", help), |of| of.foreign_servers);
    let help = "Addresses that the verifier asked for, to prove them free.";
    one(Family::counter("foreshadow_verifier_probes", help), |of| of.verifier.probed);
    let help = "Addresses that the verifier proved free: nobody answered.";
    one(Family::counter("foreshadow_verifier_proofs", help), |of| of.verifier.proven);
    let help = "Answers for addresses that were thought free.";
    one(Family::counter("foreshadow_verifier_answers", help), |of| of.verifier.answered);
}

fn accounts(page: Option<&Figures>, out: &mut Exposition) {
    let help = "Leases by account: of those that have most; the rest is `(other)`.";
    out.family(Family::gauge("foreshadow_account_leases", help));
    let mut rest = page.map_or(0, |page| page.other_accounts);
    for (account, n) in page.into_iter().flat_map(|page| &page.accounts) {
        // Nobody checks what accounts are called, and two figures of one name spoil all of them.
        match &**account {
            OTHER => rest += n,
            account => out.count(&[("account", account)], *n),
        }
    }
    if page.is_some() {
        out.count(&[("account", OTHER)], rest);
    }
    out.family(Family::gauge("foreshadow_accounts", "Accounts that have leases."));
    page.into_iter().for_each(|page| out.count(&[], page.accounts_count));
}

fn store(page: Option<&Figures>, out: &mut Exposition) {
    let mut one = |family: Family, figure: fn(&Figures) -> f64| {
        out.family(family);
        page.into_iter().for_each(|page| out.value(&[], figure(page)));
    };
    let help = "Whether the store can write: 0 or 1.";
    one(Family::gauge("foreshadow_store_writable", help), |page| {
        f64::from(u8::from(page.store_writable))
    });
    let help = "Bytes on disk: journals and checkpoint.";
    one(Family::gauge("foreshadow_store_size_bytes", help), |page| page.store.disk_bytes as f64);
    let help = "Bytes of the journals; they grow while a checkpoint is late.";
    one(Family::gauge("foreshadow_store_journal_size_bytes", help), |page| {
        page.store.journal_bytes as f64
    });
    let help = "Bytes that are filled of the journal that is written.";
    one(Family::gauge("foreshadow_store_journal_used_bytes", help), |page| {
        page.store.journal_used_bytes as f64
    });
    let help = "Bindings in the store, in every state.";
    one(Family::gauge("foreshadow_store_bindings", help), |page| page.bindings as f64);
    let help = "Commits to the journal.";
    one(Family::counter("foreshadow_store_commits", help), |page| page.store.commits as f64);
    let help = "Changes in them.";
    one(Family::counter("foreshadow_store_changes", help), |page| page.store.changes as f64);
    let help = "Checkpoints: times that the journal was merged into the checkpoint.";
    one(Family::counter("foreshadow_store_checkpoints", help), |page| {
        page.store.checkpoints as f64
    });
    let help = "Length of the last sync of the journal, or how long a lease has been waiting for the \
                one under way, if that is more.";
    one(Family::gauge("foreshadow_store_lag_seconds", help), |page| page.store_lag.as_secs_f64());
}

fn alarms(page: Option<&Figures>, all: &[Pair<'_>], out: &mut Exposition) {
    out.family(Family::gauge(
        "foreshadow_alarm",
        "What an operator is to look at, each 0 or 1: the store cannot write; leases wait for the \
         disk; time is not known to be right, and nothing expires; a network has none of its \
         interfaces; another DHCP server was heard.",
    ));
    let Some(page) = page else { return };
    let missing =
        |(network, figures): &Pair<'_>| !network.interfaces.is_empty() && figures.interfaces == 0;
    let alarms = [
        ("store-failed", !page.store_writable),
        ("disk-slow", page.store_slow),
        ("clock-untrusted", !page.clock_trusted),
        ("interface-missing", all.iter().any(missing)),
        ("foreign-server", all.iter().any(|(_, figures)| figures.foreign_servers > 0)),
    ];
    for (kind, raised) in alarms {
        out.count(&[("kind", kind)], u64::from(raised));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;
    use std::time::Duration;

    use crate::api::exposition::Format;
    use crate::config::{self, Policy};
    use crate::engine::verify::VerifierTally;
    use crate::store::StoreStats;

    use super::*;

    /// So many networks with two pools each, of which one may be called as what is left is not.
    fn policy(networks: usize) -> Arc<Policy> {
        let network = |n: usize| {
            let (a, b) = (n / 250, n % 250);
            format!(
                "[[network]]\nname='other-{n}'\nrelays=['10.{a}.{b}.1']\n[[network.subnet]]\n\
                 prefix='10.{a}.{b}.0/24'\n\
                 pools=['10.{a}.{b}.10-10.{a}.{b}.19','10.{a}.{b}.30-10.{a}.{b}.39']\n"
            )
        };
        let text: String = (0..networks).map(network).collect();
        let head = "server.relay_interfaces=['eth0']\nmetrics={pools=100,accounts=3}\n";
        let loaded = config::check(&format!("{head}{text}"), "test");
        Arc::new(loaded.expect("a policy").policy)
    }

    fn figures(networks: usize, accounts: &[(&str, u64)]) -> Figures {
        let leased = Counts { leased: 4, ..Counts::default() };
        let pool = |index| PoolFigures {
            sort: Sort::V4,
            subnet: 0,
            index,
            size: 10,
            free: 6,
            proven: 0,
            bindings: leased,
            tiers: None,
        };
        let network = || NetworkFigures {
            bindings: [(Sort::V4, leased), (Sort::V6, leased), (Sort::Prefix6, leased)],
            offers: 1,
            pools: vec![pool(0), pool(1)],
            verifier: VerifierTally::default(),
            interfaces: 1,
            foreign_servers: 0,
        };
        Figures {
            networks: (0..networks).map(|_| network()).collect(),
            next: None,
            policy: policy(networks),
            bindings: 0,
            accounts: accounts.iter().map(|(name, n)| ((*name).into(), *n)).collect(),
            other_accounts: 5,
            accounts_count: 9,
            shadows: Vec::new(),
            store: StoreStats::default(),
            store_writable: true,
            store_lag: Duration::ZERO,
            store_slow: false,
            clock_trusted: true,
        }
    }

    fn text(figures: Figures) -> String {
        let mut out = Exposition::new(Format::Text);
        write(&[figures], &mut out);
        out.finish()
    }

    fn sum(text: &str, of: &str) -> f64 {
        let lines = text.lines().filter(|line| line.starts_with(of));
        lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    }

    #[test]
    fn thousands_of_networks_are_a_bounded_number_of_series_and_none_is_lost() {
        let found = text(figures(3000, &[]));
        assert!(found.lines().count() < 4000, "{}", found.lines().count());
        let lines: Vec<&str> = found.lines().filter(|line| !line.starts_with('#')).collect();
        let names: BTreeSet<_> = lines.iter().filter_map(|l| l.rsplit_once(' ')).collect();
        assert_eq!(names.len(), lines.len(), "no figure twice");
        assert_eq!(sum(&found, "foreshadow_pool_size{"), 60_000.0);
        assert_eq!(sum(&found, "foreshadow_offers{"), 3000.0);
        assert!(found.contains("foreshadow_offers{network=\"(other)\"} 2900\n"));
        let rest =
            "foreshadow_pool_size{network=\"(other)\",family=\"v4\",pool=\"(other)\",tier=\"all\"}";
        assert!(found.contains(&format!("{rest} 59000\n")));
    }

    #[test]
    fn whatever_an_account_is_called_the_text_stays_whole() {
        let found = text(figures(1, &[("(other)", 7), ("a\"} 9\n\\", 2), ("", 1)]));
        assert!(found.contains("foreshadow_account_leases{account=\"a\\\"} 9\\n\\\\\"} 2\n"));
        assert!(found.contains("foreshadow_account_leases{account=\"\"} 1\n"));
        assert!(found.contains("foreshadow_account_leases{account=\"(other)\"} 12\n"));
    }
}
