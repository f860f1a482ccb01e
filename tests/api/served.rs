//! A server with the API over TLS, and callers of every kind.

use std::fs;

use serde_json::Value;

use crate::certificates::certificate;
use crate::common::require;
use crate::common::server::{LAN, Server};
use crate::common::world::{Host, World};

/// Where the API listens, on the server's own machine.
pub(crate) const ADDRESS: &str = "127.0.0.1:8067";

/// Tokens of the configuration, with their hash by `printf %s TOKEN | sha256sum`.
pub(crate) const READER: &str = "reader-token";
pub(crate) const OPERATOR: &str = "operator-token";
pub(crate) const ADMIN: &str = "admin-token";
pub(crate) const SCOPED: &str = "scoped-token";
pub(crate) const OVER: &str = "token-that-is-over";

/// A world with a server that serves the API.
pub(crate) struct Served {
    pub(crate) server: Server,
    pub(crate) host: Host,
    pub(crate) world: World,
}

/// An answer of curl.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// A header of the answer, by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let line = self.head.lines().find(|line| line.starts_with(&format!("{name}: ")));
        line.and_then(|line| Some(line.split_once(": ")?.1.trim()))
    }
}

impl Served {
    /// Starts it; `more` are further lines of `[api]`.
    pub(crate) fn start(name: &str, more: &str) -> Served {
        Served::start_beside(name, more, "")
    }

    /// The same, with further lines of the network.
    pub(crate) fn start_beside(name: &str, more: &str, of_network: &str) -> Served {
        require("openssl", "openssl");
        require("curl", "curl");
        let (world, host) = World::with_bridge(name);
        let served = |file: &str| world.dir().join(file).display().to_string();
        certificate(&world, &host, "server", "127.0.0.1");
        certificate(&world, &host, "orchestrator", "127.0.0.1");
        let body = configuration(&served, more) + of_network;
        let server = Server::start(&world, &host, &body);
        Served { server, host, world }
    }

    pub(crate) fn file(&self, name: &str) -> String {
        self.world.dir().join(name).display().to_string()
    }

    /// The most memory that the server ever had, in KiB.
    #[track_caller]
    pub(crate) fn peak_kib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.server.proc.pid());
        let status = fs::read_to_string(path).unwrap();
        let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
        peak.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Writes another configuration with these lines in `[api]`.
    pub(crate) fn write_config(&self, more: &str) {
        self.server.write_config(&configuration(&|file| self.file(file), more));
    }

    /// Asks by curl with these further arguments.
    #[track_caller]
    pub(crate) fn curl(&self, path: &str, more: &[&str]) -> Answer {
        let (authority, url) = (self.file("ca.pem"), format!("https://{ADDRESS}{path}"));
        let argv = ["curl", "-sS", "-i", "--max-time", "60", "--cacert", &authority];
        let argv = [&argv[..], more, &[&url]].concat();
        let done = self.host.command(&argv).output().unwrap();
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        let error = String::from_utf8_lossy(&done.stderr);
        // Large bodies are announced, and waited for.
        let text = text.strip_prefix("HTTP/1.1 100 Continue\r\n\r\n").unwrap_or(&text).to_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{error}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    /// Asks as the bearer of a token.
    #[track_caller]
    pub(crate) fn ask(&self, token: &str, method: &str, path: &str, body: &str) -> Answer {
        let bearer = format!("authorization: Bearer {token}");
        let mut more = vec!["-X", method, "-H", &bearer];
        if !body.is_empty() {
            more.extend(["-H", "content-type: application/json", "--data-binary", body]);
        }
        self.curl(path, &more)
    }
}

fn configuration(file: &dyn Fn(&str) -> String, more: &str) -> String {
    let token = |name: &str, token: &str, rest: &str| {
        let hash = hash(token);
        format!("[[api.token]]\nname = \"{name}\"\nhash = \"{hash}\"\n{rest}\n")
    };
    let tokens = [
        token("reader", READER, "role = \"read\""),
        token("operator", OPERATOR, "role = \"operate\""),
        token("admin", ADMIN, "role = \"admin\""),
        token("scoped", SCOPED, "role = \"admin\"\naccounts = [\"elsewhere\"]"),
        token("over", OVER, "role = \"admin\"\nexpires = 2020-01-01T00:00:00Z"),
    ];
    format!(
        "[api]\nlisten = [\"{ADDRESS}\"]\ncertificate = \"{}\"\nkey = \"{}\"\nclient_ca = \"{}\"\n\
         {more}\n{}[[api.client]]\nname = \"orchestrator\"\nrole = \"operate\"\n{LAN}",
        file("server.pem"),
        file("server.key"),
        file("ca.pem"),
        tokens.concat(),
    )
}

/// As `printf %s TOKEN | sha256sum` writes it.
fn hash(token: &str) -> String {
    let bytes = foreshadow::api::token::hash(token);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
