//! What handlers ask of the broker as a whole.

use millrace_metadata::config::CompressionType;
use millrace_metadata::error::ErrorCode;

use crate::broker::Broker;

impl Broker {
    /// A producer id that nobody else has.
    ///
    /// # Errors
    /// A code that makes the client ask again.
    pub async fn next_producer_id(&self) -> Result<i64, ErrorCode> {
        self.producer_ids.next().await.map_err(|error| {
            tracing::warn!(%error, "no producer ids could be had from the controller");
            ErrorCode::CoordinatorLoadInProgress
        })
    }

    /// Whether `advertised.listeners` pins the address of this listener.
    pub fn is_address_pinned(&self, listener: &str) -> bool {
        self.config.current().advertised.iter().any(|pinned| pinned.name == listener)
    }

    /// Whether `compression.type` of the topic is zstd.
    pub fn compresses_with_zstd(&self, topic: &str) -> bool {
        self.config.topic_config(&self.image(), topic).compression_type == CompressionType::Zstd
    }
}
