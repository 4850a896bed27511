//! What the server itself has counted: refusals that guards look for, and lines that the audit log has lost.

use crate::state::Server;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use std::fmt;

/// At one time.
#[derive(Debug)]
pub(super) struct Guarded {
    security: Vec<(&'static str, u64)>,
    /// `None` without TLS.
    tls_failed: Option<u64>,
    /// `None` without an audit log.
    audit_lost: Option<u64>,
}

impl Guarded {
    pub(super) fn take(server: &Server) -> Self {
        Self {
            security: server.security.all().map(|(event, n)| (event.as_str(), n)).collect(),
            tls_failed: server.options.tls.as_ref().map(|tls| tls.n_failed()),
            audit_lost: server.options.audit.as_ref().map(|audit| audit.n_lost()),
        }
    }
}

impl Collector for Guarded {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Refusals that guards look for, by event";
        let mut metric = encoder.encode_descriptor("ballast_security_events", help, None, MetricType::Counter)?;
        let tls = self.tls_failed.map(|n| ("tls_failed", n));
        for (event, n) in self.security.iter().copied().chain(tls) {
            let labels = vec![("event", event)];
            metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&n, None)?;
        }
        if let Some(n) = self.audit_lost {
            let help = "Lines that are missing in the audit log";
            let mut metric = encoder.encode_descriptor("ballast_audit_lines_lost", help, None, MetricType::Counter)?;
            metric.encode_counter::<NoLabelSet, _, u64>(&n, None)?;
        }
        Ok(())
    }
}
