//! Blocks of producer ids come from the controller.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use millrace_controller::Controller;
use millrace_metadata::command::{Command, ProducerIdBlock, Reply};
use millrace_metadata::{ApiError, ErrorCode, NodeId};
use millrace_transactions::BlockSource;

/// Reserves blocks in the name of this incarnation of the broker.
pub struct ProducerIdBlocks {
    controller: Arc<Controller>,
    broker: NodeId,
    broker_epoch: i64,
}

impl ProducerIdBlocks {
    pub fn new(controller: Arc<Controller>, broker: NodeId, broker_epoch: i64) -> Self {
        Self { controller, broker, broker_epoch }
    }
}

impl BlockSource for ProducerIdBlocks {
    fn reserve(&self) -> BoxFuture<'static, Result<ProducerIdBlock, ApiError>> {
        let controller = self.controller.clone();
        let command = Command::AllocateProducerIds { broker: self.broker, broker_epoch: self.broker_epoch };
        async move {
            match controller.submit(command).await? {
                Reply::AllocateProducerIds(block) => block,
                _ => Err(ErrorCode::UnknownServerError.into()),
            }
        }
        .boxed()
    }
}
