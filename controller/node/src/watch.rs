//! What a controller tells those who follow the metadata: each applied entry in order, a whole image to whoever is too
//! far behind, and who leads. Any controller tells it; a follower that has more than this one waits for it.

use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use millrace_metadata::Image;
use millrace_rpc::{pb, records_to_pb};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tonic::Status;

use crate::feed::{Fed, Feed, Next};
use crate::snapshot;
use crate::standing::Standing;
use millrace_rpc::pb::watch_event::Kind;

/// Followers that are told at the same time.
pub const WATCHERS_MAX: usize = 1024;
/// Messages that wait for a slow follower; more wait where they are shared.
const QUEUE: usize = 4;
/// A sign of life when there is nothing to say.
pub const KEEPALIVE: Duration = Duration::from_secs(1);

pub type Events = mpsc::Receiver<Result<pb::WatchEvent, Status>>;

/// What telling needs.
#[derive(Clone)]
pub struct Teller {
    pub cluster: Arc<str>,
    pub feed: Arc<Feed>,
    pub images: watch::Receiver<Arc<Image>>,
    pub standings: watch::Receiver<Standing>,
    /// Its sender is dropped when the controller stops.
    pub stopping: watch::Receiver<()>,
    pub room: Arc<Semaphore>,
}

/// The follower went away, or must go.
struct Gone;

impl Teller {
    /// Starts telling whoever has applied this much.
    pub fn tell(&self, request: &pb::WatchRequest) -> Result<Events, Status> {
        let room = Arc::clone(&self.room).try_acquire_owned();
        let room = room.map_err(|_| Status::resource_exhausted("too many follow the metadata here"))?;
        let (out, events) = mpsc::channel(QUEUE);
        let telling = Telling { teller: self.clone(), out, index: request.index, term: request.term, _room: room };
        tokio::spawn(telling.run());
        Ok(events)
    }
}

struct Telling {
    teller: Teller,
    out: mpsc::Sender<Result<pb::WatchEvent, Status>>,
    /// What the follower has.
    index: u64,
    term: u64,
    _room: OwnedSemaphorePermit,
}

impl Telling {
    async fn run(mut self) {
        let cluster = pb::ClusterId { id: self.teller.cluster.to_string() };
        let greeted = self.send(Kind::Cluster(cluster)).await;
        if greeted.is_ok() {
            // Only what comes later counts as a change.
            self.teller.standings.mark_changed();
            while self.step().await.is_ok() {}
        }
    }

    async fn send(&self, kind: Kind) -> Result<(), Gone> {
        self.out.send(Ok(pb::WatchEvent { kind: Some(kind) })).await.map_err(|_| Gone)
    }

    async fn standing(&mut self) -> Result<(), Gone> {
        let image = self.teller.images.borrow().clone();
        let standing = self.teller.standings.borrow_and_update().to_pb(&image);
        self.send(Kind::Standing(standing)).await
    }

    /// Tells what is new, or waits for it.
    async fn step(&mut self) -> Result<(), Gone> {
        if self.teller.standings.has_changed().map_err(|_| Gone)? {
            self.standing().await?;
        }
        let image = self.teller.images.borrow_and_update().clone();
        match self.teller.feed.after(self.index, self.term) {
            Next::Entries(entries) if !entries.is_empty() => {
                for entry in entries {
                    self.entry(&entry).await?;
                }
                return Ok(());
            }
            Next::TooFarBehind if image.index > self.index => return self.image(&image).await,
            Next::Entries(_) | Next::TooFarBehind => {}
            Next::OtherHistory => {
                let why = format!("entry {} of term {} is not in this cluster's history", self.index, self.term);
                drop(self.out.send(Err(Status::failed_precondition(why))).await);
                return Err(Gone);
            }
        }
        let teller = &mut self.teller;
        let quiet = tokio::select! {
            changed = teller.images.changed() => changed.map(|()| false).map_err(|_| Gone)?,
            changed = teller.standings.changed() => {
                changed.map_err(|_| Gone)?;
                true
            }
            () = tokio::time::sleep(KEEPALIVE) => true,
            _ = teller.stopping.changed() => return Err(Gone),
            () = self.out.closed() => return Err(Gone),
        };
        if quiet { self.standing().await } else { Ok(()) }
    }

    async fn entry(&mut self, entry: &Fed) -> Result<(), Gone> {
        (self.index, self.term) = (entry.index, entry.term);
        let records = records_to_pb(entry.records.iter());
        self.send(Kind::Entry(pb::AppliedEntry { index: entry.index, term: entry.term, records })).await
    }

    async fn image(&mut self, image: &Image) -> Result<(), Gone> {
        self.send(Kind::Image(pb::ImageHead { index: image.index, term: image.term })).await?;
        for records in snapshot::chunks(image) {
            self.send(Kind::Chunk(pb::Records { records })).await?;
        }
        (self.index, self.term) = (image.index, image.term);
        self.send(Kind::ImageEnd(pb::Blank {})).await
    }
}

/// A queue as a stream.
pub fn stream<T: Send + 'static>(mut queue: mpsc::Receiver<T>) -> impl Stream<Item = T> + Send + 'static {
    futures::stream::poll_fn(move |cx| queue.poll_recv(cx))
}
