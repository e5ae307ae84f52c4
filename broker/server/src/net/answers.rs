//! A cap on the memory of answers that wait for slow readers.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::options::KIB;

/// What a fetch may always answer with, however full it is.
const LEAST_ALLOWANCE: usize = 1024 * KIB;

/// Part of the room that is left which one fetch may take.
const SHARE: usize = 2;

/// Bytes of answers of all connections that wait for their sockets.
///
/// Kafka lets every client have 50 MiB of answers outstanding, so that a few
/// dozen that do not read take all memory. Here the answers get smaller while
/// much is outstanding; a consumer takes what it gets and asks again.
#[derive(Debug)]
pub struct AnswerMemory {
    waiting: AtomicUsize,
    limit: usize,
}

impl AnswerMemory {
    /// Aims at no more than `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { waiting: AtomicUsize::new(0), limit }
    }

    /// How much of the `wanted` bytes an answer may have now.
    pub fn allowance(&self, wanted: usize) -> usize {
        self.share(self.waiting(), wanted)
    }

    fn share(&self, waiting: usize, wanted: usize) -> usize {
        let free = self.limit.saturating_sub(waiting);
        wanted.min((free / SHARE).max(LEAST_ALLOWANCE))
    }

    /// An allowance that counts as waiting while a read may fill it: many reads at the same time would each take the
    /// same room otherwise.
    pub fn hold(&self, wanted: usize) -> Hold<'_> {
        let mut waiting = self.waiting();
        loop {
            let bytes = self.share(waiting, wanted);
            let held = waiting + bytes;
            match self.waiting.compare_exchange_weak(waiting, held, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Hold { memory: self, bytes },
                Err(now) => waiting = now,
            }
        }
    }

    /// Bytes that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, bytes: usize) {
        self.waiting.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn remove(&self, bytes: usize) {
        self.waiting.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Room for the answer of a read that is under way.
#[derive(Debug)]
pub struct Hold<'a> {
    memory: &'a AnswerMemory,
    bytes: usize,
}

impl Hold<'_> {
    /// How much the answer may have.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.memory.remove(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_shrink_while_much_is_outstanding_and_never_to_nothing() {
        let memory = AnswerMemory::new(256 * KIB * KIB);
        assert_eq!(memory.allowance(50 * KIB * KIB), 50 * KIB * KIB);
        memory.add(200 * KIB * KIB);
        assert_eq!(memory.allowance(50 * KIB * KIB), 28 * KIB * KIB);
        memory.add(200 * KIB * KIB);
        assert_eq!(memory.allowance(50 * KIB * KIB), LEAST_ALLOWANCE);
        assert_eq!(memory.allowance(10), 10);
        memory.remove(400 * KIB * KIB);
        assert_eq!(memory.waiting(), 0);
    }

    #[test]
    fn reads_at_the_same_time_share_the_room() {
        const READERS: usize = 100;
        let memory = AnswerMemory::new(64 * KIB * KIB);
        let holds: Vec<Hold<'_>> = (0..READERS).map(|_| memory.hold(50 * KIB * KIB)).collect();
        assert_eq!((holds[0].bytes(), holds[1].bytes()), (32 * KIB * KIB, 16 * KIB * KIB));
        let all: usize = holds.iter().map(Hold::bytes).sum();
        assert!(all <= (64 + READERS) * KIB * KIB, "{all} bytes are promised");
        assert_eq!(memory.waiting(), all);
        drop(holds);
        assert_eq!(memory.waiting(), 0);
    }
}
