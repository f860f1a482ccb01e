//! Packets, leases and commits: counts that each thread keeps, read without asking it.

use crate::api::exposition::{Exposition, Family};
use crate::engine::tally::{Answered, Asked, Outcome};

use super::super::counters::{Count, Counters};

/// Writes all of them.
pub(super) fn write(counters: &Counters, out: &mut Exposition) {
    packets(counters, out);
    replies(counters, out);
    receipt(counters, out);
    events(counters, out);
    commits(counters, out);
    routes(counters, out);
}

/// One family with one figure for each value of a label.
fn by(out: &mut Exposition, family: Family, label: &'static str, figures: &[(&str, &Count)]) {
    out.family(family);
    for (value, count) in figures {
        out.count(&[(label, value)], count.get());
    }
}

/// One family without labels.
fn plain(out: &mut Exposition, name: &'static str, help: &'static str, count: &Count) {
    out.family(Family::counter(name, help));
    out.count(&[], count.get());
}

fn packets(counters: &Counters, out: &mut Exposition) {
    out.family(Family::counter(
        "foreshadow_packets",
        "Packets of clients that were decided on, by what became of them: answered; dropped, with \
         the reason; silent, which want no answer; deferred, which wait for the wire to speak and \
         are counted again then.",
    ));
    for (asked, outcomes) in Asked::ALL.iter().zip(&counters.packets) {
        let (family, kind) = asked.labels();
        for (index, count) in outcomes.0.iter().enumerate() {
            let (outcome, reason) = Outcome::labels(index);
            // Of the many that never occur only those that may are always there.
            if count.get() == 0 && outcome != "answered" {
                continue;
            }
            let labels =
                [("family", family), ("type", kind), ("outcome", outcome), ("reason", reason)];
            out.count(&labels, count.get());
        }
    }
    out.family(Family::counter(
        "foreshadow_packets_dropped",
        "Packets without an answer, by the reason, those included that were not read as far as \
         their type.",
    ));
    for (reason, count) in counters.dropped.iter() {
        out.count(&[("reason", reason.as_str())], count.get());
    }
}

fn replies(counters: &Counters, out: &mut Exposition) {
    out.family(Family::histogram(
        "foreshadow_reply_duration_seconds",
        "Time from the receipt of a packet until its reply left, the wait for the disk included; of \
         a packet that was deferred, from the moment when it was decided on.",
    ));
    for (answered, histogram) in Answered::ALL.iter().zip(&counters.reply_us) {
        if *answered != Answered::RouterAdvertisement {
            let (family, kind) = answered.labels();
            super::seconds(out, &[("family", family), ("type", kind)], histogram);
        }
    }
    by(
        out,
        Family::counter(
            "foreshadow_replies",
            "Replies and router advertisements: sent; failed, which the kernel refused; lost, \
             because their lease could not be made durable.",
        ),
        "result",
        &[
            ("sent", &counters.replies_sent),
            ("failed", &counters.replies_failed),
            ("lost", &counters.replies_lost),
        ],
    );
    by(
        out,
        Family::counter(
            "foreshadow_probes",
            "ARP requests and neighbour solicitations: sent, or failed, which the kernel refused.",
        ),
        "result",
        &[("sent", &counters.probes_sent), ("failed", &counters.probes_failed)],
    );
    let help = "Router advertisements made.";
    plain(out, "foreshadow_router_advertisements", help, &counters.adverts);
}

