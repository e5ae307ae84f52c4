//! The small rows that a directory's store keeps for its logs.
//!
//! ```text
//! 0x10 plog:u64                 → version:u8 end:i64 (epoch:i32 start:i64)*      state of a log up to `end`
//! 0x11 plog:u64 producer:u64    → a producer, see `producer.rs`
//! 0x12 plog:u64                 → version:u8 topic:16 partition:i32 role:u8 generation:u64   whose log it is
//! 0x13                          → next plog:u64
//! 0x14 plog:u64                 → high watermark:i64   a hint: what was committed at least
//! ```
//!
//! All numbers are big-endian, so that the rows of one log lie side by side.

use millrace_metadata::TopicId;
use millrace_store::{Kv, KvBatch, PlogId, StoreError};

use crate::epochs::Epochs;
use crate::producer::{Producer, Producers};

const STATE: u8 = 0x10;
const PRODUCER: u8 = 0x11;
const ASSIGNMENT: u8 = 0x12;
const NEXT_PLOG: u8 = 0x13;
const HIGH_WATERMARK: u8 = 0x14;

const VERSION: u8 = 1;

fn key(tag: u8, plog: PlogId) -> Vec<u8> {
    let mut key = Vec::with_capacity(17);
    key.push(tag);
    key.extend_from_slice(&plog.to_be_bytes());
    key
}

fn producer_key(plog: PlogId, producer: i64) -> Vec<u8> {
    let mut key = key(PRODUCER, plog);
    key.extend_from_slice(&(producer as u64).to_be_bytes());
    key
}

fn corrupt(what: &str) -> StoreError {
    StoreError::Corrupt { path: String::from("rows"), what: what.to_owned() }
}

/// What is known of a log below `end`, besides its producers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StateRow {
    pub end: i64,
    pub epochs: Epochs,
}

pub fn get_state(rows: &dyn Kv, plog: PlogId) -> Result<Option<StateRow>, StoreError> {
    let Some(bytes) = rows.get(&key(STATE, plog))? else {
        return Ok(None);
    };
    decode_state(&bytes).map(Some).ok_or_else(|| corrupt("the state of a partition log has an unknown format"))
}

fn decode_state(bytes: &[u8]) -> Option<StateRow> {
    let (&VERSION, rest) = bytes.split_first()? else {
        return None;
    };
    let (end, epochs) = rest.split_first_chunk()?;
    Some(StateRow { end: i64::from_be_bytes(*end), epochs: Epochs::decode(epochs)? })
}

pub fn put_state(out: &mut KvBatch, plog: PlogId, state: &StateRow) {
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(&state.end.to_be_bytes());
    state.epochs.encode(&mut bytes);
    out.put(key(STATE, plog), bytes);
}

pub fn get_producer(rows: &dyn Kv, plog: PlogId, producer: i64) -> Result<Option<Producer>, StoreError> {
    let Some(bytes) = rows.get(&producer_key(plog, producer))? else {
        return Ok(None);
    };
    Producer::decode(&bytes).map(Some).ok_or_else(|| corrupt("a producer's state has an unknown format"))
}

pub fn put_producer(out: &mut KvBatch, plog: PlogId, id: i64, producer: &Producer) {
    let mut bytes = Vec::with_capacity(160);
    producer.encode(&mut bytes);
    out.put(producer_key(plog, id), bytes);
}

pub fn delete_producer(out: &mut KvBatch, plog: PlogId, producer: i64) {
    out.delete(producer_key(plog, producer));
}

/// All producers of a log.
pub fn scan_producers(rows: &dyn Kv, plog: PlogId) -> Result<Producers, StoreError> {
    let mut producers = Producers::default();
    let mut damaged = false;
    rows.scan(&key(PRODUCER, plog), &key(PRODUCER, plog + 1), &mut |key, value| {
        match (key_producer(key), Producer::decode(value)) {
            (Some((_, id)), Some(producer)) => producers.insert(id, producer),
            _ => damaged = true,
        }
        !damaged
    })?;
    if damaged { Err(corrupt("a producer's state has an unknown format")) } else { Ok(producers) }
}

fn key_producer(key: &[u8]) -> Option<(PlogId, i64)> {
    let (plog, rest) = key.get(1..)?.split_first_chunk()?;
    Some((u64::from_be_bytes(*plog), u64::from_be_bytes(*rest.first_chunk()?) as i64))
}

/// Visits up to `limit` producers of all logs from `from` on; returns where to go on, `None` at the end.
pub fn sweep_producers(
    rows: &dyn Kv,
    from: (PlogId, i64),
    limit: usize,
    visit: &mut dyn FnMut(PlogId, i64, &Producer),
) -> Result<Option<(PlogId, i64)>, StoreError> {
    let mut left = limit;
    let mut next = None;
    rows.scan(&producer_key(from.0, from.1), &[PRODUCER + 1], &mut |key, value| {
        let Some(at) = key_producer(key) else {
            return true;
        };
        if left == 0 {
            next = Some(at);
            return false;
        }
        left -= 1;
        if let Some(producer) = Producer::decode(value) {
            visit(at.0, at.1, &producer);
        }
        true
    })?;
    Ok(next)
}

/// Removes state and producers of a log.
pub fn delete_state(out: &mut KvBatch, plog: PlogId) {
    out.delete(key(STATE, plog));
    out.delete_range(key(PRODUCER, plog), key(PRODUCER, plog + 1));
}

