//! What a schema says of values, by example.

use serde_json::json;

use super::*;
use crate::api::problem::FIELDS_MAX;

fn rules() -> (Rules, Rule) {
    let document = json!({ "components": { "schemas": {
        "Lease": { "type": "object", "additionalProperties": false, "required": ["address"],
            "properties": {
                "address": { "type": "string", "maxLength": 9, "minLength": 1 },
                "account": { "type": ["string", "null"], "pattern": "^[a-z]+$" },
                "state": { "oneOf": [{ "type": "null" }, { "$ref": "#/components/schemas/State" }] },
                "n": { "type": "integer", "minimum": 1, "maximum": 5 },
                "share": { "type": "number", "minimum": 0, "maximum": 1 },
                "on": { "type": "boolean" },
                "tags": { "type": "object", "maxProperties": 2,
                    "additionalProperties": { "type": "string", "maxLength": 2 } },
            } },
        "State": { "type": "string", "enum": ["leased", "free"] },
    } } });
    let list = json!({ "type": "object", "additionalProperties": false, "required": ["leases"],
        "properties": { "leases": { "type": "array", "maxItems": 3,
            "items": { "$ref": "#/components/schemas/Lease" } } } });
    (Rules::of(&document), Rule::of(&list))
}

/// The faults of a list of one lease, as `field: detail`.
fn faults(lease: &str) -> Vec<String> {
    let (rules, rule) = rules();
    let body = format!("{{\"leases\":[{lease}]}}");
    let found = rules.check_body(&rule, body.as_bytes()).unwrap();
    found.into_iter().map(|fault| format!("{}: {}", fault.field, fault.detail)).collect()
}

#[test]
fn what_fits_is_taken() {
    for lease in [
        r#"{"address":"10.0.0.1"}"#,
        r#"{"address":"äöüäöüäöü","account":null,"state":null,"n":1,"share":1,"on":true}"#,
        r#"{"address":"x","account":"a","state":"free","n":5,"share":0.5,"tags":{"a":"b","c":""}}"#,
    ] {
        assert_eq!(faults(lease), [""; 0], "{lease}");
    }
}

#[test]
fn what_does_not_fit_is_named_with_what_would() {
    for (lease, want) in [
        ("{}", "leases[0].address: is missing, want a text of 1 to 9 characters"),
        ("7", "leases[0]: found 7, want an object"),
        ("[]", "leases[0]: found a list, want an object"),
        (r#"{"address":""}"#, r#"leases[0].address: found "", want a text of 1 to 9 characters"#),
        (r#"{"address":null}"#, "leases[0].address: found null, want"),
        (
            r#"{"address":"a","account":"A\n"}"#,
            r#"leases[0].account: found "A\n", want a text that"#,
        ),
        (
            r#"{"address":"a","state":"fre"}"#,
            "leases[0].state: found \"fre\", want one of leased, free",
        ),
        (r#"{"address":"a","n":0}"#, "leases[0].n: found 0, want a whole number from 1 to 5"),
        (r#"{"address":"a","n":1.5}"#, "leases[0].n: found 1.5, want a whole"),
        (r#"{"address":"a","n":"1"}"#, "leases[0].n: found \"1\", want a whole"),
        (
            r#"{"address":"a","share":-0.1}"#,
            "leases[0].share: found -0.1, want a number from 0 to 1",
        ),
        (r#"{"address":"a","on":"yes"}"#, "leases[0].on: found \"yes\", want true or false"),
        (r#"{"address":"a","tags":{"x":"abc"}}"#, "leases[0].tags.x: found \"abc\", want"),
        (
            r#"{"address":"a","tags":{"x":"","y":"","z":""}}"#,
            "leases[0].tags: found an object of 3",
        ),
        (
            r#"{"address":"a","adress":"b"}"#,
            "leases[0].adress: no such field; did you mean `address`?",
        ),
        (r#"{"address":"a","tags":[{}]}"#, "leases[0].tags: found a list, want an object"),
    ] {
        let faults = faults(lease);
        assert_eq!(faults.len(), 1, "{lease}: {faults:?}");
        assert!(faults[0].starts_with(want), "{lease}: {faults:?}");
    }
}

#[test]
fn every_fault_is_told_up_to_a_bound() {
    let few = faults(r#"{"n":9,"on":1,"share":2}"#);
    assert_eq!(few.len(), 4, "{few:?}");
    let fields: String = (0..1000).map(|n| format!("\"f{n}\":1,")).collect();
    let many = faults(&format!("{{{fields}\"address\":\"a\"}}"));
    assert_eq!(many.len(), FIELDS_MAX);
}

#[test]
fn a_list_that_is_too_long_is_counted_and_no_more() {
    let (rules, rule) = rules();
    let body = format!("{{\"leases\":[{}{{}}]}}", "{},".repeat(99_999));
    let found = rules.check_body(&rule, body.as_bytes()).unwrap();
    let last = found.last().unwrap();
    assert_eq!(last.field, "leases");
    assert!(last.detail.contains("a list of 100000, want a list of 0 to 3"), "{}", last.detail);
}

#[test]
fn what_is_no_value_is_an_error() {
    let (rules, rule) = rules();
    let deep = "[".repeat(100_000);
    for body in ["", "{", "{}x", "{\"leases\":[}", "\u{feff}{}", "nul", deep.as_str()] {
        assert!(rules.check_body(&rule, body.as_bytes()).is_err(), "{body:.20}");
    }
    assert!(rules.check_body(&rule, b"{\"leases\":[{\"address\":\"\xff\"}]}").is_err());
}

#[test]
fn parameters_are_texts_that_stand_for_values() {
    let rules = Rules::default();
    let is = |schema: Value, text: &str| rules.parameter(&Rule::of(&schema), text);
    let limit = json!({ "type": "integer", "minimum": 1, "maximum": 1000 });
    assert_eq!(is(limit.clone(), "7"), Ok(json!(7)));
    for bad in ["0", "1001", "", "7.0", "x", "99999999999999999999999999999999999999999999"] {
        assert!(is(limit.clone(), bad).unwrap_err().contains("from 1 to 1000"), "{bad}");
    }
    assert_eq!(is(json!({ "type": "boolean" }), "true"), Ok(json!(true)));
    assert!(is(json!({ "type": "boolean" }), "1").is_err());
    assert!(is(json!({ "type": "string", "maxLength": 2 }), "abc").is_err());
}
