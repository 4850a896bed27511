//! Settings for a purpose: plain files of settings, part of the program.

use clap::ValueEnum;

/// What the server is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    /// One person at their own machine: open on loopback, talkative.
    Dev,
    /// A service for the programs of one machine.
    LocalProd,
    /// A replica behind a load balancer.
    CloudProd,
    /// One agent with long conversations.
    Agent,
}

impl Profile {
    /// Its settings, as a file would say them.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Dev => include_str!("../../profiles/dev.toml"),
            Self::LocalProd => include_str!("../../profiles/local-prod.toml"),
            Self::CloudProd => include_str!("../../profiles/cloud-prod.toml"),
            Self::Agent => include_str!("../../profiles/agent.toml"),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::LocalProd => "local-prod",
            Self::CloudProd => "cloud-prod",
            Self::Agent => "agent",
        }
    }
}
