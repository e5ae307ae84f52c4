//! What a log remembers of each idempotent producer: epoch, the last five batches, an open transaction.
//! Kafka: `ProducerAppendInfo.java`, `ProducerStateEntry.java`, `ProducerStateManager.java` (KIP-98, KIP-360).

use std::collections::BTreeMap;

use crate::batch::{BatchView, NO_PRODUCER_EPOCH, NO_SEQUENCE, NO_TIMESTAMP, add_sequence};
use crate::error::AppendError;
use crate::validate::Origin;

/// Batches that are remembered to recognise a resend; why clients may have five requests in flight.
pub const WINDOW: usize = 5;
/// Coordinator epoch of a producer that never had a transaction marker.
pub const NO_COORDINATOR_EPOCH: i32 = -1;

/// One remembered batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BatchMark {
    pub last_sequence: i32,
    pub offset_delta: i32,
    pub last_offset: i64,
    /// Largest timestamp of the batch, ms.
    pub timestamp: i64,
}

impl BatchMark {
    pub fn first_sequence(&self) -> i32 {
        add_sequence(self.last_sequence, -self.offset_delta)
    }
    pub fn first_offset(&self) -> i64 {
        self.last_offset - i64::from(self.offset_delta)
    }
}

/// State of one producer id in one partition.
#[derive(Debug, Clone, Copy)]
pub struct Producer {
    pub epoch: i16,
    pub coordinator_epoch: i32,
    /// Timestamp of the last batch or marker, ms; what expiry goes by.
    pub last_timestamp: i64,
    /// First offset of the open transaction, −1 if there is none.
    pub txn_first_offset: i64,
    marks: [BatchMark; WINDOW],
    len: u8,
}

impl PartialEq for Producer {
    fn eq(&self, other: &Producer) -> bool {
        let facts = |p: &Producer| (p.epoch, p.coordinator_epoch, p.last_timestamp, p.txn_first_offset);
        facts(self) == facts(other) && self.marks() == other.marks()
    }
}

impl Eq for Producer {}

impl Default for Producer {
    fn default() -> Producer {
        Producer {
            epoch: NO_PRODUCER_EPOCH,
            coordinator_epoch: NO_COORDINATOR_EPOCH,
            last_timestamp: NO_TIMESTAMP,
            txn_first_offset: -1,
            marks: [BatchMark::default(); WINDOW],
            len: 0,
        }
    }
}

impl Producer {
    /// Remembered batches, oldest first.
    pub fn marks(&self) -> &[BatchMark] {
        &self.marks[..usize::from(self.len)]
    }

    pub fn last_sequence(&self) -> i32 {
        self.marks().last().map_or(NO_SEQUENCE, |m| m.last_sequence)
    }

    pub fn last_offset(&self) -> i64 {
        self.marks().last().map_or(-1, |m| m.last_offset)
    }

    /// The remembered batch that `batch` repeats.
    pub fn duplicate_of(&self, batch: BatchView<'_>) -> Option<BatchMark> {
        if batch.producer_epoch() != self.epoch {
            return None;
        }
        let (first, last) = (batch.base_sequence(), batch.last_sequence());
        self.marks().iter().find(|m| m.last_sequence == last && m.first_sequence() == first).copied()
    }

    /// Whether `batch` may follow what is known. Duplicates are looked for before.
    fn check(&self, batch: BatchView<'_>, origin: Origin) -> Result<(), AppendError> {
        let (producer_id, epoch) = (batch.producer_id(), batch.producer_epoch());
        if epoch < self.epoch {
            return Err(AppendError::InvalidProducerEpoch { producer_id, epoch, current: self.epoch });
        }
        if origin == Origin::Client && self.epoch != NO_PRODUCER_EPOCH {
            let sequence = batch.base_sequence();
            let last = if epoch == self.epoch { self.last_sequence() } else { NO_SEQUENCE };
            let expected = if last == NO_SEQUENCE { 0 } else { add_sequence(last, 1) };
            if sequence != expected {
                return Err(AppendError::OutOfOrderSequence { producer_id, sequence, last });
            }
        }
        if self.txn_first_offset >= 0 && !batch.is_transactional() && !batch.is_control() {
            return Err(AppendError::InvalidTxnState { producer_id });
        }
        Ok(())
    }

