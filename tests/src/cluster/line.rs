//! The cable of a node, on which what it sends can be delayed: two TAP devices, and threads that carry frames from one
//! to the other. Not every kernel has netem; every one has these.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use rand::Rng;
use tappers::{Interface, Tap};

/// Frames on their way in one direction; more are lost, as on a real line.
const FRAMES: usize = 8192;
const FRAME_BYTES: usize = 1 << 16;

/// Ends when its devices are deleted.
pub struct Line {
    delay_us: Arc<AtomicU64>,
}

impl Line {
    /// Makes both devices, `node` for the node's end. They are down and belong to nobody yet.
    pub fn new(node: &str, other: &str) -> anyhow::Result<Line> {
        let (node, other) = (Arc::new(tap(node)?), Arc::new(tap(other)?));
        let line = Line { delay_us: Arc::default() };
        carry(node.clone(), other.clone(), line.delay_us.clone())?;
        carry(other, node, Arc::default())?;
        Ok(line)
    }

    /// What the node sends takes so long from now on, give or take a half; its order stays.
    pub fn delay(&self, delay: Duration) {
        self.delay_us.store(delay.as_micros() as u64, Ordering::Relaxed);
    }
}

fn tap(name: &str) -> io::Result<Tap> {
    Tap::new_named(Interface::new(name)?)
}

fn carry(from: Arc<Tap>, to: Arc<Tap>, delay_us: Arc<AtomicU64>) -> io::Result<()> {
    let (queue, due) = sync_channel(FRAMES);
    let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
    thread("line-in").spawn(move || take(&from, &queue, &delay_us))?;
    thread("line-out").spawn(move || deliver(&to, &due))?;
    Ok(())
}

fn take(from: &Tap, queue: &SyncSender<(Instant, Vec<u8>)>, delay_us: &AtomicU64) {
    let mut frame = vec![0; FRAME_BYTES];
    loop {
        let length = match from.recv(&mut frame) {
            Ok(length) => length,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            // The device is gone.
            Err(_) => return,
        };
        let delay = delay_us.load(Ordering::Relaxed);
        let delay = if delay == 0 { 0 } else { rand::rng().random_range(delay / 2..=delay + delay / 2) };
        let _ = queue.try_send((Instant::now() + Duration::from_micros(delay), frame[..length].to_vec()));
    }
}

fn deliver(to: &Tap, due: &Receiver<(Instant, Vec<u8>)>) {
    while let Ok((at, frame)) = due.recv() {
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
        // A frame that cannot be delivered is lost.
        let _ = to.send(&frame);
    }
}
