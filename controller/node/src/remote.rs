//! The controllers as a broker without one sees them: it follows the metadata at one of them, at another one when that
//! is gone or falls behind, and asks the active one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt;
use millrace_metadata::Image;
use millrace_metadata::features::{Feature, TooNew, too_new};
use millrace_rpc::pb::controller_client::ControllerClient;
use millrace_rpc::pb::watch_event::Kind;
use millrace_rpc::{DecodeError, levels_from_pb, pb, records_from_pb};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::metadata::MetadataValue;
use tonic::{Request, Status, Streaming};

use crate::active::Active;
use crate::network::{CLUSTER_KEY, MESSAGE_MAX, channel};
use crate::options::StartError;
use crate::snapshot;
use crate::standing::Standing;
use crate::watch::KEEPALIVE;

/// How long a controller may take to begin.
const GREETING_WAIT: Duration = Duration::from_secs(2);
/// Silence after which another controller is followed.
const SILENCE: Duration = KEEPALIVE.saturating_mul(3);
/// A controller that lacks for so long what the active one has is left for another one.
const LAG_MAX: Duration = Duration::from_secs(2);
/// After every controller was tried in vain.
const ROUND_PAUSE: Duration = Duration::from_millis(100);
/// Between two lines that say who is waited for.
const COMPLAIN_EVERY: Duration = Duration::from_secs(5);
/// Events that are taken in before the image is shown.
const BATCH: usize = 256;

/// What a broker must know to find the controllers.
#[derive(Debug, Clone)]
pub struct RemoteOptions {
    /// Host and port of some or all of them.
    pub servers: Vec<(String, u16)>,
    /// The cluster to belong to, if that is known already.
    pub cluster_id: Option<String>,
    /// What this software supports.
    pub features: &'static [Feature],
}

/// The controllers, elsewhere.
pub struct Remote {
    pub active: Active,
    pub cluster_id: String,
    task: JoinHandle<()>,
}

/// Why a controller is not followed any longer.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("{0}")]
    Refused(String),
    #[error("silent")]
    Silent,
    #[error("behind the active controller")]
    Behind,
    #[error("it sent what cannot be understood: {0}")]
    Malformed(#[from] DecodeError),
    #[error("it belongs to cluster {0}")]
    Foreign(String),
    #[error("its cluster runs at {}={}", .0.name, .0.level)]
    TooNew(TooNew),
}

impl From<Status> for Ended {
    fn from(status: Status) -> Self {
        Ended::Refused(status.message().to_owned())
    }
}

impl Remote {
    /// Follows the metadata; returns when there is an image. Waits for the controllers as long as it takes, and says
    /// from time to time whom it waits for.
    ///
    /// # Errors
    /// [`StartError::WrongCluster`] if the controllers belong to another cluster, [`StartError::TooNew`] if it runs at a
    /// level that this software does not know.
    pub async fn connect(options: RemoteOptions) -> Result<Remote, StartError> {
        let (images, mut seen) = watch::channel(Arc::new(Image::default()));
        let (standing, standings) = watch::channel(Standing::default());
        let newest = Arc::new(AtomicU64::new(0));
        let (hopeless, is_hopeless) = oneshot::channel();
        let follower = Follower {
            options,
            image: Image::default(),
            images,
            standing,
            newest: Arc::clone(&newest),
            hopeless: Some(hopeless),
            next: 0,
            complained: Instant::now(),
        };
        let task = tokio::spawn(follower.run());
        let ready = seen.wait_for(|image| !image.cluster_id.is_empty());
        let why = tokio::select! {
            why = is_hopeless => why.ok(),
            // Its sender lives in the task above.
            ready = ready => { drop(ready); None }
        };
        if let Some(why) = why {
            task.abort();
            return Err(why);
        }
        let cluster_id = seen.borrow().cluster_id.to_string();
        let active = Active::new(Arc::from(cluster_id.as_str()), standings, seen, None, newest);
        Ok(Remote { active, cluster_id, task })
    }

