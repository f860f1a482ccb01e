//! Certificates of an authority that nobody else knows.

use std::fs;
use std::path::PathBuf;

use crate::common::require;
use crate::common::world::{Host, World};

/// A certificate of this name for this address or DNS name, signed by `ca.pem`, which is made if need be.
#[track_caller]
pub(crate) fn certificate(world: &World, host: &Host, name: &str, address: &str) {
    require("openssl", "openssl");
    let dir = world.dir().display();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    if !PathBuf::from(format!("{dir}/ca.pem")).exists() {
        host.sh(&format!(
            "cd {dir} && openssl req -x509 {key} -keyout ca.key -out ca.pem -days 2 \
             -subj '/CN=authority' 2>&1"
        ));
    }
    let kind = if address.parse::<std::net::IpAddr>().is_ok() { "IP" } else { "DNS" };
    fs::write(format!("{dir}/{name}.ext"), format!("subjectAltName={kind}:{address}\n")).unwrap();
    host.sh(&format!(
        "cd {dir} && openssl req -new {key} -keyout {name}.key -out {name}.csr \
         -subj '/O=example/CN={name}' 2>&1 && openssl x509 -req -in {name}.csr -CA ca.pem \
         -CAkey ca.key -CAcreateserial -days 2 -extfile {name}.ext -out {name}.pem 2>&1"
    ));
}