    /// Takes in a data batch that is in the log at the offsets it carries. One that is known already changes nothing.
    pub fn take(&mut self, batch: BatchView<'_>) {
        if batch.last_offset() <= self.last_offset() {
            return;
        }
        if batch.producer_epoch() != self.epoch {
            self.epoch = batch.producer_epoch();
            self.len = 0;
        }
        if usize::from(self.len) == WINDOW {
            self.marks.copy_within(1.., 0);
            self.len -= 1;
        }
        self.marks[usize::from(self.len)] = BatchMark {
            last_sequence: batch.last_sequence(),
            offset_delta: batch.last_offset_delta(),
            last_offset: batch.last_offset(),
            timestamp: batch.max_timestamp(),
        };
        self.len += 1;
        self.last_timestamp = batch.max_timestamp();
        if batch.is_transactional() && self.txn_first_offset < 0 {
            self.txn_first_offset = batch.base_offset();
        }
    }

    /// Takes in the end of a transaction.
    fn end_txn(&mut self, epoch: i16, coordinator_epoch: i32, timestamp: i64) {
        if epoch != self.epoch {
            self.epoch = epoch;
            self.len = 0;
        }
        self.coordinator_epoch = coordinator_epoch;
        self.last_timestamp = timestamp;
        self.txn_first_offset = -1;
    }

    pub fn is_expired(&self, now_ms: i64, expiration_ms: i64) -> bool {
        self.txn_first_offset < 0 && now_ms.saturating_sub(self.last_timestamp) >= expiration_ms
    }

    /// Forgets batches at or above `to`; true if there were any.
    pub(crate) fn truncate(&mut self, to: i64) -> bool {
        let before = (self.len, self.txn_first_offset);
        while self.len > 0 && self.marks[usize::from(self.len) - 1].last_offset >= to {
            self.len -= 1;
        }
        if self.txn_first_offset >= to {
            self.txn_first_offset = -1;
        }
        let lost = before != (self.len, self.txn_first_offset);
        if lost && let Some(last) = self.marks().last() {
            self.last_timestamp = last.timestamp;
        }
        lost
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.epoch.to_be_bytes());
        out.extend_from_slice(&self.coordinator_epoch.to_be_bytes());
        out.extend_from_slice(&self.last_timestamp.to_be_bytes());
        out.extend_from_slice(&self.txn_first_offset.to_be_bytes());
        for mark in self.marks() {
            out.extend_from_slice(&mark.last_sequence.to_be_bytes());
            out.extend_from_slice(&mark.offset_delta.to_be_bytes());
            out.extend_from_slice(&mark.last_offset.to_be_bytes());
            out.extend_from_slice(&mark.timestamp.to_be_bytes());
        }
    }

    /// `None` for bytes of another shape.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Producer> {
        let (epoch, rest) = bytes.split_first_chunk()?;
        let (coordinator_epoch, rest) = rest.split_first_chunk()?;
        let (last_timestamp, rest) = rest.split_first_chunk()?;
        let (txn_first_offset, rest) = rest.split_first_chunk()?;
        let mut producer = Producer {
            epoch: i16::from_be_bytes(*epoch),
            coordinator_epoch: i32::from_be_bytes(*coordinator_epoch),
            last_timestamp: i64::from_be_bytes(*last_timestamp),
            txn_first_offset: i64::from_be_bytes(*txn_first_offset),
            ..Producer::default()
        };
        let (marks, []) = rest.as_chunks::<MARK_SIZE>() else {
            return None;
        };
        if marks.len() > WINDOW {
            return None;
        }
        for (slot, mark) in producer.marks.iter_mut().zip(marks) {
            *slot = decode_mark(mark)?;
        }
        producer.len = marks.len() as u8;
        Some(producer)
    }
}