    pub fn images(&self) -> watch::Receiver<Arc<Image>> {
        self.active.images.clone()
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Follower {
    options: RemoteOptions,
    /// As far as it was followed; newer than what is shown only within one batch.
    image: Image,
    images: watch::Sender<Arc<Image>>,
    standing: watch::Sender<Standing>,
    newest: Arc<AtomicU64>,
    /// Takes the reason why there can be no image here.
    hopeless: Option<oneshot::Sender<StartError>>,
    /// Whose turn it is.
    next: usize,
    complained: Instant,
}

impl Follower {
    async fn run(mut self) {
        let mut failures: Vec<String> = Vec::new();
        loop {
            let servers = self.servers();
            let (host, port) = servers[self.next % servers.len()].clone();
            let before = self.image.index;
            let ended = match self.follow(&host, port).await {
                Ok(never) => never,
                Err(ended) => ended,
            };
            self.next = self.next.wrapping_add(1);
            if self.image.index > before {
                tracing::info!(host, port, %ended, "following the metadata at another controller");
                failures.clear();
                self.complained = Instant::now();
                continue;
            }
            if let Some(why) = self.hopeless_for(&ended)
                && let Some(hopeless) = self.hopeless.take()
            {
                // Nobody waits for it once there is an image.
                hopeless.send(why).ok();
            }
            failures.push(format!("{host}:{port} ({ended})"));
            if failures.len() >= servers.len() {
                self.complain(&failures);
                failures.clear();
                tokio::time::sleep(ROUND_PAUSE).await;
            }
        }
    }

    fn hopeless_for(&self, ended: &Ended) -> Option<StartError> {
        match ended {
            Ended::Foreign(found) => Some(StartError::WrongCluster {
                dir: "the controllers".to_owned(),
                found: found.clone(),
                wanted: self.options.cluster_id.clone().unwrap_or_default(),
            }),
            Ended::TooNew(newer) => Some(newer.clone().into()),
            Ended::Refused(_) | Ended::Silent | Ended::Behind | Ended::Malformed(_) => None,
        }
    }

    fn complain(&mut self, failures: &[String]) {
        if self.complained.elapsed() >= COMPLAIN_EVERY {
            self.complained = Instant::now();
            tracing::info!("waiting for a controller: {}", failures.join(", "));
        }
    }

    /// Those that the settings name, and all that were heard of.
    fn servers(&self) -> Vec<(String, u16)> {
        let mut servers = self.options.servers.clone();
        for peer in self.standing.borrow().nodes.values() {
            let server = (peer.host.clone(), peer.port);
            if peer.port != 0 && !servers.contains(&server) {
                servers.push(server);
            }
        }
        servers
    }

    async fn open(&self, host: &str, port: u16) -> Result<Streaming<pb::WatchEvent>, Ended> {
        let channel = channel(host, port).ok_or_else(|| Ended::Refused("this is no address".to_owned()))?;
        let mut client = ControllerClient::new(channel).max_decoding_message_size(MESSAGE_MAX);
        let mut request = Request::new(pb::WatchRequest { index: self.image.index, term: self.image.term });
        let known = Some(&*self.image.cluster_id).filter(|id| !id.is_empty()).or(self.options.cluster_id.as_deref());
        if let Some(cluster) = known.and_then(|id| MetadataValue::try_from(id).ok()) {
            request.metadata_mut().insert(CLUSTER_KEY, cluster);
        }
        let opened = tokio::time::timeout(GREETING_WAIT, client.watch(request)).await;
        Ok(opened.map_err(|_| Ended::Silent)??.into_inner())
    }

    /// Follows one controller until it ends.
    async fn follow(&mut self, host: &str, port: u16) -> Result<Ended, Ended> {
        let mut events = self.open(host, port).await?;
        let mut arriving: Option<Image> = None;
        let mut behind_since: Option<Instant> = None;
        loop {
            let waited = tokio::time::timeout(SILENCE, events.message()).await.map_err(|_| Ended::Silent)?;
            let mut next = waited?;
            for _ in 0..BATCH {
                let event = next.take().ok_or_else(|| Ended::Refused("it stopped".to_owned()))?;
                self.take_in(event, &mut arriving)?;
                match events.message().now_or_never() {
                    Some(event) => next = event?,
                    None => break,
                }
            }
            // What the last turn of the loop fetched must not be lost.
            if let Some(event) = next {
                self.take_in(event, &mut arriving)?;
            }
            self.show();
            if self.image.index >= self.newest.load(Ordering::Relaxed) {
                behind_since = None;
            } else if behind_since.get_or_insert_with(Instant::now).elapsed() > LAG_MAX {
                return Ok(Ended::Behind);
            }
        }
    }

    fn take_in(&mut self, event: pb::WatchEvent, arriving: &mut Option<Image>) -> Result<(), Ended> {
        match event.kind.ok_or(DecodeError::Unknown("event"))? {
            Kind::Cluster(cluster) => {
                let ours = Some(&*self.image.cluster_id).filter(|id| !id.is_empty());
                match ours.or(self.options.cluster_id.as_deref()) {
                    Some(ours) if ours != cluster.id => return Err(Ended::Foreign(cluster.id)),
                    _ => {}
                }
            }
            Kind::Standing(mut standing) => {
                let levels = levels_from_pb(std::mem::take(&mut standing.levels))?;
                if let Some(newer) = too_new(self.options.features, &levels) {
                    return Err(Ended::TooNew(newer));
                }
                let standing = Standing::from_pb(standing)?;
                self.standing.send_if_modified(|known| known.learn(standing));
            }
            Kind::Entry(entry) => {
                // Never backwards, and never with a gap.
                if entry.index <= self.image.index {
                    return Ok(());
                }
                let records = records_from_pb(entry.records)?;
                self.image.index = entry.index;
                self.image.term = entry.term;
                records.iter().for_each(|record| self.image.apply(record));
            }
            Kind::Image(head) => *arriving = Some(Image::at(head.index, head.term)),
            Kind::Chunk(chunk) => {
                let image = arriving.as_mut().ok_or(DecodeError::Unknown("beginning of the image"))?;
                snapshot::apply(image, chunk.records).map_err(|e| Ended::Refused(e.to_string()))?;
            }
            Kind::ImageEnd(pb::Blank {}) => {
                let image = arriving.take().ok_or(DecodeError::Unknown("beginning of the image"))?;
                if image.index > self.image.index {
                    self.image = image;
                }
            }
        }
        Ok(())
    }

    fn show(&self) {
        if self.image.index > self.images.borrow().index {
            self.images.send_replace(Arc::new(self.image.clone()));
        }
    }
}
