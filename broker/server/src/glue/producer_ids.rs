//! Blocks of producer ids come from the controller.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use millrace_controller::ControllerLink;
use millrace_metadata::command::{Command, ProducerIdBlock, Reply};
use millrace_metadata::{ApiError, ErrorCode, NodeId};
use millrace_transactions::BlockSource;
use tokio::sync::watch;

/// Reserves blocks in the name of this incarnation of the broker.
pub struct ProducerIdBlocks {
    controller: Arc<ControllerLink>,
    broker: NodeId,
    epoch: watch::Receiver<i64>,
}

impl ProducerIdBlocks {
    pub fn new(controller: Arc<ControllerLink>, broker: NodeId, epoch: watch::Receiver<i64>) -> Self {
        Self { controller, broker, epoch }
    }
}

impl BlockSource for ProducerIdBlocks {
    fn reserve(&self) -> BoxFuture<'static, Result<ProducerIdBlock, ApiError>> {
        let controller = self.controller.clone();
        let command = Command::AllocateProducerIds { broker: self.broker, broker_epoch: *self.epoch.borrow() };
        async move {
            match controller.submit(command).await? {
                Reply::AllocateProducerIds(block) => block,
                _ => Err(ErrorCode::UnknownServerError.into()),
            }
        }
        .boxed()
    }
}
