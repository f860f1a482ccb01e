//! The OpenAPI document: what the routes say of themselves, and what holds for all of them.

use serde_json::{Map, Value, json};
use utoipa::PartialSchema;

use super::contract::SCHEME;
use super::view::{FieldView, ProblemView};

/// Above the routes, in the document and on its page.
const ABOUT: &str = "\
Addresses, and who has them. Errors are problem documents (RFC 9457): of a request that does not \
fit, `errors` names each field with what was found and what is expected. Lists come in pages: \
`limit` bounds one, and `next` of the answer is the `cursor` of the one after it. An \
`Idempotency-Key` makes a write safe to repeat: for a day the same key with the same request has \
the same answer, once it was done; what was refused is asked anew. What has an `ETag` can be asked for again with `If-None-Match`, and changed with \
`If-Match`.";

/// The document of `routes`, complete.
pub(super) fn document(routes: &utoipa::openapi::OpenApi) -> Value {
    // Maps of texts and the like, which JSON can always say.
    let mut document = serde_json::to_value(routes).unwrap_or_default();
    let mut set = |key: &str, value: Value| {
        document.as_object_mut().map(|object| object.insert(key.into(), value));
    };
    set(
        "info",
        json!({
            "title": "foreshadow",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        }),
    );
    if let Some(components) = object(&mut document, "components") {
        components.insert(
            "securitySchemes".into(),
            json!({ SCHEME: {
                "type": "http",
                "scheme": "bearer",
                "description": "A token (`foreshadow token add`), a certificate of a client that \
                                the configuration knows, or the control socket. The role that an \
                                operation needs stands beside it: read, operate or admin.",
            } }),
        );
        if let Some(schemas) = map(components, "schemas") {
            let schema = |schema| serde_json::to_value(schema).unwrap_or_default();
            schemas.insert("ProblemView".into(), schema(ProblemView::schema()));
            schemas.insert("FieldView".into(), schema(FieldView::schema()));
        }
    }
    for item in object(&mut document, "paths").into_iter().flat_map(|paths| paths.values_mut()) {
        for (method, operation) in item.as_object_mut().into_iter().flatten() {
            complete(method, operation);
        }
    }
    document
}

fn object<'a>(value: &'a mut Value, key: &str) -> Option<&'a mut Map<String, Value>> {
    map(value.as_object_mut()?, key)
}

fn map<'a>(parent: &'a mut Map<String, Value>, key: &str) -> Option<&'a mut Map<String, Value>> {
    parent.entry(key).or_insert_with(|| json!({})).as_object_mut()
}

/// Adds to an operation what its method and its parts make possible.
fn complete(method: &str, operation: &mut Value) {
    let is_public = operation.pointer("/security/0").is_some_and(|first| *first == json!({}));
    if is_public {
        return;
    }
    let is_write = method != "get";
    let has_body = operation.get("requestBody").is_some();
    let parameters = operation.as_object_mut().map(|o| o.entry("parameters").or_insert(json!([])));
    let parameters = parameters.and_then(Value::as_array_mut);
    let (mut named, mut asks) = (false, false);
    for parameter in parameters.into_iter().flatten() {
        // What is absent is left out, never null.
        if let Some(Value::Array(types)) = parameter.pointer_mut("/schema/type") {
            types.retain(|kind| kind != "null");
            if let (1, Some(one)) = (types.len(), types.first().cloned()) {
                parameter["schema"]["type"] = one;
            }
        }
        asks = true;
        named |= parameter.get("in").is_some_and(|place| place == "path")
            || parameter.get("name").is_some_and(|name| name == "network");
    }
    let headers = operation.get_mut("parameters").and_then(Value::as_array_mut);
    if let (true, Some(parameters)) = (is_write, headers) {
        parameters.push(json!({
            "name": "Idempotency-Key",
            "in": "header",
            "required": false,
            "description": "Makes the write safe to repeat.",
            "schema": { "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$" },
        }));
    }
    let Some(responses) = object(operation, "responses") else { return };
    let mut add = |status: &str, why: &str| {
        responses.entry(status).or_insert_with(|| problem(status, why));
    };
    add("400", "The request does not fit: `errors` says where.");
    add("401", "Nobody knows the caller.");
    add("403", "The caller's role or accounts do not allow it.");
    add("429", "Too many requests: `api.rate`, `api.requests` or another limit.");
    add("503", "The server is busy or stopping.");
    // A body may name a network or an account.
    if named || has_body {
        add("404", "There is nothing of this name.");
    }
    if is_write {
        add("409", "It does not go together with what is there.");
        add("412", "It is not any more what `If-Match` says.");
        add("507", "It could not be made durable, and was taken back.");
    }
    if is_write || asks {
        add(
            "422",
            "A value fits the schema, and yet is none; or the `Idempotency-Key` stood for another request.",
        );
    }
    if has_body {
        add("413", "The body is larger than `api.body`.");
        add("415", "The body is not `application/json`.");
    }
}

fn problem(status: &str, why: &str) -> Value {
    let mut response = json!({
        "description": why,
        "content": { "application/problem+json": {
            "schema": { "$ref": "#/components/schemas/ProblemView" },
        } },
    });
    let header = match status {
        "401" => ("WWW-Authenticate", json!({ "type": "string" })),
        "429" | "503" => ("Retry-After", json!({ "type": "integer", "minimum": 1 })),
        _ => return response,
    };
    response["headers"] = json!({ header.0: { "schema": header.1 } });
    response
}
