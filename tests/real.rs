//! The server among real components: clients, relays, other servers, virtual machines and disks,
//! each test in network namespaces of its own.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "common/certificates.rs"]
mod certificates;
mod common;

mod real {
    mod advert;
    mod api_flood;
    mod clients;
    mod drivers;
    mod durable;
    mod firmware;
    mod flood;
    mod guard;
    mod guests;
    mod identity;
    mod lab;
    mod moves;
    mod network;
    mod orchestrator;
    mod routes;
    mod scan;
    mod sick_disk;
    mod switchover;
    mod switchover_hosts;
    mod switchover_steps;
    mod takeover;
    mod v6;
}
