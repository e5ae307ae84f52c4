//! Rows of the controller's own store. Each key starts with a tag byte; numbers are big-endian, so that key order is
//! numerical order.
//!
//! ```text
//! 01                          identity of this controller
//! 02                          vote
//! 03                          committed log id, a hint
//! 04                          last purged log id
//! 05                          current snapshot: its name and meta
//! 06 ‖ index u64 ‖ chunk u32  one chunk of the snapshot up to that index
//! 07 ‖ index u64              log entry
//! ```

pub const IDENTITY: &[u8] = &[1];
pub const VOTE: &[u8] = &[2];
pub const COMMITTED: &[u8] = &[3];
pub const PURGED: &[u8] = &[4];
pub const SNAPSHOT: &[u8] = &[5];
const CHUNK: u8 = 6;
const ENTRY: u8 = 7;

pub fn entry(index: u64) -> Vec<u8> {
    let mut key = vec![ENTRY];
    key.extend_from_slice(&index.to_be_bytes());
    key
}

/// After every entry.
pub fn entries_end() -> Vec<u8> {
    vec![ENTRY + 1]
}

pub fn chunk(index: u64, chunk: u32) -> Vec<u8> {
    let mut key = vec![CHUNK];
    key.extend_from_slice(&index.to_be_bytes());
    key.extend_from_slice(&chunk.to_be_bytes());
    key
}

/// Before and after every chunk of every snapshot.
pub fn all_chunks() -> (Vec<u8>, Vec<u8>) {
    (vec![CHUNK], vec![CHUNK + 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_size() {
        assert_eq!(entry(7).len(), 9);
        assert_eq!(chunk(7, 1).len(), 13);
        assert!(entry(255) < entry(256) && entry(u64::MAX) < entries_end());
        assert!(chunk(9, u32::MAX) < chunk(10, 0) && chunk(u64::MAX, u32::MAX) < all_chunks().1);
        assert!(SNAPSHOT < &all_chunks().0[..] && all_chunks().1 <= entry(0));
    }
}
