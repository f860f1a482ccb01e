//! How agents are reached: that of this host by its socket, those of others by TLS.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::agent::client::{AgentError, Client};
use crate::agent::tls::Credentials;
use crate::config::policy::{AgentsPolicy, AgentsTls};

/// The host of an agent; none: this one.
pub(super) type HostName = Option<Box<str>>;

/// Where the agents are.
#[derive(Debug)]
pub(in crate::daemon) struct Reach {
    socket: PathBuf,
    agents: Mutex<Arc<AgentsPolicy>>,
}

impl Reach {
    /// The agent of this host is behind that socket, the others where the policy says.
    pub(in crate::daemon) fn new(socket: &Path, agents: Arc<AgentsPolicy>) -> Reach {
        Reach { socket: socket.into(), agents: Mutex::new(agents) }
    }

    /// Another policy.
    pub(super) fn set(&self, agents: Arc<AgentsPolicy>) {
        *self.agents.lock().unwrap_or_else(PoisonError::into_inner) = agents;
    }

    /// Connects. Of another host it takes seconds if that is dead; an answer of its agent is waited
    /// for so long.
    pub(super) fn connect(
        &self,
        host: Option<&str>,
        answers_within: Duration,
    ) -> Result<Client, AgentError> {
        let Some(name) = host else { return Client::connect(&self.socket) };
        let agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let found = agents.hosts.iter().find(|host| *host.name == *name);
        let Some((host, tls)) = found.zip(agents.tls.as_ref()) else {
            return Err(AgentError::Unknown(name.into()));
        };
        let AgentsTls { ca, certificate, key } = tls.clone();
        let credentials = Credentials { ca, certificate, key };
        Client::connect_to(host.address, name, &credentials, answers_within)
    }
}