/// What a log is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The partition's log.
    Current,
    /// A copy on its way to become the partition's log in this directory.
    Future,
}

/// Whose log it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assignment {
    pub topic: TopicId,
    pub partition: i32,
    pub role: Role,
    /// Of two current logs of one partition, the higher generation is right: a move between directories was cut off
    /// before the old one was removed.
    pub generation: u64,
}

pub fn put_assignment(out: &mut KvBatch, plog: PlogId, assignment: &Assignment) {
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(&assignment.topic.0);
    bytes.extend_from_slice(&assignment.partition.to_be_bytes());
    bytes.push(match assignment.role {
        Role::Current => 0,
        Role::Future => 1,
    });
    bytes.extend_from_slice(&assignment.generation.to_be_bytes());
    out.put(key(ASSIGNMENT, plog), bytes);
}

pub fn delete_assignment(out: &mut KvBatch, plog: PlogId) {
    out.delete(key(ASSIGNMENT, plog));
}

fn decode_assignment(bytes: &[u8]) -> Option<Assignment> {
    let (&VERSION, rest) = bytes.split_first()? else {
        return None;
    };
    let (topic, rest) = rest.split_first_chunk()?;
    let (partition, rest) = rest.split_first_chunk()?;
    let (role, rest) = rest.split_first()?;
    let role = match role {
        0 => Role::Current,
        1 => Role::Future,
        _ => return None,
    };
    let generation = u64::from_be_bytes(*rest.first_chunk()?);
    Some(Assignment { topic: TopicId(*topic), partition: i32::from_be_bytes(*partition), role, generation })
}

/// All logs that belong to a partition, by log id.
pub fn scan_assignments(rows: &dyn Kv) -> Result<Vec<(PlogId, Assignment)>, StoreError> {
    let mut out = Vec::new();
    let mut damaged = false;
    rows.scan(&[ASSIGNMENT], &[ASSIGNMENT + 1], &mut |key, value| {
        let plog = key.get(1..).and_then(|k| k.first_chunk()).map(|k| u64::from_be_bytes(*k));
        match (plog, decode_assignment(value)) {
            (Some(plog), Some(assignment)) => out.push((plog, assignment)),
            _ => damaged = true,
        }
        !damaged
    })?;
    if damaged { Err(corrupt("the list of partition logs has an unknown format")) } else { Ok(out) }
}

/// The high watermark that was noted last; `None` if there is none of use.
pub fn get_high_watermark(rows: &dyn Kv, plog: PlogId) -> Result<Option<i64>, StoreError> {
    let bytes = rows.get(&key(HIGH_WATERMARK, plog))?;
    Ok(bytes.and_then(|bytes| bytes.as_slice().try_into().ok()).map(i64::from_be_bytes))
}

pub fn put_high_watermark(out: &mut KvBatch, plog: PlogId, high_watermark: i64) {
    out.put(key(HIGH_WATERMARK, plog), high_watermark.to_be_bytes());
}

pub fn delete_high_watermark(out: &mut KvBatch, plog: PlogId) {
    out.delete(key(HIGH_WATERMARK, plog));
}

pub fn get_next_plog(rows: &dyn Kv) -> Result<PlogId, StoreError> {
    match rows.get(&[NEXT_PLOG])? {
        None => Ok(1),
        Some(bytes) => {
            bytes.as_slice().try_into().map(u64::from_be_bytes).map_err(|_| corrupt("the next log id is damaged"))
        }
    }
}

pub fn put_next_plog(out: &mut KvBatch, next: PlogId) {
    out.put(vec![NEXT_PLOG], next.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_store::MemoryKv;

    #[test]
    fn rows_come_back_and_those_of_one_log_lie_together() {
        let rows = MemoryKv::default();
        let mut out = KvBatch::default();
        let assignment = Assignment { topic: TopicId([7; 16]), partition: 3, role: Role::Future, generation: 9 };
        put_assignment(&mut out, 5, &assignment);
        put_next_plog(&mut out, 6);
        let mut epochs = Epochs::default();
        epochs.assign(4, 100);
        put_state(&mut out, 5, &StateRow { end: 120, epochs: epochs.clone() });
        let mut producer = Producer::default();
        producer.epoch = 2;
        for plog in [4, 5, 6] {
            put_producer(&mut out, plog, i64::MAX, &producer);
        }
        rows.write(out, true).unwrap();
        assert_eq!(scan_assignments(&rows).unwrap(), vec![(5, assignment)]);
        assert_eq!(get_next_plog(&rows).unwrap(), 6);
        assert_eq!(get_state(&rows, 5).unwrap().unwrap().epochs, epochs);
        assert_eq!(scan_producers(&rows, 5).unwrap().iter().count(), 1);
        let mut seen = Vec::new();
        let next = sweep_producers(&rows, (0, 0), 2, &mut |plog, _, _| seen.push(plog)).unwrap().unwrap();
        assert_eq!(sweep_producers(&rows, next, 2, &mut |plog, _, _| seen.push(plog)).unwrap(), None);
        assert_eq!(seen, vec![4, 5, 6]);
        let mut out = KvBatch::default();
        delete_state(&mut out, 5);
        rows.write(out, true).unwrap();
        assert!(scan_producers(&rows, 5).unwrap().is_empty() && get_producer(&rows, 6, i64::MAX).unwrap().is_some());
    }
}
