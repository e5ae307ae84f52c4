//! One fetcher at work: a task with one connection to the leader's broker. It asks for what the fetcher wants, hands
//! the answer over, and asks again once all of it is durable here: what a request names as its offset is an
//! acknowledgement to the leader.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use millrace_metadata::{ErrorCode, TopicId};
use millrace_replica::{EpochEnd, Fetcher, ReplicaFetch, ReplicaFetched, ReplicaFetchedPartition};
use millrace_wire::follow::{FetchedPartition, FollowedPartition, FollowerFetch, FollowerFetched};
use tokio::time::sleep;

use super::Replication;
use super::link::{Address, FetchLink, LinkError, SocketOptions};
use super::session::FetchSession;
use crate::throttle::{self, FOLLOWER_REPLICAS};

/// Topic and partition.
type Key = (TopicId, i32);

/// Pause after a parked fetch was given up for partitions that were added: those that are added together go out
/// together.
const GATHER: Duration = Duration::from_millis(5);

/// Why a fetch came to nothing.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("its broker has no address on the listener {0}")]
    NoAddress(String),
    #[error("{0}")]
    Link(#[from] LinkError),
    #[error("it answered {0:?}")]
    Refused(ErrorCode),
}

/// How a fetch ended, if not in failure.
enum Fetched {
    Answer(FollowerFetched),
    /// Other partitions are to be fetched as well; the leader was not waited for.
    GivenUp,
}

/// Fetches until the future is dropped.
pub async fn run(parts: Replication, fetcher: Arc<Fetcher>) {
    let mut task = FetchTask { parts, fetcher, session: FetchSession::default(), link: None, failing: false };
    loop {
        task.fetcher.synced().await;
        task.check_address();
        // What was assigned until now is in the request, and is no reason to give it up.
        let _ = task.fetcher.woken().now_or_never();
        let now = task.parts.clock.steady_ms();
        match task.fetcher.request(now, task.session.is_new()) {
            None => task.rest().await,
            Some(wanted) => task.round(&wanted).await,
        }
    }
}

struct FetchTask {
    parts: Replication,
    fetcher: Arc<Fetcher>,
    session: FetchSession,
    link: Option<(Address, FetchLink)>,
    /// Whether the last fetch failed: only the first one in a row is worth a warning.
    failing: bool,
}