const MARK_SIZE: usize = 24;

fn decode_mark(bytes: &[u8; MARK_SIZE]) -> Option<BatchMark> {
    let (last_sequence, rest) = bytes.split_first_chunk()?;
    let (offset_delta, rest) = rest.split_first_chunk()?;
    let (last_offset, rest) = rest.split_first_chunk()?;
    Some(BatchMark {
        last_sequence: i32::from_be_bytes(*last_sequence),
        offset_delta: i32::from_be_bytes(*offset_delta),
        last_offset: i64::from_be_bytes(*last_offset),
        timestamp: i64::from_be_bytes(*rest.first_chunk()?),
    })
}

/// What an append may do, as far as producers are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Append,
    /// The batch is already in the log.
    Duplicate(BatchMark),
}

/// All producers of one partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Producers {
    map: BTreeMap<i64, Producer>,
}

impl Producers {
    /// Whether a batch that a client or coordinator sends may be appended. Changes nothing.
    pub fn check(&self, batch: BatchView<'_>, origin: Origin) -> Result<Verdict, AppendError> {
        if !batch.has_producer_id() {
            return Ok(Verdict::Append);
        }
        let producer_id = batch.producer_id();
        let known = self.map.get(&producer_id);
        if origin == Origin::Client {
            if let Some(mark) = known.and_then(|p| p.duplicate_of(batch)) {
                return Ok(Verdict::Duplicate(mark));
            }
            if batch.is_transactional() && known.is_none_or(|p| p.txn_first_offset < 0) {
                return Err(AppendError::InvalidTxnState { producer_id });
            }
        }
        // With nothing known, perhaps because it expired, any sequence is a start.
        if let Some(known) = known {
            known.check(batch, origin)?;
        }
        Ok(Verdict::Append)
    }

    /// Takes in a batch that is in the log at the offsets it carries.
    pub fn take(&mut self, batch: BatchView<'_>) {
        if !batch.has_producer_id() {
            return;
        }
        if batch.is_control() {
            if let Some(marker) = EndTxnMarker::read(batch) {
                let producer = self.map.entry(batch.producer_id()).or_default();
                producer.end_txn(batch.producer_epoch(), marker.coordinator_epoch, batch.max_timestamp());
            }
            return;
        }
        self.map.entry(batch.producer_id()).or_default().take(batch);
    }

    pub fn get(&self, producer_id: i64) -> Option<&Producer> {
        self.map.get(&producer_id)
    }

    pub fn insert(&mut self, producer_id: i64, producer: Producer) {
        self.map.insert(producer_id, producer);
    }

    pub fn len(&self) -> usize {
        self.map.len()
    }

    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Sorted by producer id.
    pub fn iter(&self) -> impl Iterator<Item = (i64, &Producer)> {
        self.map.iter().map(|(id, producer)| (*id, producer))
    }

    /// First offset of the earliest open transaction.
    pub fn first_open_txn(&self) -> Option<i64> {
        self.map.values().map(|p| p.txn_first_offset).filter(|o| *o >= 0).min()
    }

    /// Forgets the producers that have been silent for `expiration_ms`; returns their ids.
    pub fn expire(&mut self, now_ms: i64, expiration_ms: i64) -> Vec<i64> {
        let expired: Vec<i64> =
            self.map.iter().filter(|(_, p)| p.is_expired(now_ms, expiration_ms)).map(|(id, _)| *id).collect();
        for id in &expired {
            self.map.remove(id);
        }
        expired
    }

    /// Forgets batches at or above `to`. True if any producer lost one: its older batches must then be looked up.
    pub(crate) fn truncate(&mut self, to: i64) -> bool {
        let mut lost = false;
        for producer in self.map.values_mut() {
            lost |= producer.truncate(to);
        }
        lost
    }

    /// Removes the producers of whom no batch and no transaction is known any more.
    pub(crate) fn drop_unknown(&mut self) {
        self.map.retain(|_, p| p.len > 0 || p.coordinator_epoch != NO_COORDINATOR_EPOCH);
    }
}

