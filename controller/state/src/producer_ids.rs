//! Blocks of producer ids (`ProducerIdControlManager`).

use millrace_metadata::command::ProducerIdBlock;
use millrace_metadata::limits::PRODUCER_ID_BLOCK;
use millrace_metadata::{ApiError, ErrorCode, NodeId, Record};

use crate::Draft;

pub(crate) fn allocate(draft: &mut Draft, broker: NodeId, broker_epoch: i64) -> Result<ProducerIdBlock, ApiError> {
    draft.broker_at(broker, broker_epoch)?;
    let first = draft.image().next_producer_id;
    let next = first
        .checked_add(PRODUCER_ID_BLOCK)
        .ok_or_else(|| ApiError::new(ErrorCode::UnknownServerError, "All producer ids are used up."))?;
    draft.push(Record::ProducerIds { broker, broker_epoch, next });
    Ok(ProducerIdBlock { first, len: PRODUCER_ID_BLOCK })
}
