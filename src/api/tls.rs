//! TLS of the API: the server's side of it from its files, and the client's side.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{ClientConfig, ServerConfig};

use crate::config::policy::TlsPolicy;
use crate::net::tls::{certificates, private_key, roots};

/// The server's side. On error: which file, and why.
pub(super) fn server(policy: &TlsPolicy) -> Result<Arc<ServerConfig>, String> {
    let chain = certificates(&policy.certificate)?;
    let key = private_key(&policy.key)?;
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone());
    let builder = builder.with_protocol_versions(&[&TLS13]).map_err(|error| error.to_string())?;
    let builder = match &policy.client_ca {
        Some(path) => {
            let roots = Arc::new(roots(path)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider)
                .allow_unauthenticated()
                .build()
                .map_err(|error| format!("client_ca {}: {error}", path.display()))?;
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| format!("certificate {}: {error}", policy.certificate.display()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// A client's side, which believes who is signed by `authority`. On error: which file, and why.
pub(super) fn client(authority: &Path) -> Result<Arc<ClientConfig>, String> {
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_protocol_versions(&[&TLS13]).map_err(|error| error.to_string())?;
    Ok(Arc::new(builder.with_root_certificates(roots(authority)?).with_no_client_auth()))
}

/// Why a client did not believe a server, in words that say what to do about it.
pub(super) fn explain(error: &std::io::Error) -> String {
    let text = error.to_string();
    // What is inside of the error has no type of its own here.
    match text.contains("CaUsedAsEndEntity") {
        true => "the server's certificate is an authority's (basicConstraints \
                 CA:TRUE), which may sign certificates and be none of a server: make it with \
                 basicConstraints=CA:FALSE, as docs/operations.md shows"
            .into(),
        false => text,
    }
}