fn receipt(counters: &Counters, out: &mut Exposition) {
    by(
        out,
        Family::counter(
            "foreshadow_received",
            "What was read: frames with DHCP, datagrams of relays and unicast, ARP packets, \
             messages of neighbour discovery.",
        ),
        "kind",
        &[
            ("frame", &counters.frames),
            ("datagram", &counters.datagrams),
            ("arp", &counters.arps),
            ("neighbour-discovery", &counters.ndp),
        ],
    );
    let help = "Frames for another host's hardware address, passed over.";
    plain(out, "foreshadow_overheard_frames", help, &counters.overheard);
    by(
        out,
        Family::counter(
            "foreshadow_overruns",
            "Frames and datagrams that found a full buffer in the kernel; of UDP, those of any \
             program on this host.",
        ),
        "socket",
        &[
            ("dhcp", &counters.overruns_dhcp),
            ("arp", &counters.overruns_arp),
            ("neighbour-discovery", &counters.overruns_nd),
            ("udp", &counters.overruns_udp),
        ],
    );
    let help = "Times that interfaces changed faster than was read.";
    plain(out, "foreshadow_link_resyncs", help, &counters.link_resyncs);
}

fn events(counters: &Counters, out: &mut Exposition) {
    by(
        out,
        Family::counter("foreshadow_lease_events", "What happened to leases."),
        "event",
        &[
            ("offered", &counters.offered),
            ("granted", &counters.granted),
            ("renewed", &counters.renewed),
            ("adopted", &counters.adopted),
            ("imported", &counters.imported),
            ("released", &counters.released),
            ("expired", &counters.expired),
            ("draining", &counters.draining),
            ("spared", &counters.spared),
            ("short", &counters.short),
            ("declined", &counters.declined),
            ("refused", &counters.naks),
            ("informed", &counters.informed),
            ("exhausted", &counters.exhausted),
        ],
    );
    let help = "Whatever became of standbys: named, gated, ready, promoted, dropped.";
    plain(out, "foreshadow_standby_changes", help, &counters.standbys);
    by(
        out,
        Family::counter(
            "foreshadow_driver_acts",
            "What drivers were asked to do to guests of pairs: done, or failed, which the log explains.",
        ),
        "result",
        &[("done", &counters.driver_acts_done), ("failed", &counters.driver_acts_failed)],
    );
    let help = "Offers of addresses that were not proven to be free.";
    plain(out, "foreshadow_unproven_offers", help, &counters.offered_unproven);
    by(
        out,
        Family::counter(
            "foreshadow_findings",
            "What was found on the wire: addresses in use by strangers, machines that answer for \
             many addresses, client identifiers of a second live machine, reports of other DHCP \
             servers, answers of these, and who speaks for what a pair shares.",
        ),
        "finding",
        &[
            ("in-use", &counters.in_use),
            ("proxy", &counters.proxies),
            ("clone", &counters.clones),
            ("foreign-server", &counters.foreign_servers),
            ("standby", &counters.standby_alarms),
            ("foreign-answer", &counters.overheard_answers),
        ],
    );
    let help = "Events that the log, the hosts file or the routes did not take in time.";
    plain(out, "foreshadow_events_lost", help, &counters.events_lost);
}

fn commits(counters: &Counters, out: &mut Exposition) {
    let help = "Length of a commit to the disk, its sync included.";
    out.family(Family::histogram("foreshadow_commit_duration_seconds", help));
    super::seconds(out, &[], &counters.commit_us);
    let help = "Changes in one commit.";
    out.family(Family::histogram("foreshadow_commit_changes", help));
    super::numbers(out, &[], &counters.commit_changes);
    let help = "Commits that failed: their leases were taken back and not acknowledged.";
    plain(out, "foreshadow_commits_failed", help, &counters.commits_failed);
    let help = "Times that the disk became slow: 250 ms or more for a sync.";
    plain(out, "foreshadow_disk_slow", help, &counters.disk_slow);
    let help = "Times that packets waited in the kernel because the disk was too far behind.";
    plain(out, "foreshadow_disk_waits", help, &counters.disk_waits);
}

fn routes(counters: &Counters, out: &mut Exposition) {
    by(
        out,
        Family::counter(
            "foreshadow_routes",
            "Routes to delegated prefixes: installed, removed, or failed, which the kernel refused.",
        ),
        "result",
        &[
            ("installed", &counters.routes_installed),
            ("removed", &counters.routes_removed),
            ("failed", &counters.routes_failed),
        ],
    );
}
