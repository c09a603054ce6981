//! What a node counts, in the text form of Prometheus. `docs/operations.md` lists the metrics; their names are part of the
//! public interface.
//!
//! Nothing is counted for this alone on the path of a read: everything is collected when it is asked for.

mod clients;
mod families;
mod lease;
mod replica;

use crate::clients::Clients;
use families::Families;
use leasehold_runtime::Runtime;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, prometheus_text};
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::Arc;

/// The type of the text.
pub(crate) const CONTENT_TYPE: &str = prometheus_text::CONTENT_TYPE;

/// Returns all metrics of a node.
pub(crate) fn render<R: Runtime>(clients: &Arc<Clients<R>>) -> String {
    let mut registry = Registry::with_prefix("leasehold");
    registry.register_collector(Box::new(Collected(clients.clone())));
    let mut text = String::new();
    prometheus_text::encode(&mut text, &registry).expect("a string takes everything that is written to it");
    text
}

/// A node whose counts are collected when the registry is encoded.
struct Collected<R: Runtime>(Arc<Clients<R>>);

impl<R: Runtime> fmt::Debug for Collected<R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Collected").finish_non_exhaustive()
    }
}

impl<R: Runtime> Collector for Collected<R> {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (clients, mut out) = (&*self.0, Families(encoder));
        lease::encode(clients, &mut out)?;
        replica::encode(clients, &mut out)?;
        clients::encode(clients, &mut out)
    }
}
