//! Encodes groups and writes them to segment files.
//!
//! Groups start on a border of [`GROUP_ALIGN`] bytes, so that small ones do not fill a segment with padding; the disk
//! is written in blocks of [`ALIGN`]. The block in which a group ends is therefore written again, with the same bytes
//! and more behind them, by the next one. A power cut in between leaves each sector of it old or new, and up to the
//! end of the earlier group both are the same.

use std::io;

use super::frame::{self, ENTRY, Entry, GROUP_ALIGN, HEADER, Header};
use super::io::{ALIGN, AlignedBuf, JournalFile};

/// A group is written in pieces of at most this many bytes.
const PIECE: usize = 2 << 20;

/// Collects one group and writes it; the buffers are used again for the next.
pub(crate) struct GroupWriter {
    directory: Vec<u8>,
    buffer: AlignedBuf,
    frames: u32,
    body_len: u64,
    trust: bool,
    /// What the block at `block_of` (segment, position) has in front of the next group.
    block: Vec<u8>,
}

/// Bytes that a group of `frames` frames with `body_len` bytes takes at most in an empty segment.
pub(crate) fn padded_len(frames: usize, body_len: u64) -> u64 {
    (HEADER as u64 + (frames * ENTRY) as u64 + body_len).next_multiple_of(ALIGN as u64)
}

impl GroupWriter {
    pub(crate) fn new(trust: bool) -> Self {
        GroupWriter {
            directory: Vec::new(),
            buffer: AlignedBuf::new(ALIGN * 16),
            frames: 0,
            body_len: 0,
            trust,
            block: Vec::new(),
        }
    }

    pub(crate) fn clear(&mut self) {
        self.directory.clear();
        self.frames = 0;
        self.body_len = 0;
    }

    pub(crate) fn add(&mut self, mut entry: Entry, body: &[u8]) {
        (entry.checksum, entry.own_crc) = frame::body_checksum(body, self.trust);
        entry.body_len = body.len() as u32;
        entry.encode(&mut self.directory);
        self.frames += 1;
        self.body_len += body.len() as u64;
    }

    /// Bytes that the collected group takes in a segment, up to where the next one starts.
    pub(crate) fn len(&self) -> u64 {
        (HEADER as u64 + self.directory.len() as u64 + self.body_len).next_multiple_of(GROUP_ALIGN)
    }

    /// Starts at `position` of a segment whose last, not full block holds `block` so far.
    pub(crate) fn resume(&mut self, block: Vec<u8>) {
        self.block = block;
    }

    /// Writes the group with its `bodies` (in the order of [`GroupWriter::add`]) at `position`, which is 0 or where
    /// the last group ended, and returns the position behind it.
    pub(crate) fn write<'a>(
        &mut self,
        mut header: Header,
        bodies: impl Iterator<Item = &'a [u8]>,
        file: &dyn JournalFile,
        position: u64,
    ) -> io::Result<u64> {
        header.frames = self.frames;
        header.body_len = self.body_len;
        header.directory_crc = crc32c::crc32c(&self.directory);
        if position == 0 {
            self.block.clear();
        }
        let next = position + self.len();
        let wanted = (self.block.len() + self.len() as usize).next_multiple_of(ALIGN).min(PIECE);
        if self.buffer.len() < wanted {
            self.buffer = AlignedBuf::new(wanted.next_power_of_two());
        }
        let start = position - self.block.len() as u64;
        debug_assert!(start.is_multiple_of(ALIGN as u64));
        let mut out = Pieces { buffer: &mut self.buffer, filled: 0, file, position: start };
        out.append(&self.block)?;
        out.append(&header.encode())?;
        out.append(&self.directory)?;
        for body in bodies {
            out.append(body)?;
        }
        out.finish(&mut self.block)?;
        debug_assert_eq!(self.block.len() as u64, next % ALIGN as u64);
        Ok(next)
    }
}

struct Pieces<'a> {
    buffer: &'a mut AlignedBuf,
    filled: usize,
    file: &'a dyn JournalFile,
    position: u64,
}

impl Pieces<'_> {
    fn append(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let n = bytes.len().min(self.buffer.len() - self.filled);
            self.buffer.as_mut_slice()[self.filled..self.filled + n].copy_from_slice(&bytes[..n]);
            self.filled += n;
            bytes = &bytes[n..];
            if self.filled == self.buffer.len() {
                self.flush(self.filled)?;
            }
        }
        Ok(())
    }

    /// Writes the rest, padded to a block, and notes what the last block holds.
    fn finish(&mut self, block: &mut Vec<u8>) -> io::Result<()> {
        let padded = self.filled.next_multiple_of(ALIGN);
        self.buffer.as_mut_slice()[self.filled..padded].fill(0);
        let next = self.filled.next_multiple_of(GROUP_ALIGN as usize);
        block.clear();
        block.extend_from_slice(&self.buffer.as_slice()[next / ALIGN * ALIGN..next]);
        if padded > 0 { self.flush(padded) } else { Ok(()) }
    }

    fn flush(&mut self, len: usize) -> io::Result<()> {
        self.file.write_at(&self.buffer.as_slice()[..len], self.position)?;
        self.position += len as u64;
        self.filled = 0;
        Ok(())
    }
}
