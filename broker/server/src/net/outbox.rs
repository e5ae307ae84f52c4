//! Answers on their way to the socket: several at a time in one vectored write.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use millrace_wire::Frame;
use tokio::io::AsyncWrite;

use super::options::MAX_WRITE_PIECES;

/// Pieces that wait to be written, in order.
#[derive(Debug, Default)]
pub struct Outbox {
    pieces: VecDeque<Bytes>,
    bytes: usize,
}

impl Outbox {
    /// Adds an answer.
    pub fn push(&mut self, frame: Frame) {
        for piece in frame.into_segments() {
            if !piece.is_empty() {
                self.bytes += piece.len();
                self.pieces.push_back(piece);
            }
        }
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether everything is written.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Writes what the socket takes at once and returns the number of bytes.
    /// Pending only when nothing could be written.
    pub fn poll_write<W: AsyncWrite + Unpin>(&mut self, cx: &mut Context<'_>, io: &mut W) -> Poll<io::Result<usize>> {
        let mut slices = [IoSlice::new(&[]); MAX_WRITE_PIECES];
        let mut used = 0;
        for (slot, piece) in slices.iter_mut().zip(&self.pieces) {
            *slot = IoSlice::new(piece);
            used += 1;
        }
        let written = ready!(Pin::new(io).poll_write_vectored(cx, &slices[..used]))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.advance(written);
        Poll::Ready(Ok(written))
    }

    fn advance(&mut self, mut written: usize) {
        self.bytes -= written;
        while written > 0 {
            let Some(front) = self.pieces.front_mut() else {
                break;
            };
            if front.len() > written {
                front.advance(written);
                return;
            }
            written -= front.len();
            self.pieces.pop_front();
        }
        // A burst must not leave its queue behind in an idle connection.
        if self.pieces.is_empty() && self.pieces.capacity() > MAX_WRITE_PIECES {
            self.pieces = VecDeque::new();
        }
    }
}
