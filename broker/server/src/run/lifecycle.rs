//! This broker's membership in the cluster (`BrokerLifecycleManager.scala`): registration, presence at the active
//! controller with heartbeats that keep it, and the way out.
//!
//! ```text
//! registered ─▶ fenced ─▶ active ─▶ leaving: leaderships move away ─▶ may stop
//!     ▲            └─────────┴── the registration is stale ──┐
//!     └──────────────────────────────────────────────────────┘
//! ```

use std::sync::Arc;
use std::time::Duration;

use millrace_controller::{Attendance, ControllerLink};
use millrace_metadata::command::{Command, Heartbeat, HeartbeatState, Reply};
use millrace_metadata::record::BrokerRegistration;
use millrace_metadata::{ApiError, DirId, ErrorCode, NodeId};
use millrace_replica::ReplicaManager;
use tokio::sync::watch;
use tokio::time::Instant;

use super::StartError;

/// Pause after an attempt that failed.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// Pause between heartbeats of a broker that waits for the controller to change its standing.
const HURRY: Duration = Duration::from_millis(20);
/// Between two lines that say what is waited for.
const COMPLAIN_EVERY: Duration = Duration::from_secs(5);
/// Beyond the session timeout, how long another broker with the same id may seem alive at start: it takes that long
/// until a dead one is given up.
const DUPLICATE_GRACE: Duration = Duration::from_secs(3);
/// How long the leaderships may take to move away before this broker stops all the same.
const LEAVE_WAIT: Duration = Duration::from_secs(5);
/// How long leaving waits for an active controller.
const LEAVE_ALONE: Duration = Duration::from_secs(2);

/// What the controller thinks of this broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Fenced,
    Active,
    /// It leads nothing any more, and everybody knows.
    MayStop,
}

/// Times of the membership.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    pub heartbeat: Duration,
    /// After so much silence the controller gives this broker up.
    pub session: Duration,
}

/// A broker and what it tells the controllers.
pub struct Member {
    pub controller: Arc<ControllerLink>,
    pub replicas: Arc<ReplicaManager>,
    pub served: watch::Receiver<u64>,
    pub registration: BrokerRegistration,
    pub timing: Timing,
    pub epoch: watch::Sender<i64>,
    pub standing: watch::Sender<Standing>,
    /// When the active controller last answered.
    pub heard: watch::Sender<Instant>,
    /// Whether this broker wants to stop.
    pub leaving: watch::Receiver<bool>,
}

/// The other side of a [`Member`].
pub struct Membership {
    pub epoch: watch::Receiver<i64>,
    pub standing: watch::Receiver<Standing>,
    pub heard: watch::Receiver<Instant>,
    pub leave: watch::Sender<bool>,
}

/// Why a registration was not accepted.
enum Refusal {
    /// It may be another time.
    Later(ApiError),
    /// Another broker with this id is alive, or died a moment ago.
    Duplicate(ApiError),
    Never(ApiError),
}

impl Refusal {
    fn of(error: ApiError) -> Refusal {
        match error.code {
            ErrorCode::DuplicateBrokerRegistration => Refusal::Duplicate(error),
            ErrorCode::InconsistentClusterId | ErrorCode::UnsupportedVersion | ErrorCode::InvalidRegistration => {
                Refusal::Never(error)
            }
            // Nobody decided it, or nobody knows whether somebody did: asking again does no harm.
            _ => Refusal::Later(error),
        }
    }
}

impl Member {
    fn node_id(&self) -> NodeId {
        self.registration.id
    }

