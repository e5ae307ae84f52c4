//! CPU time to validate and append batches of 1 KiB records, without the store: `cargo bench -p millrace-log`.
//!
//! Prints seconds of this thread's CPU per 10⁹ bytes of batches, and what the checksum alone costs of that.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::{Bytes, BytesMut};
use millrace_log::batch::{BatchView, HeaderFields};
use millrace_log::compress::compress;
use millrace_log::record::{Record, put_record};
use millrace_log::{Compression, DirSetup, LeaderAppend, LogDerive, LogManager, Origin, PartitionLog};
use millrace_metadata::DirId;
use millrace_metadata::config::TopicConfig;
use millrace_store::{
    Batch, BatchMeta, Bounds, Extent, MemoryStore, Plog, PlogId, ReadChunk, ReadSpec, RetentionClass, StoreError,
    TailRead,
};

/// Bytes that one figure is measured over.
const TOTAL: usize = 1 << 30;
/// Batches are copied in rounds of this size, outside of the measured time; small enough to be in the cache, as what was
/// just read from a socket is.
const ROUND: usize = 2 << 20;

/// Takes batches and drops them.
struct Nowhere(AtomicI64);

impl Plog for Nowhere {
    fn id(&self) -> PlogId {
        1
    }
    fn bounds(&self) -> Bounds {
        Bounds { end: self.0.load(Ordering::Relaxed), ..Bounds::default() }
    }
    fn append(&self, batch: Batch) -> Result<(), StoreError> {
        self.0.store(batch.last_offset + 1, Ordering::Relaxed);
        Ok(())
    }
    fn truncate(&self, _: i64) -> Result<(), StoreError> {
        Ok(())
    }
    fn set_log_start(&self, _: i64) -> Result<(), StoreError> {
        Ok(())
    }
    fn delete(&self) -> Result<(), StoreError> {
        Ok(())
    }
    fn set_class(&self, _: RetentionClass) {}
    fn read_tail(&self, _: ReadSpec) -> TailRead {
        TailRead::Below
    }
    fn read(&self, _: ReadSpec) -> Result<ReadChunk, StoreError> {
        Ok(ReadChunk::default())
    }
    fn index(&self, _: i64, _: usize) -> Result<Vec<BatchMeta>, StoreError> {
        Ok(Vec::new())
    }
    fn extents(&self, _: i64, _: usize) -> Result<Vec<Extent>, StoreError> {
        Ok(Vec::new())
    }
    fn tail(&self) -> Vec<Bytes> {
        Vec::new()
    }
}

/// Nanoseconds that this thread has had a CPU.
fn cpu_ns() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    stat.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

fn batch(bytes: usize, codec: Compression) -> BytesMut {
    let count = (bytes / 1036) as i32;
    let mut payload = Vec::new();
    let mut noise = 88172645463325252u64;
    for offset_delta in 0..count {
        // Half noise, half text-like: compresses to about half.
        let value: Vec<u8> = (0..1024)
            .map(|i| {
                noise ^= noise << 13;
                noise ^= noise >> 7;
                noise ^= noise << 17;
                if i % 2 == 0 { noise as u8 } else { b'a' }
            })
            .collect();
        let record = Record { timestamp_delta: 0, offset_delta, key: None, value: Some(&value) };
        put_record(&mut payload, record, &[]);
    }
    let payload = compress(codec, &payload).unwrap_or_default();
    HeaderFields { attributes: i16::from(codec.id()), ..HeaderFields::plain(count, 1_000) }.batch(&payload)
}

fn measure(total: usize, batch: &BytesMut, mut work: impl FnMut(BytesMut)) -> f64 {
    let (mut done, mut spent) = (0, 0);
    while done < total {
        let copies: Vec<BytesMut> = (0..ROUND / batch.len()).map(|_| BytesMut::from(&batch[..])).collect();
        done += copies.len() * batch.len();
        let before = cpu_ns();
        copies.into_iter().for_each(&mut work);
        spent += cpu_ns() - before;
    }
    spent as f64 / done as f64
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = MemoryStore::new(Arc::new(LogDerive))?;
    let dir = DirSetup { path: "memory".into(), id: DirId::ZERO, store: Ok(Arc::new(store)) };
    let manager = LogManager::open(vec![dir]);
    let config = Arc::new(TopicConfig::default());
    let log = PartitionLog::new(manager.dirs()[0].clone(), Arc::new(Nowhere(AtomicI64::new(0))), config);
    let cx = LeaderAppend { origin: Origin::Client, api_version: 9, now_ms: 1_000, leader_epoch: 0 };
    println!("{:<10}{:>12}{:>14}{:>14}", "batch", "codec", "append s/GB", "of it CRC");
    for (size, codec) in [
        (128 << 10, Compression::None),
        (16 << 10, Compression::None),
        (128 << 10, Compression::Lz4(9)),
        (128 << 10, Compression::Snappy),
        (128 << 10, Compression::Zstd(3)),
        (128 << 10, Compression::Gzip(-1)),
    ] {
        let total = if codec == Compression::None { TOTAL } else { TOTAL / 8 };
        let batch = batch(size, codec);
        let crc = measure(total, &batch, |b| assert!(BatchView::new(&b).is_some_and(|v| v.crc_matches())));
        let append = measure(total, &batch, |b| assert!(log.append_as_leader(b, cx).is_ok()));
        let name = format!("{codec:?}");
        println!("{:<10}{name:>12}{append:>14.3}{crc:>14.3}", format!("{} KiB", size >> 10));
    }
    Ok(())
}
