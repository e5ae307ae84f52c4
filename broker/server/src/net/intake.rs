//! Cuts the byte stream of a connection into frames.
//!
//! ```text
//! size:i32 │ body, `size` bytes │ size:i32 │ …
//! ```
//!
//! A frame of up to 16 KiB is copied out of the worker's scratch buffer into an
//! allocation of its exact size. A larger one gets a buffer of its own, once its
//! first bytes are there and the memory for it is granted; the rest is then
//! read straight into that buffer.

use bytes::BytesMut;
use thiserror::Error;

use super::options::{PROBE_BYTES, SCRATCH_BYTES, SMALL_FRAME_BYTES};

/// Why a connection's bytes make no frame.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IntakeError {
    /// Negative or zero.
    #[error("a frame size of {0}")]
    BadSize(i32),
    /// Longer than `socket.request.max.bytes`, or than this API may be.
    #[error("a frame of {size} bytes where at most {limit} are allowed")]
    TooLong {
        /// Announced bytes.
        size: usize,
        /// Allowed bytes.
        limit: usize,
    },
}

/// Where the next bytes of the stream are to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Into scratch, at most this many.
    Scratch(usize),
    /// Straight into the frame's own buffer, at most this many.
    Body(usize),
    /// Nowhere, until memory for a frame of this many bytes is granted.
    Memory(usize),
    /// Nowhere: a frame is complete.
    Complete,
}

/// The frame that is being read.
#[derive(Debug, Default)]
pub struct Intake {
    size: [u8; 4],
    size_len: usize,
    want: usize,
    body: BytesMut,
    granted: bool,
    /// Whether the last frame was large: the next one is expected to be, and
    /// little of it is taken through scratch.
    expect_large: bool,
}

impl Intake {
    /// Whether a frame has begun and is not complete.
    pub fn is_partial(&self) -> bool {
        self.size_len > 0
    }

    /// The API that the frame under way asks for, once its number is there.
    pub fn api_key(&self) -> Option<i16> {
        let key = self.body.get(..2)?;
        Some(i16::from_be_bytes([key[0], key[1]]))
    }

    /// Announced size of the frame under way, 0 when it has none yet.
    pub fn want(&self) -> usize {
        self.want
    }

    /// Where the next bytes are to go.
    pub fn next(&self) -> Next {
        if self.want == 0 {
            return Next::Scratch(if self.expect_large { self.size.len() + PROBE_BYTES } else { SCRATCH_BYTES });
        }
        let missing = self.want - self.body.len();
        if missing == 0 || (self.is_large() && self.body.len() >= PROBE_BYTES) {
            return match (self.granted, missing) {
                (false, _) => Next::Memory(self.want),
                (true, 0) => Next::Complete,
                (true, _) => Next::Body(missing),
            };
        }
        Next::Scratch(missing.min(SCRATCH_BYTES))
    }

    fn is_large(&self) -> bool {
        self.want > SMALL_FRAME_BYTES
    }

    /// Takes bytes from the front of `input`, as far as one frame goes or
    /// memory must be granted first. `limit` is the longest frame allowed.
    pub fn feed(&mut self, input: &mut &[u8], limit: usize) -> Result<(), IntakeError> {
        if self.want == 0 {
            let take = (self.size.len() - self.size_len).min(input.len());
            let (head, rest) = input.split_at(take);
            self.size[self.size_len..self.size_len + take].copy_from_slice(head);
            self.size_len += take;
            *input = rest;
            if self.size_len < self.size.len() {
                return Ok(());
            }
            let size = i32::from_be_bytes(self.size);
            let want = usize::try_from(size).map_err(|_| IntakeError::BadSize(size))?;
            if want == 0 {
                return Err(IntakeError::BadSize(size));
            }
            check(want, limit)?;
            self.want = want;
        }
        let goal = if self.is_large() && !self.granted { PROBE_BYTES } else { self.want };
        let take = goal.saturating_sub(self.body.len()).min(input.len());
        let (piece, rest) = input.split_at(take);
        if self.body.capacity() == 0 {
            self.body.reserve(goal);
        }
        self.body.extend_from_slice(piece);
        *input = rest;
        Ok(())
    }

