//! One client connection: a single task that reads frames, runs their handlers
//! and writes the answers in the order of the requests.
//!
//! The task polls its own handlers, so that a request whose answer is at hand
//! crosses no thread and wakes nobody.

use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::io::poll_read_buf;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::conn::{Conn, Outcome};
use super::intake::{Intake, Next, check};
use super::memory::{Asking, RequestMemory, Room};
use super::options::{GATHER_BYTES, MAX_IN_FLIGHT, OUTBOX_HIGH_BYTES, POLL_TIME, SCRATCH_BYTES, Times};
use super::outbox::Outbox;
use super::service::{Dispatched, Pending, Service};
use super::stats::NetStats;

thread_local! {
    /// One read buffer per worker thread, used only inside one poll.
    static SCRATCH: std::cell::RefCell<Box<[u8]>> =
        std::cell::RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice());
}

/// Why a connection ended.
#[derive(Debug)]
pub enum End {
    /// The client closed it.
    Eof,
    /// The broker stops.
    Shutdown,
    /// Nothing happened for too long.
    Idle,
    /// The socket failed.
    Io(io::Error),
    /// The client broke the protocol, or a handler asked for it.
    Refused(String),
    /// A handler panicked.
    Panic(&'static str),
}

/// What every connection of a broker shares.
pub struct Shared<S> {
    /// Handlers.
    pub service: Arc<S>,
    /// Room for requests.
    pub memory: RequestMemory,
    /// Longest frame.
    pub max_request_bytes: usize,
    /// Counters.
    pub stats: Arc<NetStats>,
    /// How long things may take.
    pub times: Times,
    /// Set, before `shutdown` is cancelled, when the broker stops. Looked at on
    /// each poll, which the token's lock would make a meeting point of threads.
    pub stopping: AtomicBool,
    /// Wakes every connection when the broker stops.
    pub shutdown: CancellationToken,
}

/// A handler that runs, with the memory of its request.
struct Running {
    work: Pending,
    room: Option<Room>,
}

impl Future for Running {
    type Output = (Outcome, Option<Room>);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let work = &mut self.work;
        match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(outcome)) => Poll::Ready((outcome, self.room.take())),
            Err(_) => Poll::Ready((Outcome::Panicked, self.room.take())),
        }
    }
}

/// What a connection leaves unwritten waits no more.
impl<IO, S: Service> Drop for Connection<IO, S> {
    fn drop(&mut self) {
        let unwritten = self.outbox.bytes();
        self.shared.service.answer_memory().remove(unwritten);
    }
}

/// One connection's state. A future that resolves when the connection is over.
pub struct Connection<IO, S: Service> {
    io: IO,
    conn: Arc<Conn>,
    shared: Arc<Shared<S>>,
    intake: Intake,
    /// Bytes read behind a complete frame.
    stash: Bytes,
    asking: Option<Asking>,
    room: Option<Room>,
    running: FuturesOrdered<Running>,
    /// Whether everything that runs may be overlapped.
    overlapping: bool,
    outbox: Outbox,
    draining: Option<(End, Instant)>,
    activity: Instant,
    frame_began: Option<Instant>,
    write_began: Option<Instant>,
    timer: Pin<Box<Sleep>>,
    shutdown: Pin<Box<WaitForCancellationFutureOwned>>,
    registered: bool,
}

