//! Who this controller is: written once, checked at every start.

use millrace_metadata::{DirId, NodeId};
use millrace_rpc::pb;
use millrace_store::{Kv, KvBatch, StoreError};
use rand::RngCore;

use crate::keys;
use crate::options::{ControllerOptions, StartError};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub node_id: NodeId,
    pub dir: DirId,
    /// Empty until the controllers of a new quorum have agreed on one.
    pub cluster_id: String,
}

/// Reads the identity that the store has, or gives it one. A controller on its own chooses its cluster id too; its row
/// is durable with the first durable write after it, and nothing counts before that. One of several must be known by
/// its directory from now on.
pub fn load_or_create(kv: &dyn Kv, options: &ControllerOptions, rng: &mut dyn RngCore) -> Result<Identity, StartError> {
    if let Some(bytes) = kv.get(keys::IDENTITY)? {
        let found = decode(&bytes, options)?;
        return check(found, options);
    }
    let mut random = || {
        let mut bytes = [0; 16];
        rng.fill_bytes(&mut bytes);
        DirId::from_random(bytes)
    };
    let identity = Identity {
        node_id: options.node_id,
        // A new one whenever the log is new: with its old id an empty log would be taken for what it was.
        dir: random(),
        cluster_id: match options.is_alone() {
            true => options.cluster_id.clone().unwrap_or_else(|| random().to_string()),
            false => String::new(),
        },
    };
    store(kv, &identity, !options.is_alone())?;
    Ok(identity)
}

fn store(kv: &dyn Kv, identity: &Identity, durable: bool) -> Result<(), StoreError> {
    let mut batch = KvBatch::default();
    batch.put(
        keys::IDENTITY,
        millrace_rpc::encode(&pb::Identity {
            node_id: identity.node_id,
            dir: identity.dir.0.to_vec(),
            cluster_id: identity.cluster_id.clone(),
        }),
    );
    kv.write(batch, durable)
}

/// Gives the store the cluster id that was agreed on; durable on return.
pub fn adopt(kv: &dyn Kv, identity: &Identity, cluster_id: &str) -> Result<(), StoreError> {
    store(kv, &Identity { cluster_id: cluster_id.to_owned(), ..identity.clone() }, true)
}

fn decode(bytes: &[u8], options: &ControllerOptions) -> Result<Identity, StartError> {
    let unreadable = |e| StartError::Unreadable { dir: options.dir.display().to_string(), what: format!("{e}") };
    let row: pb::Identity = millrace_rpc::decode(bytes).map_err(unreadable)?;
    let dir = millrace_rpc::dir_id(&row.dir).map_err(unreadable)?;
    Ok(Identity { node_id: row.node_id, dir, cluster_id: row.cluster_id })
}

fn check(found: Identity, options: &ControllerOptions) -> Result<Identity, StartError> {
    let dir = || options.dir.display().to_string();
    if found.node_id != options.node_id {
        return Err(StartError::WrongNode { dir: dir(), found: found.node_id, wanted: options.node_id });
    }
    match &options.cluster_id {
        Some(wanted) if *wanted != found.cluster_id && !found.cluster_id.is_empty() => {
            Err(StartError::WrongCluster { dir: dir(), found: found.cluster_id, wanted: wanted.clone() })
        }
        _ => Ok(found),
    }
}