    /// Registers the broker for the first time in this run; waits for the controllers as long as it takes. `unclean`:
    /// what it held in sync it may have lost.
    ///
    /// # Errors
    /// The cluster does not take this broker; the text says what to do.
    pub async fn register(&self, unclean: bool) -> Result<(), StartError> {
        let begun = Instant::now();
        let mut complained = begun;
        loop {
            let error = match self.try_register(unclean).await {
                Ok(epoch) => {
                    self.registered(epoch);
                    return Ok(());
                }
                Err(Refusal::Never(error)) => return Err(refused(self.node_id(), &error)),
                Err(Refusal::Duplicate(error)) if begun.elapsed() > self.timing.session + DUPLICATE_GRACE => {
                    return Err(refused(self.node_id(), &error));
                }
                Err(Refusal::Duplicate(error) | Refusal::Later(error)) => error,
            };
            if complained.elapsed() > COMPLAIN_EVERY {
                complained = Instant::now();
                tracing::info!("waiting for the controllers to register this broker: {}", error.message);
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    async fn try_register(&self, unclean: bool) -> Result<i64, Refusal> {
        let cluster_id = self.controller.cluster_id().to_owned();
        let command = Command::RegisterBroker { cluster_id, registration: self.registration.clone(), unclean };
        match self.controller.submit(command).await {
            Ok(Reply::RegisterBroker(Ok(registered))) => Ok(registered.epoch),
            Ok(Reply::RegisterBroker(Err(error))) | Err(error) => Err(Refusal::of(error)),
            Ok(_) => Err(Refusal::Later(ErrorCode::UnknownServerError.into())),
        }
    }

    /// What the controllers give to an earlier run of this broker is not for this one.
    fn registered(&self, epoch: i64) {
        self.replicas.registered(epoch);
        self.epoch.send_replace(epoch);
    }

    /// Is present at the active controller, whichever that is, until the future is dropped.
    pub async fn stay(mut self) {
        let mut cut_off = false;
        loop {
            if let Ok(attendance) = self.controller.attend().await
                && self.attend(attendance).await
            {
                self.register_again().await;
            }
            let heard = *self.heard.borrow();
            cut_off &= heard.elapsed() > self.timing.session;
            if !cut_off && heard.elapsed() > self.timing.session {
                cut_off = true;
                // As in Kafka, what needs no other replica is still served; acks=all is not acknowledged.
                tracing::warn!(
                    "no active controller answered for {} ms: this broker may be fenced, and what it leads led elsewhere",
                    heard.elapsed().as_millis()
                );
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// Reports until the controller goes away; true if this broker must register again.
    async fn attend(&mut self, mut attendance: Attendance) -> bool {
        loop {
            match attendance.beat(self.heartbeat()).await {
                Ok(state) => {
                    self.heard.send_replace(Instant::now());
                    self.take_in(state);
                }
                Err(error) => {
                    tracing::debug!(%error, "heartbeat");
                    return error.code == ErrorCode::StaleBrokerEpoch;
                }
            }
            let hurry = *self.leaving.borrow() || *self.standing.borrow() == Standing::Fenced;
            tokio::select! {
                () = tokio::time::sleep(if hurry { HURRY } else { self.timing.heartbeat }) => {}
                () = attendance.ended() => return false,
                // Its sender lives as long as the broker.
                changed = self.leaving.changed() => if changed.is_err() { return false },
            }
        }
    }

    fn take_in(&self, state: HeartbeatState) {
        let next = match state {
            HeartbeatState { should_shutdown: true, .. } => Standing::MayStop,
            HeartbeatState { fenced: true, .. } => Standing::Fenced,
            HeartbeatState { .. } => Standing::Active,
        };
        let changed = self.standing.send_if_modified(|standing| std::mem::replace(standing, next) != next);
        if changed {
            tracing::info!(standing = ?next, "the controller changed this broker's standing");
        }
    }

    /// The registration is not known any more, or another one is.
    async fn register_again(&self) {
        self.standing.send_replace(Standing::Fenced);
        match self.try_register(false).await {
            Ok(epoch) => {
                tracing::info!(epoch, "registered again: the controllers no longer knew this broker");
                self.registered(epoch);
            }
            Err(Refusal::Later(error) | Refusal::Duplicate(error) | Refusal::Never(error)) => {
                tracing::warn!(error = %error.message, "the controllers do not register this broker again");
                tokio::time::sleep(COMPLAIN_EVERY).await;
            }
        }
    }

    fn heartbeat(&self) -> Heartbeat {
        Heartbeat {
            broker: self.node_id(),
            broker_epoch: *self.epoch.borrow(),
            applied: *self.served.borrow(),
            want_fence: false,
            want_shutdown: *self.leaving.borrow(),
            offline_dirs: self.offline_dirs(),
        }
    }

    fn offline_dirs(&self) -> Vec<DirId> {
        self.replicas.dirs().iter().filter(|dir| dir.is_offline()).map(|dir| dir.id()).collect()
    }
}

fn refused(node_id: NodeId, error: &ApiError) -> StartError {
    let remedy = match error.code {
        ErrorCode::DuplicateBrokerRegistration => {
            format!(" Stop the other broker, or give this one a node.id of its own instead of {node_id}.")
        }
        ErrorCode::InconsistentClusterId => {
            " Correct controller.quorum.bootstrap.servers or controller.quorum.voters, or choose other directories with log.dirs.".to_owned()
        }
        ErrorCode::UnsupportedVersion => " Use a version of this software that fits the cluster.".to_owned(),
        _ => String::new(),
    };
    StartError::part("registration with the controllers", format!("{}{remedy}", error.message))
}

impl Membership {
    /// Returns when this broker may lead partitions, and serves what it leads.
    pub async fn joined(&mut self, controller: &ControllerLink, served: &watch::Receiver<u64>) {
        let mut complained = Instant::now();
        while *self.standing.borrow_and_update() != Standing::Active {
            // Its sender lives in a task that is dropped with this broker.
            if let Ok(Err(_)) = tokio::time::timeout(COMPLAIN_EVERY, self.standing.changed()).await {
                std::future::pending::<()>().await;
            }
            if complained.elapsed() >= COMPLAIN_EVERY {
                complained = Instant::now();
                let (served, agreed) = (*served.borrow(), controller.images().borrow().index);
                tracing::info!(served, agreed, "waiting for the active controller to let this broker take part");
            }
        }
        let index = controller.images().borrow().index;
        drop(served.clone().wait_for(|served| *served >= index).await);
    }

    /// Has the leaderships move away, and returns when this broker may stop, or when it takes too long.
    pub async fn leave(&mut self, controller: &ControllerLink) {
        let others = |id| controller.images().borrow().live_brokers().any(|broker| broker.id != id);
        let id = controller.images().borrow().brokers().find(|b| b.epoch == *self.epoch.borrow()).map(|b| b.id);
        if !id.is_some_and(others) {
            return;
        }
        self.leave.send_replace(true);
        let leaving = async {
            let begun = Instant::now();
            let moved = self.standing.wait_for(|standing| *standing == Standing::MayStop);
            tokio::select! {
                _ = moved => {}
                () = unheard(&self.heard) => tracing::info!("stopping without an active controller"),
            }
            begun.elapsed()
        };
        match tokio::time::timeout(LEAVE_WAIT, leaving).await {
            Ok(took) => tracing::info!(ms = took.as_millis(), "what this broker led is led elsewhere"),
            Err(_) => tracing::warn!("stopping although not all leaderships moved away within {LEAVE_WAIT:?}"),
        }
    }
}

/// Returns when no active controller answered for a while.
async fn unheard(heard: &watch::Receiver<Instant>) {
    while heard.borrow().elapsed() < LEAVE_ALONE {
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}