impl FetchTask {
    /// Waits until there may be something to fetch.
    async fn rest(&self) {
        if !self.fetcher.is_synced() {
            // A partition was assigned whose end is not durable yet: that is waited for, not another assignment.
            return;
        }
        let now = self.parts.clock.steady_ms();
        let backoff = async {
            match self.fetcher.wake_at() {
                Some(at) => sleep(Duration::from_millis(u64::try_from(at - now).unwrap_or(0).max(1))).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = backoff => {}
            () = self.fetcher.woken() => {}
        }
    }

    async fn round(&mut self, wanted: &ReplicaFetch) {
        match self.fetch(wanted).await {
            Ok(Fetched::Answer(answer)) => self.take(answer).await,
            Ok(Fetched::GivenUp) => {
                self.hang_up();
                self.fetcher.abandoned();
                sleep(GATHER).await;
            }
            Err(failure) => self.fail(&failure),
        }
    }

    fn hang_up(&mut self) {
        self.link = None;
        self.session.reset();
    }

    fn fail(&mut self, failure: &Failure) {
        self.hang_up();
        let leader = self.fetcher.leader();
        if matches!(failure, Failure::Link(LinkError::Io(_))) {
            self.parts.suspects.suspect(leader);
        }
        if self.failing {
            tracing::debug!(leader, %failure, "fetching from a leader failed again");
        } else {
            tracing::info!(leader, %failure, "fetching from a leader failed; trying again");
        }
        self.failing = true;
        self.fetcher.failed(self.parts.clock.steady_ms());
    }

    async fn fetch(&mut self, wanted: &ReplicaFetch) -> Result<Fetched, Failure> {
        let config = self.parts.settings();
        let settings = &config.replication;
        let partitions = partitions(wanted);
        let forgotten = forgotten(wanted);
        let request = FollowerFetch {
            max_wait_ms: i32::try_from(settings.fetch_wait_ms).unwrap_or(i32::MAX),
            min_bytes: settings.fetch_min_bytes,
            max_bytes: settings.response_max_bytes,
            session_id: self.session.id,
            session_epoch: self.session.epoch,
            replica_id: self.parts.node_id,
            replica_epoch: *self.parts.epoch.borrow(),
            partitions: &partitions,
            forgotten: &forgotten,
        };
        let max_wait = Duration::from_millis(settings.fetch_wait_ms.into());
        let fetcher = self.fetcher.clone();
        let link = self.connect().await?;
        link.send(&request).await?;
        let early = tokio::select! {
            biased;
            answer = link.receive(max_wait) => Some(answer?),
            () = fetcher.woken() => None,
        };
        match early {
            Some(answer) => Ok(Fetched::Answer(answer)),
            None if link.is_answering() => Ok(Fetched::Answer(link.receive(max_wait).await?)),
            None => Ok(Fetched::GivenUp),
        }
    }

    /// Hangs up if the leader's broker has moved: it is another incarnation, which knows no session.
    fn check_address(&mut self) {
        if let Some((connected, _)) = &self.link
            && self.address().ok().as_ref() != Some(connected)
        {
            self.hang_up();
        }
    }

    async fn connect(&mut self) -> Result<&mut FetchLink, Failure> {
        let link = match self.link.take() {
            Some(link) => link,
            None => self.dial().await?,
        };
        Ok(&mut self.link.insert(link).1)
    }

    async fn dial(&self) -> Result<(Address, FetchLink), Failure> {
        let address = self.address()?;
        let config = self.parts.settings();
        let options = SocketOptions {
            timeout: Duration::from_millis(config.replication.socket_timeout_ms.into()),
            receive_buffer: config.replication.receive_buffer,
        };
        let client_id = format!("broker-{}-fetcher-{}", self.parts.node_id, self.fetcher.id());
        let link = FetchLink::connect(&address, client_id, options).await?;
        Ok((address, link))
    }

    fn address(&self) -> Result<Address, Failure> {
        let listener = &self.parts.settings().inter_broker_listener;
        let image = self.parts.images.borrow().clone();
        let endpoint = image.broker(self.fetcher.leader()).and_then(|broker| broker.endpoint(listener));
        let endpoint = endpoint.ok_or_else(|| Failure::NoAddress(listener.clone()))?;
        Ok(Address { host: endpoint.host.clone(), port: endpoint.port })
    }

    async fn take(&mut self, answer: FollowerFetched) {
        match code(answer.error) {
            ErrorCode::None => {}
            // The leader forgot the session, or restarted: nothing is wrong with the partitions.
            ErrorCode::FetchSessionIdNotFound
            | ErrorCode::InvalidFetchSessionEpoch
            | ErrorCode::FetchSessionTopicIdError => {
                self.session.reset();
                return self.fetcher.abandoned();
            }
            error => return self.fail(&Failure::Refused(error)),
        }
        self.session.answered(answer.session_id);
        self.parts.suspects.clear(self.fetcher.leader());
        if std::mem::take(&mut self.failing) {
            tracing::info!(leader = self.fetcher.leader(), "fetching from the leader again");
        }
        let throttle = u64::try_from(answer.throttle_ms).unwrap_or(0);
        self.parts.meters.replicated_in(answer.record_bytes());
        let (behind, bytes) = self.throttled(&answer);
        let fetched = ReplicaFetched { partitions: answer.partitions.into_iter().map(fetched).collect() };
        let told: Vec<(Key, i64)> =
            fetched.partitions.iter().map(|p| ((p.topic_id, p.index), p.high_watermark)).collect();
        self.respond(fetched);
        self.note_lag(&told);
        self.hold(behind, bytes);
        if throttle > 0 {
            sleep(Duration::from_millis(throttle)).await;
        }
    }

    /// Appending does not wait for the disk; cutting back, and what else follows an error, does.
    fn respond(&self, fetched: ReplicaFetched) {
        let odd = |p: &ReplicaFetchedPartition| p.error != ErrorCode::None || p.diverging.is_some();
        let now = self.parts.clock.steady_ms();
        match fetched.partitions.iter().any(odd) {
            true => tokio::task::block_in_place(|| self.fetcher.response(now, fetched)),
            false => self.fetcher.response(now, fetched),
        }
    }

    /// Notes by how much the farthest partition lags behind the high watermark that its leader told.
    fn note_lag(&self, told: &[(Key, i64)]) {
        let lag = |((topic, index), high_watermark): &(Key, i64)| {
            let partition = self.parts.replicas.partition_by_id(topic, *index).ok()?;
            Some(high_watermark - partition.log_end_offset())
        };
        let most = told.iter().filter_map(lag).max().unwrap_or(0).max(0);
        self.parts.meters.lag(self.fetcher.leader(), self.fetcher.id(), most);
    }

    /// Partitions with records whose replica here is listed as throttled, and the bytes of those records (KIP-73).
    fn throttled(&self, answer: &FollowerFetched) -> (Vec<Key>, usize) {
        if self.parts.settings().replication.follower_rate.is_none() {
            return (Vec::new(), 0);
        }
        let image = self.parts.images.borrow().clone();
        let listed = |p: &&FetchedPartition| {
            let topic = image.topic_name(&TopicId(p.topic_id));
            let lists = |topic| throttle::lists(&image, topic, FOLLOWER_REPLICAS, p.index, self.parts.node_id);
            !p.records.is_empty() && topic.is_some_and(lists)
        };
        let listed: Vec<_> = answer.partitions.iter().filter(listed).collect();
        let keys = listed.iter().map(|p| (TopicId(p.topic_id), p.index)).collect();
        (keys, listed.iter().map(|p| p.records.len()).sum())
    }

    /// Leaves throttled partitions alone until the rate allows more, unless they have caught up.
    fn hold(&self, throttled: Vec<Key>, bytes: usize) {
        let Some(rate) = self.parts.settings().replication.follower_rate.filter(|_| bytes > 0) else {
            return;
        };
        let now = self.parts.clock.steady_ms();
        self.parts.throttles.follower.record(bytes, rate, now);
        let wait_ms = self.parts.throttles.follower.wait_ms(rate, now);
        if wait_ms == 0 {
            return;
        }
        let image = self.parts.images.borrow().clone();
        let in_sync = |(topic, index): &Key| {
            let partition = image.topic_by_id(topic).and_then(|topic| topic.partition(*index));
            partition.is_some_and(|partition| partition.isr.contains(&self.parts.node_id))
        };
        let behind: Vec<Key> = throttled.into_iter().filter(|key| !in_sync(key)).collect();
        self.fetcher.hold(&behind, now + i64::try_from(wait_ms).unwrap_or(i64::MAX));
    }
}

fn code(code: i16) -> ErrorCode {
    ErrorCode::from_code(code).unwrap_or(ErrorCode::UnknownServerError)
}

fn partitions(wanted: &ReplicaFetch) -> Vec<FollowedPartition> {
    let mut partitions: Vec<FollowedPartition> = wanted
        .partitions
        .iter()
        .map(|partition| FollowedPartition {
            topic_id: partition.topic_id.0,
            index: partition.index,
            leader_epoch: partition.leader_epoch,
            offset: partition.offset,
            last_fetched_epoch: partition.last_fetched_epoch,
            log_start: partition.log_start,
            max_bytes: i32::try_from(partition.max_bytes).unwrap_or(i32::MAX),
        })
        .collect();
    partitions.sort_by_key(|partition| (partition.topic_id, partition.index));
    partitions
}

fn forgotten(wanted: &ReplicaFetch) -> Vec<([u8; 16], i32)> {
    let mut forgotten: Vec<_> = wanted.forgotten.iter().map(|(topic, index)| (topic.0, *index)).collect();
    forgotten.sort_unstable();
    forgotten
}

fn fetched(partition: FetchedPartition) -> ReplicaFetchedPartition {
    ReplicaFetchedPartition {
        topic_id: TopicId(partition.topic_id),
        index: partition.index,
        error: code(partition.error),
        high_watermark: partition.high_watermark,
        log_start: partition.log_start,
        diverging: partition.diverging.map(|end| EpochEnd { epoch: end.epoch, end: end.end_offset }),
        records: partition.records,
    }
}
