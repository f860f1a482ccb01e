//! Addresses that operators put out of use and back, and those that are kept back, as clients on the
//! link and readers of lists meet them.

use serde_json::{Value, json};

use crate::common::dhcp::{self, Message};
use crate::common::link::{Raw, mac};
use crate::served::{ADMIN, OPERATOR, SCOPED, Served};

const DECLARED: &str = "rate = 0\n[[account]]\nname = \"elsewhere\"\nhold = { min = \"10m\" }\n";

/// The addresses in the list of those in `state`.
fn listed(served: &Served, state: &str) -> Vec<String> {
    let list = served.ask(OPERATOR, "GET", &format!("/v1/leases?state={state}"), "").json();
    let leases = list["leases"].as_array().unwrap();
    assert!(leases.iter().all(|lease| lease["state"] == state), "{list}");
    leases.iter().map(|lease| lease["address"].as_str().unwrap().to_owned()).collect()
}

fn put(served: &Served, token: &str, address: &str, verb: &str) -> (u16, Value) {
    let body = if verb == "quarantine" { "{}" } else { "" };
    let answer = served.ask(token, "POST", &format!("/v1/leases/{address}/{verb}"), body);
    (answer.status, serde_json::from_str(&answer.body).unwrap_or(Value::Null))
}

#[test]
fn an_address_out_of_use_is_nobodys_until_it_is_lifted() {
    let served = Served::start("outofuse", DECLARED);
    let guest = served.world.client("guest", &served.host, "br0");
    let mut raw = Raw::on(&guest);
    let first = raw.lease(mac(1));
    let address = first.addr.to_string();
    assert_eq!(put(&served, SCOPED, &address, "quarantine").0, 404, "another's");
    let (status, told) = put(&served, OPERATOR, &address, "quarantine");
    assert_eq!((status, &told["state"]), (200, &json!("quarantined")), "{told}");
    assert_eq!(listed(&served, "quarantined"), [&*address]);
    // Who has it renews it in vain, and neither they nor others are given it.
    let mut renewal = Message::request(dhcp::REQUEST, raw.xid(), first.mac);
    renewal.ciaddr = first.addr;
    assert_eq!(raw.ask(&renewal).expect("an answer").message.kind(), dhcp::NAK);
    let wish = [(50, first.addr.octets().to_vec())];
    for number in [1, 2] {
        let xid = raw.xid();
        let mut discover = Message::request(dhcp::DISCOVER, xid, mac(number));
        discover.options.extend(wish.iter().cloned());
        let offer = raw.ask(&discover).expect("an OFFER").message;
        assert_eq!((offer.kind(), offer.yiaddr == first.addr), (dhcp::OFFER, false));
    }
    assert_eq!(put(&served, OPERATOR, &address, "lift").0, 200);
    assert_eq!(put(&served, OPERATOR, &address, "lift").0, 409, "it is not out of use");
    assert!(listed(&served, "quarantined").is_empty());
    let xid = raw.xid();
    let wants = Message::request(dhcp::DISCOVER, xid, mac(3)).with(50, &first.addr.octets());
    assert_eq!(raw.ask(&wants).expect("an OFFER").message.yiaddr, first.addr);
}

#[test]
fn what_is_kept_for_a_machine_is_not_put_out_of_use() {
    let served = Served::start("keptback", DECLARED);
    let vm = json!({ "id": "vm", "network": "lan", "account": "elsewhere",
        "mac": "02:aa:00:00:00:05" });
    let made = served.ask(ADMIN, "POST", "/v1/instances", &vm.to_string()).json();
    let address = made["address"].as_str().unwrap().to_owned();
    let guest = served.world.client("guest", &served.host, "br0");
    assert_eq!(Raw::on(&guest).lease(mac(5)).addr.to_string(), address);
    let (status, why) = put(&served, OPERATOR, &address, "quarantine");
    assert!(status == 409 && why["detail"].as_str().unwrap().contains("\"vm\""), "{why}");
    // Once it is destroyed, its address is kept back, and the list says so by that name.
    assert!(listed(&served, "leaving").is_empty());
    assert_eq!(served.ask(ADMIN, "DELETE", "/v1/instances/vm", "").status, 200);
    assert_eq!(listed(&served, "leaving"), [&*address]);
    assert!(listed(&served, "quarantined").is_empty() && listed(&served, "leased").is_empty());
    assert_eq!(put(&served, OPERATOR, &address, "lift").0, 200);
    assert!(listed(&served, "leaving").is_empty());
}

const TWO_POOLS: &str = "rate = 0\n[[account]]\nname = \"elsewhere\"\n";

/// A client that is to move is told so when it renews, has an address of the other pool at once, and
/// may stay until then.
#[test]
fn a_client_is_moved_when_it_renews() {
    let second = "[[network.subnet]]\nprefix = \"10.77.9.0/24\"\npools = [\"10.77.9.5\"]\n";
    let served = Served::start_beside("moves", TWO_POOLS, second);
    let guest = served.world.client("guest", &served.host, "br0");
    let mut raw = Raw::on(&guest);
    let first = raw.lease(mac(1));
    let address = first.addr.to_string();
    let plan = served.ask(OPERATOR, "GET", "/v1/networks/lan/relocations", "");
    assert_eq!((plan.status, plan.json()), (200, json!([])), "nothing is short");
    assert_eq!(served.ask(OPERATOR, "GET", "/v1/networks/no/relocations", "").status, 404);
    assert_eq!(put(&served, SCOPED, &address, "drain").0, 404, "another's");
    assert_eq!(put(&served, OPERATOR, &address, "stay").0, 404, "it stays anyhow");
    let (status, told) = put(&served, OPERATOR, &address, "drain");
    assert_eq!((status, told["draining"].is_string()), (200, true), "{told}");
    let (status, told) = put(&served, OPERATOR, &address, "stay");
    assert_eq!((status, told.get("draining")), (200, None), "{told}");
    assert_eq!(put(&served, OPERATOR, &address, "drain").0, 200);
    let mut renewal = Message::request(dhcp::REQUEST, raw.xid(), first.mac);
    renewal.ciaddr = first.addr;
    assert_eq!(raw.ask(&renewal).expect("an answer").message.kind(), dhcp::NAK);
    assert_eq!(raw.lease(mac(1)).addr.to_string(), "10.77.9.5");
    assert!(!listed(&served, "leased").contains(&address));
    // There is no other place any more.
    let next = raw.lease(mac(2)).addr.to_string();
    assert_eq!(put(&served, OPERATOR, &next, "drain").0, 409);
}