impl<IO, S> Connection<IO, S>
where
    IO: AsyncRead + AsyncWrite + Unpin,
    S: Service,
{
    /// A connection on `io` that has just been accepted.
    pub fn new(io: IO, conn: Arc<Conn>, shared: Arc<Shared<S>>) -> Self {
        let now = Instant::now();
        Self {
            io,
            conn,
            timer: Box::pin(sleep_until(now + shared.times.idle)),
            shutdown: Box::pin(shared.shutdown.clone().cancelled_owned()),
            shared,
            intake: Intake::default(),
            stash: Bytes::new(),
            asking: None,
            room: None,
            running: FuturesOrdered::new(),
            overlapping: false,
            outbox: Outbox::default(),
            draining: None,
            activity: now,
            frame_began: None,
            write_began: None,
            registered: false,
        }
    }

    fn poll_all(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        let began = Instant::now();
        let mut gathered = 0;
        loop {
            let mut progress = self.poll_handlers(cx)?;
            if self.draining.is_none() {
                progress |= self.poll_intake(cx)?;
            }
            // Answers to requests that lie ready go out in one write.
            gathered += 1;
            let tired = progress && began.elapsed() > POLL_TIME;
            let small = gathered < MAX_IN_FLIGHT && self.outbox.bytes() < GATHER_BYTES;
            if progress && small && !tired {
                continue;
            }
            gathered = 0;
            if !(self.poll_outbox(cx)? || progress) {
                return Ok(());
            }
            if tired {
                cx.waker().wake_by_ref();
                return Ok(());
            }
        }
    }

    /// Moves finished answers to the outbox, unless it is full enough.
    fn poll_handlers(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let mut progress = false;
        while self.outbox.bytes() < OUTBOX_HIGH_BYTES {
            match self.running.poll_next_unpin(cx) {
                Poll::Ready(Some((outcome, _room))) => self.settle(outcome)?,
                Poll::Ready(None) | Poll::Pending => break,
            }
            progress = true;
        }
        Ok(progress)
    }

    fn settle(&mut self, outcome: Outcome) -> Result<(), End> {
        match outcome {
            Outcome::Send(frame) => {
                self.shared.service.answer_memory().add(frame.len());
                self.outbox.push(frame);
                Ok(())
            }
            Outcome::Silent => Ok(()),
            Outcome::Close(reason) => self.leave(End::Refused(reason)),
            Outcome::Panicked => self.leave(End::Panic("a request handler panicked")),
        }
    }

    /// Ends the connection once the answers before are written.
    fn leave(&mut self, end: End) -> Result<(), End> {
        self.running = FuturesOrdered::new();
        if self.outbox.is_empty() {
            return Err(end);
        }
        self.drain(end);
        Ok(())
    }

    /// Takes no further request, and ends when what is under way is answered.
    fn drain(&mut self, end: End) {
        if self.draining.is_none() {
            let deadline = Instant::now() + self.shared.times.drain;
            self.draining = Some((end, deadline));
            self.stash = Bytes::new();
            self.asking = None;
            if self.timer.deadline() > deadline {
                self.timer.as_mut().reset(deadline);
            }
        }
    }

    fn poll_outbox(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let mut progress = false;
        while !self.outbox.is_empty() {
            match self.outbox.poll_write(cx, &mut self.io) {
                Poll::Ready(Ok(written)) => {
                    progress = true;
                    self.write_began = None;
                    self.shared.service.answer_memory().remove(written);
                    let bytes_out = &self.shared.stats.bytes_out;
                    bytes_out.fetch_add(written as u64, Ordering::Relaxed);
                }
                Poll::Ready(Err(error)) => return Err(End::Io(error)),
                Poll::Pending => {
                    self.write_began.get_or_insert_with(Instant::now);
                    break;
                }
            }
        }
        if progress {
            self.activity = Instant::now();
        }
        Ok(progress)
    }

    /// Whether enough is under way and no further request is read.
    fn is_full(&self) -> bool {
        self.outbox.bytes() >= OUTBOX_HIGH_BYTES || self.running.len() >= MAX_IN_FLIGHT
    }

    /// Reads towards one frame and starts its handler.
    fn poll_intake(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        if self.is_full() {
            return Ok(false);
        }
        let mut progress = false;
        loop {
            let moved = match self.intake.next() {
                Next::Scratch(most) => self.poll_scratch(cx, most)?,
                Next::Body(most) => self.poll_body(cx, most)?,
                Next::Memory(bytes) => self.poll_memory(cx, bytes)?,
                Next::Complete => {
                    let key = self.intake.api_key().unwrap_or(-1);
                    let overlaps = self.shared.service.frame_rule(key).overlaps;
                    let may_start = self.running.is_empty() || overlaps && self.overlapping;
                    if !may_start {
                        return Ok(progress);
                    }
                    self.overlapping = overlaps;
                    self.start(cx)?;
                    return Ok(true);
                }
            };
            if !moved || self.draining.is_some() {
                return Ok(progress);
            }
            progress = true;
        }
    }

    /// Feeds the intake from the stash or, when that is empty, from the socket.
    fn poll_scratch(&mut self, cx: &mut Context<'_>, most: usize) -> Result<bool, End> {
        let limit = self.shared.max_request_bytes;
        if !self.stash.is_empty() {
            let mut input = &self.stash[..];
            self.intake.feed(&mut input, limit).map_err(refused)?;
            let left = input.len();
            self.stash.advance(self.stash.len() - left);
            if left == 0 {
                self.stash = Bytes::new();
            }
            self.after_bytes()?;
            return Ok(true);
        }
        let read = SCRATCH.with_borrow_mut(|scratch| {
            let mut buf = ReadBuf::new(&mut scratch[..most]);
            match Pin::new(&mut self.io).poll_read(cx, &mut buf) {
                Poll::Pending => return Ok(None),
                Poll::Ready(Err(error)) => return Err(End::Io(error)),
                Poll::Ready(Ok(())) => {}
            }
            let mut input = buf.filled();
            let read = input.len();
            if read > 0 {
                self.intake.feed(&mut input, limit).map_err(refused)?;
                if !input.is_empty() {
                    self.stash = Bytes::copy_from_slice(input);
                }
            }
            Ok(Some(read))
        })?;
        self.after_read(read)
    }

    /// Feeds a large frame's own buffer.
    fn poll_body(&mut self, cx: &mut Context<'_>, most: usize) -> Result<bool, End> {
        if !self.stash.is_empty() {
            return self.poll_scratch(cx, most);
        }
        let mut body = bytes::BufMut::limit(self.intake.body_mut(), most);
        let read = match poll_read_buf(Pin::new(&mut self.io), cx, &mut body) {
            Poll::Pending => None,
            Poll::Ready(Ok(read)) => Some(read),
            Poll::Ready(Err(error)) => return Err(End::Io(error)),
        };
        self.after_read(read)
    }

    fn after_read(&mut self, read: Option<usize>) -> Result<bool, End> {
        match read {
            None => Ok(false),
            Some(0) => {
                if self.running.is_empty() && self.outbox.is_empty() {
                    return Err(End::Eof);
                }
                self.drain(End::Eof);
                Ok(true)
            }
            Some(read) => {
                let bytes_in = &self.shared.stats.bytes_in;
                bytes_in.fetch_add(read as u64, Ordering::Relaxed);
                self.activity = Instant::now();
                self.after_bytes()?;
                Ok(true)
            }
        }
    }

    /// Holds the frame under way to the limit of its API.
    fn after_bytes(&mut self) -> Result<(), End> {
        if self.intake.is_partial() && self.frame_began.is_none() {
            self.frame_began = Some(self.activity);
        }
        if let Some(key) = self.intake.api_key() {
            let rule = self.shared.service.frame_rule(key);
            check(self.intake.want(), rule.max_frame).map_err(refused)?;
        }
        Ok(())
    }

    fn poll_memory(&mut self, cx: &mut Context<'_>, bytes: usize) -> Result<bool, End> {
        let asking = self.asking.get_or_insert_with(|| self.shared.memory.ask(bytes));
        match asking.poll(cx) {
            Poll::Pending => Ok(false),
            Poll::Ready(room) => {
                self.asking = None;
                self.room = Some(room);
                // The wait was ours: the sender's time starts over.
                self.frame_began = Some(Instant::now());
                self.intake.grant();
                Ok(true)
            }
        }
    }

    /// Starts the handler of the complete frame.
    fn start(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        let frame: BytesMut = self.intake.take();
        let room = self.room.take();
        self.frame_began = None;
        let (service, conn) = (&self.shared.service, &self.conn);
        let started = catch_unwind(AssertUnwindSafe(|| service.dispatch(conn, frame)));
        match started {
            Err(_) => self.leave_after_answers(Outcome::Panicked),
            Ok(Dispatched::Done(outcome)) => self.leave_after_answers(outcome),
            Ok(Dispatched::Running(work)) => {
                let mut running = Running { work, room };
                if !self.overlapping
                    && let Poll::Ready((outcome, _room)) = Pin::new(&mut running).poll(cx)
                {
                    return self.settle(outcome);
                }
                self.running.push_back(running);
                Ok(())
            }
        }
    }

    /// Settles an outcome that is at hand, behind whatever still runs.
    fn leave_after_answers(&mut self, outcome: Outcome) -> Result<(), End> {
        if self.running.is_empty() {
            return self.settle(outcome);
        }
        self.running.push_back(Running { work: Box::pin(std::future::ready(outcome)), room: None });
        Ok(())
    }

    fn poll_time(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        if !self.registered {
            // Once is enough: the waker of a task does not change.
            self.registered = true;
            let _ = self.shutdown.as_mut().poll(cx);
        }
        if self.draining.is_none() && self.shared.stopping.load(Ordering::Acquire) {
            self.drain(End::Shutdown);
        }
        let busy = self.frame_began.is_some() || self.write_began.is_some();
        if busy {
            let tick = Instant::now() + self.shared.times.tick;
            if self.timer.deadline() > tick {
                self.timer.as_mut().reset(tick);
            }
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            let next = self.check_time()?;
            self.timer.as_mut().reset(next);
        }
        Ok(())
    }

    /// Looks at every deadline, and returns when to look again.
    fn check_time(&mut self) -> Result<Instant, End> {
        let now = Instant::now();
        let times = &self.shared.times;
        if let Some((_, deadline)) = self.draining {
            if now < deadline {
                return Ok(deadline);
            }
            return Err(self.end_of_drain());
        }
        if let Some(began) = self.write_began
            && now - began > times.write_stall
        {
            return Err(End::Refused("the client does not read its answers".into()));
        }
        if self.is_full() {
            // We do not read: the sender of a frame under way is not to blame.
            self.frame_began = self.frame_began.and(Some(now));
        }
        if let Some(began) = self.frame_began {
            let contended = self.room.as_ref().is_some_and(Room::is_contended);
            let allowed = if contended { times.frame_under_pressure } else { times.frame };
            // A complete frame waits for us, not for its sender.
            if self.asking.is_none() && self.intake.next() != Next::Complete && now - began > allowed {
                return Err(End::Refused("a request did not arrive in time".into()));
            }
        }
        if self.frame_began.is_some() || self.write_began.is_some() {
            return Ok(now + times.tick);
        }
        let idle_until = self.activity + times.idle;
        if !self.running.is_empty() {
            return Ok(idle_until.max(now + times.tick));
        }
        if now >= idle_until {
            return Err(End::Idle);
        }
        Ok(idle_until)
    }

    fn end_of_drain(&mut self) -> End {
        self.draining.take().map_or(End::Shutdown, |(end, _)| end)
    }
}

fn refused(error: super::intake::IntakeError) -> End {
    End::Refused(error.to_string())
}

impl<IO, S> Future for Connection<IO, S>
where
    IO: AsyncRead + AsyncWrite + Unpin,
    S: Service,
{
    type Output = End;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<End> {
        let this = &mut *self;
        if let Err(end) = this.poll_all(cx).and_then(|()| this.poll_time(cx)) {
            return Poll::Ready(end);
        }
        if this.draining.is_some() && this.running.is_empty() && this.outbox.is_empty() {
            return Poll::Ready(this.end_of_drain());
        }
        Poll::Pending
    }
}