/// The record of a control batch that ends a transaction.
struct EndTxnMarker {
    coordinator_epoch: i32,
}

impl EndTxnMarker {
    const ABORT: i16 = 0;
    const COMMIT: i16 = 1;

    fn read(batch: BatchView<'_>) -> Option<EndTxnMarker> {
        let record = crate::record::Records::new(batch.payload(), batch.count().min(1)).next()?.ok()?;
        let (_, kind) = record.key?.split_first_chunk::<2>()?;
        let kind = i16::from_be_bytes(*kind.first_chunk()?);
        if kind != Self::ABORT && kind != Self::COMMIT {
            return None;
        }
        let (_, epoch) = record.value?.split_first_chunk::<2>()?;
        Some(EndTxnMarker { coordinator_epoch: i32::from_be_bytes(*epoch.first_chunk()?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::HeaderFields;
    use proptest::prelude::*;

    fn batch(epoch: i16, sequence: i32, count: i32, base_offset: i64) -> bytes::BytesMut {
        let fields = HeaderFields {
            base_offset,
            producer_id: 7,
            producer_epoch: epoch,
            base_sequence: sequence,
            ..HeaderFields::plain(count, 1000)
        };
        fields.batch(&[])
    }

    fn append(
        producers: &mut Producers,
        epoch: i16,
        sequence: i32,
        count: i32,
        at: i64,
    ) -> Result<Verdict, AppendError> {
        let bytes = batch(epoch, sequence, count, at);
        let view = BatchView::new(&bytes).unwrap();
        let verdict = producers.check(view, Origin::Client)?;
        if verdict == Verdict::Append {
            producers.take(view);
        }
        Ok(verdict)
    }

    #[test]
    fn five_batches_are_recognised_and_a_sixth_is_not() {
        let mut p = Producers::default();
        for i in 0..6 {
            assert_eq!(append(&mut p, 0, i * 10, 10, i64::from(i) * 10).unwrap(), Verdict::Append);
        }
        for i in 1..6 {
            let Verdict::Duplicate(mark) = append(&mut p, 0, i * 10, 10, 900).unwrap() else {
                panic!("not recognised")
            };
            assert_eq!((mark.first_offset(), mark.last_offset), (i64::from(i) * 10, i64::from(i) * 10 + 9));
        }
        assert!(matches!(append(&mut p, 0, 0, 10, 900), Err(AppendError::OutOfOrderSequence { last: 59, .. })));
        // The same first sequence with another length is no resend.
        assert!(matches!(append(&mut p, 0, 50, 5, 900), Err(AppendError::OutOfOrderSequence { .. })));
    }

    #[test]
    fn sequences_wrap_to_zero() {
        let mut p = Producers::default();
        append(&mut p, 0, i32::MAX - 1, 2, 0).unwrap();
        append(&mut p, 0, 0, 3, 2).unwrap();
        assert_eq!(p.get(7).unwrap().last_sequence(), 2);
        let mut p = Producers::default();
        append(&mut p, 0, i32::MAX - 1, 5, 0).unwrap();
        assert_eq!(p.get(7).unwrap().last_sequence(), 2);
        assert!(matches!(append(&mut p, 0, i32::MAX - 1, 5, 9).unwrap(), Verdict::Duplicate(_)));
        append(&mut p, 0, 3, 1, 5).unwrap();
    }

    #[test]
    fn epochs_rise_only_and_restart_at_zero() {
        let mut p = Producers::default();
        append(&mut p, 3, 40, 1, 0).unwrap();
        assert!(matches!(append(&mut p, 2, 41, 1, 1), Err(AppendError::InvalidProducerEpoch { current: 3, .. })));
        assert!(matches!(append(&mut p, 4, 41, 1, 1), Err(AppendError::OutOfOrderSequence { .. })));
        append(&mut p, 4, 0, 1, 1).unwrap();
        // The old epoch's batch is no duplicate any more.
        assert!(matches!(append(&mut p, 3, 40, 1, 2), Err(AppendError::InvalidProducerEpoch { .. })));
    }

    #[test]
    fn unknown_producers_start_anywhere_and_expire() {
        let mut p = Producers::default();
        append(&mut p, 0, 500, 1, 0).unwrap();
        assert!(p.expire(1999, 1000).is_empty());
        assert_eq!(p.expire(2000, 1000), vec![7]);
        append(&mut p, 0, 3, 1, 0).unwrap();
    }

    #[test]
    fn a_transactional_batch_needs_an_open_transaction() {
        let fields = HeaderFields {
            attributes: 0x10,
            producer_id: 7,
            producer_epoch: 0,
            base_sequence: 0,
            ..HeaderFields::plain(1, 0)
        };
        let bytes = fields.batch(&[]);
        let view = BatchView::new(&bytes).unwrap();
        let mut p = Producers::default();
        assert!(matches!(p.check(view, Origin::Client), Err(AppendError::InvalidTxnState { .. })));
        p.take(view);
        assert_eq!(p.first_open_txn(), Some(0));
        assert!(p.expire(i64::MAX, 0).is_empty());
    }

    /// The rules in their plainest form: every batch ever appended is kept.
    #[derive(Default)]
    struct Model {
        epoch: Option<i16>,
        batches: Vec<(i32, i32, i64)>,
    }

    impl Model {
        fn append(&mut self, epoch: i16, first: i32, count: i32, at: i64) -> Result<Option<i64>, ()> {
            let last = ((i64::from(first) + i64::from(count) - 1) % (1 << 31)) as i32;
            let Some(current) = self.epoch else {
                self.epoch = Some(epoch);
                self.batches.push((first, last, at));
                return Ok(None);
            };
            if epoch == current {
                let recent = self.batches.iter().rev().take(WINDOW).find(|b| (b.0, b.1) == (first, last));
                if let Some(duplicate) = recent {
                    return Ok(Some(duplicate.2));
                }
            }
            let next = self.batches.last().map_or(0, |b| ((i64::from(b.1) + 1) % (1 << 31)) as i32);
            if epoch < current || (epoch == current && first != next) || (epoch > current && first != 0) {
                return Err(());
            }
            if epoch > current {
                self.batches.clear();
                self.epoch = Some(epoch);
            }
            self.batches.push((first, last, at));
            Ok(None)
        }
    }

    proptest! {
        #[test]
        fn follows_the_model(
            start in prop_oneof![Just(0), Just(i32::MAX - 6)],
            steps in proptest::collection::vec((0i16..3, 0i32..12, 1i32..4), 1..60),
        ) {
            let (mut p, mut model) = (Producers::default(), Model::default());
            let mut at = 0;
            let mut epoch = 0;
            for (bump, back, count) in steps {
                let last = p.get(7).map_or(NO_SEQUENCE, Producer::last_sequence);
                let next = if last == NO_SEQUENCE { start } else { add_sequence(last, 1) };
                // Mostly the right sequence, sometimes one from before, sometimes a new epoch.
                epoch += i16::from(bump == 2 && back == 0);
                let sequence = if back < 6 { next } else { add_sequence(next, 6 - back) };
                let sequence = if bump == 2 && back == 0 { 0 } else { sequence };
                let got = append(&mut p, epoch, sequence, count, at);
                let want = model.append(epoch, sequence, count, at);
                match (got, want) {
                    (Ok(Verdict::Append), Ok(None)) => at += i64::from(count),
                    (Ok(Verdict::Duplicate(mark)), Ok(Some(first))) => prop_assert_eq!(mark.first_offset(), first),
                    (Err(_), Err(())) => {}
                    (got, want) => prop_assert!(false, "{:?} against {:?}", got, want),
                }
                let producer = p.get(7).unwrap();
                let mut bytes = Vec::new();
                producer.encode(&mut bytes);
                prop_assert_eq!(Producer::decode(&bytes), Some(*producer));
            }
        }
    }
}
