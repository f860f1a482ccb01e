//! The keys of `[api]` and of what is below it; see [`schema`](super::schema).

use super::keys::key;
use super::schema::{REQUIRED, Section};

const ACCOUNTS: &str = "The accounts whose leases and instances such a caller sees and changes; \
                        without it, all.";

pub(super) static API: Section = Section {
    path: "api",
    header: "[api]",
    about: "The HTTP API over TCP, beside the control socket, and who may use it. \
            `foreshadow token add` makes tokens at run time.",
    settings: false,
    keys: &[
        key(
            "listen",
            "[\"10.0.0.1:8067\"]",
            "[]",
            "Addresses and ports to listen on, beside the control socket. Takes effect at the next start.",
        ),
        key(
            "certificate",
            "\"/etc/foreshadow/api.pem\"",
            "none",
            "The server's certificate in PEM, followed by those between it and its root. Read again at each reload.",
        ),
        key(
            "key",
            "\"/etc/foreshadow/api.key\"",
            "none",
            "The certificate's private key in PEM. Read again at each reload.",
        ),
        key(
            "client_ca",
            "\"/etc/foreshadow/clients.pem\"",
            "none",
            "Certificates in PEM that sign those of clients; see `[[api.client]]`. Read again at each reload.",
        ),
        key(
            "insecure_loopback",
            "true or false",
            "false",
            "Listen without TLS, on loopback addresses alone. Tokens are needed all the same.",
        ),
        key("rate", "1000", "1000", "Requests a second of one caller; 0 for any number."),
        key("burst", "4000", "4000", "How many requests a caller may send at once before that."),
        key("requests_per_caller", "32", "32", "Requests of one caller that are answered at once."),
        key("requests", "128", "128", "Requests of all callers that are answered at once."),
        key("connections", "128", "128", "Connections to one address at once."),
        key("connections_per_peer", "64", "64", "Of these, from one address or one user."),
        key("body", "\"4MiB\"", "\"4MiB\"", "Largest body of a request, 64 KiB to 64 MiB."),
        key(
            "timeout",
            "\"30s\"",
            "\"30s\"",
            "How long TLS may take to begin, the head of a request to come, and then its body: each, 100 ms to 10 min.",
        ),
        key("token", "tables", "none", "Bearer tokens, one `[[api.token]]` each."),
        key("client", "tables", "none", "Certificates of clients, one `[[api.client]]` each."),
    ],
};

pub(super) static API_TOKEN: Section = Section {
    path: "api.token",
    header: "[[api.token]]",
    about: "A bearer token. The file holds its hash, never the token.",
    settings: false,
    keys: &[
        key("name", "\"grafana\"", REQUIRED, "What logs and the audit call its bearer."),
        key(
            "hash",
            "\"9f86d081..\"",
            REQUIRED,
            "SHA-256 of the token in hexadecimal: `printf %s TOKEN | sha256sum`.",
        ),
        key("role", "\"read\", \"operate\" or \"admin\"", REQUIRED, "What its bearer may do."),
        key("accounts", "[\"acme\"]", "all", ACCOUNTS),
        key("expires", "2027-01-31T12:00:00Z", "never", "When it ends."),
    ],
};

pub(super) static API_CLIENT: Section = Section {
    path: "api.client",
    header: "[[api.client]]",
    about: "A certificate of a client, signed by one of `client_ca`.",
    settings: false,
    keys: &[
        key("name", "\"orchestrator\"", REQUIRED, "The common name (CN) of its subject."),
        key("role", "\"read\", \"operate\" or \"admin\"", REQUIRED, "What its holder may do."),
        key("accounts", "[\"acme\"]", "all", ACCOUNTS),
    ],
};
