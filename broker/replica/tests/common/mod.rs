//! A replica manager on in-memory stores.
#![allow(dead_code, clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use millrace_log::batch::HeaderFields;
use millrace_log::record::{Record, put_record};
use millrace_metadata::config::TopicConfig;
use millrace_metadata::{DirId, Image, PartitionImage, Record as Fact, TopicId};
use millrace_replica::{
    AppendCx, DirSetup, FetchData, FetchSpec, Isolation, LogDerive, Origin, Partition, ReadError, Reader,
    ReplicaManager, ReplicaOptions,
};
use millrace_store::{LogStore, MemoryDisk, MemoryStore, StoreError};

pub const NODE: i32 = 1;
pub const LONG: Duration = Duration::from_secs(30);

pub struct World {
    pub disks: Vec<MemoryDisk>,
    pub stores: Vec<MemoryStore>,
    pub manager: Arc<ReplicaManager>,
    pub image: Image,
    pub config: Arc<TopicConfig>,
}

pub fn path(dir: usize) -> String {
    format!("/d{dir}")
}

/// Which directories cannot be opened.
pub fn start(disks: &[MemoryDisk], broken: &[usize]) -> (Vec<MemoryStore>, Arc<ReplicaManager>) {
    let mut stores = Vec::new();
    let mut dirs = Vec::new();
    for (i, disk) in disks.iter().enumerate() {
        let store: Result<Arc<dyn LogStore>, StoreError> = match broken.contains(&i) {
            true => Err(StoreError::Refused { path: path(i), what: "broken".into() }),
            false => {
                let store = MemoryStore::open_manual(disk, Arc::new(LogDerive)).unwrap();
                stores.push(store.clone());
                Ok(Arc::new(store))
            }
        };
        dirs.push(DirSetup { path: path(i).into(), id: DirId([i as u8 + 9; 16]), store });
    }
    (stores, Arc::new(ReplicaManager::start(ReplicaOptions { node_id: NODE, dirs })))
}

impl World {
    pub fn new(dirs: usize) -> World {
        let disks: Vec<MemoryDisk> = (0..dirs).map(|_| MemoryDisk::new()).collect();
        let (stores, manager) = start(&disks, &[]);
        World { disks, stores, manager, image: Image::default(), config: Arc::default() }
    }

    pub fn create(&mut self, name: &str, id: u8, partitions: i32) {
        self.image.index += 1;
        self.image.apply(&Fact::Topic { name: name.into(), id: TopicId([id; 16]) });
        for index in 0..partitions {
            let partition = PartitionImage::new(&[NODE], &[DirId::ZERO]);
            self.image.apply(&Fact::Partition { topic: TopicId([id; 16]), index, partition: Box::new(partition) });
        }
        self.apply();
    }

    pub fn delete(&mut self, id: u8) {
        self.image.apply(&Fact::RemoveTopic { id: TopicId([id; 16]) });
        self.apply();
    }

    pub fn apply(&self) {
        let config = self.config.clone();
        self.manager.apply(&Arc::new(self.image.clone()), &|_| config.clone());
    }

    pub fn partition(&self, name: &str, index: i32) -> Arc<Partition> {
        self.manager.partition(name, index).unwrap()
    }

    pub fn commit(&self) {
        self.stores.iter().for_each(MemoryStore::commit);
    }

    /// The process dies and starts again.
    pub fn crash(&mut self, broken: &[usize]) {
        self.stores.iter().for_each(MemoryStore::crash);
        (self.stores, self.manager) = start(&self.disks, broken);
        self.apply();
    }
}

pub fn batch(count: i32, timestamp: i64) -> BytesMut {
    produced(count, timestamp, (-1, -1, -1))
}

pub fn produced(count: i32, timestamp: i64, producer: (i64, i16, i32)) -> BytesMut {
    let mut payload = Vec::new();
    for i in 0..count {
        let record = Record { timestamp_delta: 0, offset_delta: i, key: None, value: Some(&[1; 100]) };
        put_record(&mut payload, record, &[]);
    }
    let (producer_id, producer_epoch, base_sequence) = producer;
    HeaderFields { producer_id, producer_epoch, base_sequence, ..HeaderFields::plain(count, timestamp) }.batch(&payload)
}

pub fn cx(acks: i16) -> AppendCx {
    AppendCx { acks, origin: Origin::Client, api_version: 9, now_ms: 1_000_000 }
}

pub fn append(partition: &Partition, count: i32) -> i64 {
    partition.append_as_leader(batch(count, 1000), cx(-1)).unwrap().last_offset
}

pub fn spec(offset: i64) -> FetchSpec {
    FetchSpec {
        reader: Reader::Consumer,
        offset,
        max_bytes: 1 << 20,
        at_least_one: true,
        isolation: Isolation::ReadUncommitted,
        current_leader_epoch: -1,
        last_fetched_epoch: -1,
    }
}

pub async fn read(partition: &Partition, offset: i64) -> Result<FetchData, ReadError> {
    partition.read(spec(offset)).await
}
