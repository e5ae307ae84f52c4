//! Which leader epoch wrote which offsets (KIP-101, KIP-279). Kafka: `LeaderEpochFileCache.java`.

use crate::batch::NO_EPOCH;

/// `epoch` wrote from `start` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochStart {
    pub epoch: i32,
    pub start: i64,
}

/// Answer to "where does this epoch end?": the largest known epoch that is not above the one asked for, and the
/// first offset after it. (−1, −1) when nothing is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEnd {
    pub epoch: i32,
    pub end: i64,
}

impl EpochEnd {
    pub const UNKNOWN: EpochEnd = EpochEnd { epoch: NO_EPOCH, end: -1 };
}

/// Epochs with their first offsets, both strictly rising.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Epochs {
    entries: Vec<EpochStart>,
}

impl Epochs {
    pub fn entries(&self) -> &[EpochStart] {
        &self.entries
    }

    /// The epoch of the newest entry.
    pub fn latest(&self) -> Option<i32> {
        self.entries.last().map(|e| e.epoch)
    }

    /// Notes that `epoch` writes from `start` on. Entries that this contradicts are dropped: those that start at or
    /// after it, and those of later epochs. True if anything changed.
    pub fn assign(&mut self, epoch: i32, start: i64) -> bool {
        if epoch < 0 || start < 0 {
            return false;
        }
        match self.entries.last() {
            Some(last) if last.epoch == epoch && start >= last.start => return false,
            _ => {}
        }
        self.entries.retain(|e| e.epoch < epoch && e.start < start);
        self.entries.push(EpochStart { epoch, start });
        true
    }

    /// Notes that a leader's `epoch` begins at the end of the log. Unlike [`Epochs::assign`], never drops newer ones.
    pub fn begin(&mut self, epoch: i32, end: i64) -> bool {
        self.latest().is_none_or(|latest| latest < epoch) && self.assign(epoch, end)
    }

    /// The epoch that wrote `offset`, for offsets below the log's end.
    pub fn epoch_of(&self, offset: i64) -> Option<i32> {
        let after = self.entries.partition_point(|e| e.start <= offset);
        after.checked_sub(1).map(|i| self.entries[i].epoch)
    }

    /// End of `epoch` in a log that ends at `log_end`.
    pub fn end_offset_for(&self, epoch: i32, log_end: i64) -> EpochEnd {
        if epoch == NO_EPOCH {
            return EpochEnd::UNKNOWN;
        }
        let (Some(first), Some(last)) = (self.entries.first(), self.entries.last()) else {
            return EpochEnd::UNKNOWN;
        };
        if epoch == last.epoch {
            return EpochEnd { epoch, end: log_end };
        }
        if epoch > last.epoch {
            return EpochEnd::UNKNOWN;
        }
        if epoch < first.epoch {
            return EpochEnd { epoch, end: first.start };
        }
        let after = self.entries.partition_point(|e| e.epoch <= epoch);
        EpochEnd { epoch: self.entries[after - 1].epoch, end: self.entries[after].start }
    }

    /// Drops entries that start at or after `end`; true if there were any.
    pub fn truncate_end(&mut self, end: i64) -> bool {
        let keep = self.entries.partition_point(|e| e.start < end);
        let dropped = keep < self.entries.len();
        self.entries.truncate(keep);
        dropped
    }

    /// Forgets what lies wholly below `log_start`; the entry that spans it is moved up to it.
    pub fn truncate_start(&mut self, log_start: i64) -> bool {
        let below = self.entries.partition_point(|e| e.start <= log_start);
        if below == 0 {
            return false;
        }
        self.entries.drain(..below - 1);
        let moved = self.entries[0].start != log_start;
        self.entries[0].start = log_start;
        below > 1 || moved
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        for entry in &self.entries {
            out.extend_from_slice(&entry.epoch.to_be_bytes());
            out.extend_from_slice(&entry.start.to_be_bytes());
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Epochs> {
        let (chunks, []) = bytes.as_chunks::<12>() else {
            return None;
        };
        let mut epochs = Epochs::default();
        for chunk in chunks {
            let (epoch, start) = chunk.split_first_chunk()?;
            let entry =
                EpochStart { epoch: i32::from_be_bytes(*epoch), start: i64::from_be_bytes(*start.first_chunk()?) };
            epochs.entries.push(entry);
        }
        Some(epochs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(entries: &[(i32, i64)]) -> Epochs {
        let mut epochs = Epochs::default();
        for (epoch, start) in entries {
            epochs.assign(*epoch, *start);
        }
        epochs
    }

    #[test]
    fn ends_as_kafka_answers_them() {
        let e = epochs(&[(2, 10), (4, 20), (7, 30)]);
        let end = |epoch| {
            let end = e.end_offset_for(epoch, 100);
            (end.epoch, end.end)
        };
        assert_eq!(end(7), (7, 100));
        assert_eq!(end(8), (-1, -1));
        assert_eq!(end(1), (1, 10));
        assert_eq!(end(2), (2, 20));
        assert_eq!(end(3), (2, 20));
        assert_eq!(end(4), (4, 30));
        assert_eq!(end(6), (4, 30));
        assert_eq!(end(-1), (-1, -1));
        assert_eq!(Epochs::default().end_offset_for(0, 5), EpochEnd::UNKNOWN);
    }

    #[test]
    fn a_new_epoch_drops_what_it_contradicts() {
        let mut e = epochs(&[(2, 10), (4, 20), (7, 30)]);
        assert!(!e.assign(7, 50));
        e.assign(8, 20);
        assert_eq!(e, epochs(&[(2, 10), (8, 20)]));
        e.assign(5, 40);
        assert_eq!(e, epochs(&[(2, 10), (5, 40)]));
    }

    #[test]
    fn ends_are_cut_and_the_start_moves() {
        let mut e = epochs(&[(2, 10), (4, 20), (7, 30)]);
        assert!(e.truncate_start(25));
        assert_eq!(e, epochs(&[(4, 25), (7, 30)]));
        assert_eq!((e.epoch_of(24), e.epoch_of(29), e.epoch_of(30)), (None, Some(4), Some(7)));
        assert!(e.truncate_end(30));
        assert_eq!(e, epochs(&[(4, 25)]));
        assert!(!e.truncate_end(30));
        let mut bytes = Vec::new();
        e.encode(&mut bytes);
        assert_eq!(Epochs::decode(&bytes), Some(e));
        assert_eq!(Epochs::decode(&[0; 13]), None);
    }
}
