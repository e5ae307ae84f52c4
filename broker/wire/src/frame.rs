//! An answer as it goes onto the socket: segments that are written in order,
//! so that record batches are handed over without being copied.

use bytes::Bytes;

/// One length-prefixed message in pieces. The first segment begins with the
/// size field, which counts every byte after itself.
#[derive(Debug, Clone, Default)]
pub struct Frame {
    segments: Vec<Bytes>,
}

impl Frame {
    /// A frame of one piece.
    pub fn single(bytes: Bytes) -> Self {
        Self { segments: vec![bytes] }
    }

    /// A frame of several pieces, in the order in which they are written.
    pub fn from_segments(segments: Vec<Bytes>) -> Self {
        Self { segments }
    }

    /// Bytes on the wire, the size field included.
    pub fn len(&self) -> usize {
        self.segments.iter().map(Bytes::len).sum()
    }

    /// True when there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.segments.iter().all(Bytes::is_empty)
    }

    /// The pieces in order.
    pub fn segments(&self) -> &[Bytes] {
        &self.segments
    }

    /// Gives up the pieces in order.
    pub fn into_segments(self) -> Vec<Bytes> {
        self.segments
    }

    /// All pieces in one buffer. Copies: for tests and tools.
    pub fn to_vec(&self) -> Vec<u8> {
        self.segments.concat()
    }
}