    /// Memory is granted: a large frame gets its buffer.
    pub fn grant(&mut self) {
        self.granted = true;
        if self.is_large() {
            let mut body = BytesMut::with_capacity(self.want);
            body.extend_from_slice(&self.body);
            self.body = body;
        }
    }

    /// The buffer that [`Next::Body`] means.
    pub fn body_mut(&mut self) -> &mut BytesMut {
        &mut self.body
    }

    /// Takes the complete frame, without its size.
    pub fn take(&mut self) -> BytesMut {
        let body = std::mem::take(&mut self.body);
        *self = Self { expect_large: self.is_large(), ..Self::default() };
        body
    }
}

/// Refuses a frame beyond `limit`.
pub fn check(size: usize, limit: usize) -> Result<(), IntakeError> {
    if size > limit {
        return Err(IntakeError::TooLong { size, limit });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: usize = 1 << 20;

    fn stream(frames: &[Vec<u8>]) -> Vec<u8> {
        frames.iter().flat_map(|f| [&(f.len() as i32).to_be_bytes()[..], f].concat()).collect()
    }

    /// Plays a stream in the given piece sizes, as a connection would.
    fn play(bytes: &[u8], pieces: &[usize]) -> Vec<Vec<u8>> {
        let (mut intake, mut frames) = (Intake::default(), Vec::new());
        let mut pieces = pieces.iter().copied().cycle();
        let (mut rest, mut input): (&[u8], &[u8]) = (bytes, &[]);
        loop {
            match intake.next() {
                Next::Complete => frames.push(intake.take().to_vec()),
                Next::Memory(_) => intake.grant(),
                Next::Scratch(_) if !input.is_empty() => intake.feed(&mut input, LIMIT).unwrap(),
                Next::Body(_) if !input.is_empty() => intake.feed(&mut input, LIMIT).unwrap(),
                Next::Scratch(most) | Next::Body(most) => {
                    if rest.is_empty() {
                        return frames;
                    }
                    let n = pieces.next().unwrap().clamp(1, most).min(rest.len());
                    (input, rest) = rest.split_at(n);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in(
            sizes in prop::collection::vec(
                prop_oneof![1usize..300, 16_000usize..17_000, 60_000usize..90_000], 1..6),
            pieces in prop::collection::vec(1usize..70_000, 1..6),
        ) {
            let frames: Vec<Vec<u8>> = sizes
                .iter()
                .enumerate()
                .map(|(i, &n)| (0..n).map(|k| (k * 7 + i) as u8).collect())
                .collect();
            prop_assert_eq!(play(&stream(&frames), &pieces), frames);
        }
    }

    #[test]
    fn impossible_sizes_are_refused_before_anything_is_reserved() {
        for (size, error) in [
            (-1i32, IntakeError::BadSize(-1)),
            (0, IntakeError::BadSize(0)),
            (i32::MAX, IntakeError::TooLong { size: i32::MAX as usize, limit: LIMIT }),
        ] {
            let mut intake = Intake::default();
            let bytes = size.to_be_bytes();
            assert_eq!(intake.feed(&mut &bytes[..], LIMIT), Err(error));
            assert_eq!(intake.body.capacity(), 0);
        }
    }

    #[test]
    fn a_large_frame_waits_for_memory_after_its_first_bytes() {
        let mut intake = Intake::default();
        let mut bytes = Vec::from(500_000i32.to_be_bytes());
        bytes.extend_from_slice(&[0; PROBE_BYTES]);
        intake.feed(&mut &bytes[..], LIMIT).unwrap();
        assert_eq!(intake.next(), Next::Memory(500_000));
        assert!(intake.body.capacity() < 2 * PROBE_BYTES);
        intake.grant();
        assert_eq!(intake.next(), Next::Body(500_000 - PROBE_BYTES));
    }
}
