//! Encodes groups and writes them to segment files.

use std::io;

use super::frame::{self, ENTRY, Entry, HEADER, Header};
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
}

/// Bytes that a group of `frames` frames with `body_len` bytes takes in a segment.
pub(crate) fn padded_len(frames: usize, body_len: u64) -> u64 {
    (HEADER as u64 + (frames * ENTRY) as u64 + body_len).next_multiple_of(ALIGN as u64)
}

impl GroupWriter {
    pub(crate) fn new(trust: bool) -> Self {
        GroupWriter { directory: Vec::new(), buffer: AlignedBuf::new(ALIGN * 16), frames: 0, body_len: 0, trust }
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

    /// Writes the group with its `bodies` (in the order of [`GroupWriter::add`]) at `position` and returns the
    /// position behind it.
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
        let total = header.group_len().next_multiple_of(ALIGN as u64);
        let wanted = (total as usize).min(PIECE);
        if self.buffer.len() < wanted {
            self.buffer = AlignedBuf::new(wanted.next_power_of_two());
        }
        let mut out = Pieces { buffer: &mut self.buffer, filled: 0, file, position };
        out.append(&header.encode())?;
        out.append(&self.directory)?;
        for body in bodies {
            out.append(body)?;
        }
        out.finish()?;
        debug_assert_eq!(out.position, position + total);
        Ok(position + total)
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

    fn finish(&mut self) -> io::Result<()> {
        let padded = self.filled.next_multiple_of(ALIGN);
        self.buffer.as_mut_slice()[self.filled..padded].fill(0);
        if padded > 0 { self.flush(padded) } else { Ok(()) }
    }

    fn flush(&mut self, len: usize) -> io::Result<()> {
        self.file.write_at(&self.buffer.as_slice()[..len], self.position)?;
        self.position += len as u64;
        self.filled = 0;
        Ok(())
    }
}
