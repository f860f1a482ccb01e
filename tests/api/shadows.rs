//! Predictions and shadows, as an autoscaler meets them.

use serde_json::{Value, json};

use crate::common::link::{Raw, mac};
use crate::common::{PATIENCE, wait_for};
use crate::served::{ADMIN, OPERATOR, SCOPED, Served};

const DECLARED: &str = "rate = 0\n[[account]]\nname = \"shop\"\nshadow = { max = 8 }\n\
    [[account.application]]\nname = \"web\"\n[[account]]\nname = \"elsewhere\"\n";

fn post(served: &Served, path: &str, body: &Value) -> (u16, Value) {
    let answer = served.ask(OPERATOR, "POST", path, &body.to_string());
    (answer.status, serde_json::from_str(&answer.body).unwrap_or(Value::Null))
}

fn available(served: &Served) -> Value {
    let path = "/available_shadow_address?network=lan&account=shop&application=web";
    served.ask(OPERATOR, "GET", path, "").json()
}

fn predict(count: i64) -> Value {
    json!({ "network": "lan", "account": "shop", "application": "web", "count": count,
        "type": "small", "horizon_s": 600, "requirements": { "cpu_milli": 500 } })
}

#[test]
fn what_is_predicted_is_held_and_claimed() {
    let served = Served::start("shadows", DECLARED);
    let none = available(&served);
    assert_eq!((none["available"].as_u64(), none["address"].is_null()), (Some(0), true), "{none}");
    assert!(none["reason"].is_string(), "{none}");

    let (status, said) = post(&served, "/predict_instances", &predict(3));
    assert_eq!((status, &said["wanted"], &said["clamped"]), (201, &json!(3), &json!(false)));
    let ready = wait_for("three that are ready", PATIENCE, || {
        Some(available(&served)).filter(|view| view["available"] == 3)
    });
    let address = ready["address"].as_str().unwrap().to_owned();
    let list = served.ask(OPERATOR, "GET", "/v1/shadows?account=shop", "").json();
    let shadows = list["shadows"].as_array().unwrap();
    assert_eq!(shadows.len(), 3, "{list}");
    assert!(shadows.iter().all(|s| s["state"] == "ready" && s["type"] == "small"), "{list}");
    assert!(shadows.iter().all(|s| s["prediction"] == said["id"]), "{list}");

    // One is claimed by name; who is late is told so, and has another without naming it.
    let claim = |id: &str, address: Option<&str>| {
        let mut body = json!({ "id": id, "network": "lan", "account": "shop",
            "application": "web" });
        if let Some(address) = address {
            body["address"] = json!(address);
        }
        post(&served, "/v1/instances", &body)
    };
    let (status, first) = claim("vm-1", Some(&address));
    assert_eq!((status, &first["shadow"]), (201, &json!("hit")), "{first}");
    assert_eq!(first["address"], json!(address));
    assert_eq!(claim("vm-2", Some(&address)).0, 409);
    let (status, second) = claim("vm-2", None);
    assert_eq!((status, &second["shadow"]), (201, &json!("hit")), "{second}");
    assert!(shadows.iter().any(|shadow| shadow["address"] == second["address"]), "{second}");

    // A guest that nobody registered claims nothing that it has no right to.
    let guest = served.world.client("guest", &served.host, "br0");
    let stranger = Raw::on(&guest).lease(mac(7)).addr.to_string();
    assert!(shadows.iter().all(|shadow| shadow["address"] != json!(stranger)), "{stranger}");

    let tally = served.ask(OPERATOR, "GET", "/v1/accounts/shop/shadows", "").json();
    let of = tally.as_array().unwrap().iter().find(|t| t["application"] == "web").unwrap();
    assert_eq!((&of["creates"], &of["hits"], &of["misses"]), (&json!(2), &json!(2), &json!(0)));
    let foreseen = served.ask(OPERATOR, "GET", "/v1/predictions?account=shop", "").json();
    let foreseen = &foreseen["predictions"][0];
    assert_eq!((&foreseen["count"], &foreseen["wanted"]), (&json!(3), &json!(1)), "{foreseen}");
    assert_eq!(foreseen["requirements"], json!({ "cpu_milli": 500 }));
}

#[test]
fn what_cannot_be_is_refused_and_what_is_too_much_is_clamped() {
    let served = Served::start("foresee", DECLARED);
    let refused = |change: &dyn Fn(&mut Value), field: &str| {
        let mut body = predict(3);
        change(&mut body);
        let (status, told) = post(&served, "/v1/predict_instances", &body);
        assert_eq!((status, &told["errors"][0]["field"]), (422, &json!(field)), "{told}");
    };
    refused(&|b| b["count"] = json!(-1), "count");
    refused(&|b| b["count"] = json!(1_000_001), "count");
    refused(&|b| b["horizon_s"] = json!(1), "horizon_s");
    refused(&|b| b["account"] = json!("nosuch"), "account");
    refused(&|b| b["application"] = json!("nosuch"), "application");
    refused(&|b| b["valid_until"] = json!("2020-01-01T00:00:00Z"), "valid_until");
    refused(&|b| b["made"] = json!("2020-01-01T00:00:00Z"), "made");
    refused(&|b| b["quantiles"] = json!({ "0.5": 4, "0.9": 2 }), "quantiles");
    refused(&|b| b["quantiles"] = json!({ "1.5": 4 }), "quantiles");
    refused(&|b| b["quantiles"] = json!({ "0.5": 4, "0.9": 9 }), "count");
    assert_eq!(
        served.ask(SCOPED, "POST", "/v1/predict_instances", &predict(1).to_string()).status,
        403
    );

    // By hand: held, extended, given back.
    let (status, held) = post(
        &served,
        "/v1/shadows",
        &json!({ "network": "lan", "account": "elsewhere", "count": 2, "seconds": 60 }),
    );
    assert_eq!(status, 201, "{held}");
    let address = held["shadows"][0]["address"].as_str().unwrap();
    let path = format!("/v1/shadows/{address}");
    let longer = served.ask(ADMIN, "PATCH", &path, r#"{"seconds":600}"#).json();
    assert!(longer["until"].as_str() > held["shadows"][0]["until"].as_str(), "{longer}");
    assert_eq!(served.ask(SCOPED, "DELETE", &path, "").status, 200);
    assert_eq!(served.ask(ADMIN, "DELETE", &path, "").status, 404);

    let (status, said) = post(&served, "/v1/predict_instances", &predict(1000));
    // The application has a cap of its own: that of `[shadow]`.
    assert_eq!((status, &said["clamped"]), (201, &json!(false)), "{said}");
    let mut whole = predict(1000);
    whole.as_object_mut().unwrap().remove("application");
    let (status, said) = post(&served, "/v1/predict_instances", &whole);
    assert_eq!((status, &said["wanted"], &said["clamped"]), (201, &json!(8), &json!(true)));
}
