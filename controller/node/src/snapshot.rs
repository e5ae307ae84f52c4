//! Snapshots in the store: an image as records, in chunks, and one row that says which chunks count.

use std::io;
use std::sync::Arc;

use millrace_metadata::{Image, Record};
use millrace_rpc::{decode, encode, pb, record_from_pb, record_to_pb};
use millrace_state::snapshot_records;
use millrace_store::{Kv, KvBatch, StoreError};

use crate::codec::{snapshot_meta_from_pb, snapshot_meta_to_pb, unreadable};
use crate::keys;
use crate::raft::Snapshot;

/// Records of one chunk: a few hundred kilobytes at most, whatever the size of the image.
const CHUNK_RECORDS: usize = 2000;

fn failed(error: StoreError) -> io::Error {
    io::Error::other(error)
}

/// Groups records into chunks; also for the network.
pub fn chunks(image: &Image) -> impl Iterator<Item = Vec<pb::Record>> + '_ {
    let mut records = snapshot_records(image).peekable();
    std::iter::from_fn(move || {
        records.peek()?;
        Some(records.by_ref().take(CHUNK_RECORDS).map(|r| record_to_pb(&r)).collect())
    })
}

/// Writes the snapshot and then, in one step, makes it the current one and drops the one before.
pub fn store(kv: &dyn Kv, snapshot: &Snapshot) -> io::Result<()> {
    let image = &snapshot.snapshot;
    let name = image.index;
    let mut count = 0;
    for records in chunks(image) {
        let mut batch = KvBatch::default();
        batch.put(keys::chunk(name, count), encode(&pb::Records { records }));
        kv.write(batch, false).map_err(failed)?;
        count += 1;
    }
    let current = pb::StoredSnapshot {
        index: image.index,
        term: image.term,
        chunks: count,
        meta: Some(snapshot_meta_to_pb(&snapshot.meta)),
    };
    let mut batch = KvBatch::default();
    batch.put(keys::SNAPSHOT, encode(&current));
    let (first, end) = keys::all_chunks();
    batch.delete_range(first, keys::chunk(name, 0));
    batch.delete_range(keys::chunk(name, count), end);
    kv.write(batch, true).map_err(failed)
}

/// The current snapshot.
pub fn load(kv: &dyn Kv) -> io::Result<Option<Snapshot>> {
    let Some(bytes) = kv.get(keys::SNAPSHOT).map_err(failed)? else {
        return Ok(None);
    };
    let current: pb::StoredSnapshot = decode(&bytes).map_err(|e| unreadable("the snapshot", &e))?;
    let meta = current.meta.ok_or(millrace_rpc::DecodeError::Unknown("snapshot meta"));
    let meta = meta.and_then(snapshot_meta_from_pb).map_err(|e| unreadable("the snapshot", &e))?;
    let mut image = Image::at(current.index, current.term);
    for number in 0..current.chunks {
        let bytes = kv.get(&keys::chunk(current.index, number)).map_err(failed)?;
        let bytes = bytes.ok_or_else(|| io::Error::other(format!("chunk {number} of the snapshot is missing")))?;
        let chunk: pb::Records = decode(&bytes).map_err(|e| unreadable("a snapshot chunk", &e))?;
        apply(&mut image, chunk.records)?;
    }
    Ok(Some(Snapshot { meta, snapshot: Arc::new(image) }))
}

/// Adds a chunk's records to an image under construction.
pub fn apply(image: &mut Image, records: Vec<pb::Record>) -> io::Result<()> {
    for record in records {
        let record: Record = record_from_pb(record).map_err(|e| unreadable("a snapshot record", &e))?;
        image.apply(&record);
    }
    Ok(())
}
