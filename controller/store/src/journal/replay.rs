//! Reads the journal at start: the groups that follow on each other, up to the first torn or stale one.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::frame::{self, ENTRY, Entry, GROUP_ALIGN, HEADER, Header};
use super::io::{ALIGN, AlignedBuf, JournalFile};

/// Read ahead by this many bytes.
const PIECE: u64 = 4 << 20;

/// The header that a segment file starts with, if it has ever been written to.
pub(crate) fn first_header(file: &dyn JournalFile) -> io::Result<Option<Header>> {
    let mut block = AlignedBuf::new(ALIGN);
    file.read_at(block.as_mut_slice(), 0)?;
    Ok(Header::decode(block.as_slice()))
}

/// Where the chain of groups has got to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chain {
    pub next_group: u64,
    pub incarnation: u64,
}

/// Calls `frame` for every frame of the groups in `file` that continue `chain`, and returns the position behind the
/// last of them (0 if there are none). Bodies are shared parts of what was read.
pub(crate) fn replay(
    file: &Arc<dyn JournalFile>,
    segment: u64,
    chain: &mut Chain,
    frame: &mut dyn FnMut(Entry, Bytes),
) -> io::Result<u64> {
    let mut reader = Reader { file, start: 0, data: Bytes::new() };
    let mut position = 0;
    while position + HEADER as u64 <= file.size() {
        let Some(header) = Header::decode(&reader.at(position, HEADER as u64)?) else {
            break;
        };
        if header.segment != segment
            || header.group != chain.next_group
            || header.incarnation < chain.incarnation
            || header.group_len() > file.size() - position
        {
            break;
        }
        let group = reader.at(position, header.group_len())?;
        if (group.len() as u64) < header.group_len() {
            break;
        }
        let Some(entries) = directory(&header, &group) else {
            break;
        };
        for (entry, body) in entries {
            frame(entry, group.slice(body));
        }
        chain.next_group += 1;
        chain.incarnation = header.incarnation;
        position += header.group_len().next_multiple_of(GROUP_ALIGN);
    }
    Ok(position)
}

/// What the block in front of `position` holds, for the writer that continues there.
pub(crate) fn open_block(file: &dyn JournalFile, position: u64) -> io::Result<Vec<u8>> {
    let len = (position % ALIGN as u64) as usize;
    let mut block = AlignedBuf::new(ALIGN);
    if len > 0 && file.read_at(block.as_mut_slice(), position - len as u64)? < len {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(block.as_slice()[..len].to_vec())
}

/// The entries of a group and where their bodies are; `None` if any byte is not what was written.
fn directory(header: &Header, group: &Bytes) -> Option<Vec<(Entry, std::ops::Range<usize>)>> {
    let directory = group.get(HEADER..HEADER + header.frames as usize * ENTRY)?;
    if crc32c::crc32c(directory) != header.directory_crc {
        return None;
    }
    let mut at = HEADER + directory.len();
    let mut out = Vec::with_capacity(header.frames as usize);
    for bytes in directory.chunks_exact(ENTRY) {
        let entry = Entry::decode(bytes)?;
        let range = at..at + entry.body_len as usize;
        if !frame::body_intact(group.get(range.clone())?, &entry) {
            return None;
        }
        at = range.end;
        out.push((entry, range));
    }
    Some(out)
}

struct Reader<'a> {
    file: &'a Arc<dyn JournalFile>,
    start: u64,
    data: Bytes,
}

impl Reader<'_> {
    /// `len` bytes at `position`, or what the file has of them.
    fn at(&mut self, position: u64, len: u64) -> io::Result<Bytes> {
        let have = self.start + self.data.len() as u64;
        if position < self.start || position + len > have {
            let start = position / ALIGN as u64 * ALIGN as u64;
            let want = (position - start + len).max(PIECE).min(self.file.size() - start) as usize;
            let mut buffer = AlignedBuf::new(want);
            let n = self.file.read_at(buffer.as_mut_slice(), start)?;
            self.start = start;
            self.data = Bytes::from_owner(buffer).slice(..n);
        }
        let from = (position - self.start) as usize;
        let to = (from + len as usize).min(self.data.len());
        Ok(self.data.slice(from.min(to)..to))
    }
}
