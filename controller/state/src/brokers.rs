//! Brokers come, live and go (`ClusterControlManager`, `BrokerHeartbeatManager`).

use std::collections::BTreeSet;

use millrace_metadata::command::{Heartbeat, HeartbeatState, Registered};
use millrace_metadata::limits::DIRS_PER_BROKER_MAX;
use millrace_metadata::record::BrokerRegistration;
use millrace_metadata::{ApiError, BrokerImage, DirId, ErrorCode, Image, NodeId, PartitionImage, Record};

use crate::elect::sweep;
use crate::features::supports;
use crate::{Cx, Defaults, Draft};

/// Registers a broker's new incarnation, fenced until its first heartbeat that has caught up, or amends the
/// registration of the same one.
pub(crate) fn register(
    draft: &mut Draft,
    cluster_id: &str,
    registration: &BrokerRegistration,
    unclean: bool,
    cx: &mut Cx<'_>,
) -> Result<Registered, ApiError> {
    let id = registration.id;
    if *cluster_id != *draft.image().cluster_id {
        let text = format!("This is cluster {}, not {cluster_id}.", draft.image().cluster_id);
        return Err(ApiError::new(ErrorCode::InconsistentClusterId, text));
    }
    let existing = draft.image().broker(id).cloned();
    let same = existing.as_ref().filter(|b| b.incarnation == registration.incarnation);
    if existing.is_some() && same.is_none() && cx.sessions.is_live(id, cx.now_ms) {
        let text = format!("Another broker with id {id} is alive.");
        return Err(ApiError::new(ErrorCode::DuplicateBrokerRegistration, text));
    }
    check_dirs(draft.image(), registration)?;
    supports(draft.image(), &registration.features)?;
    let (epoch, fenced, in_controlled_shutdown) = match same {
        Some(b) => (b.epoch, b.fenced, b.in_controlled_shutdown),
        None => (next_epoch(draft.image()), true, false),
    };
    draft.push(Record::RegisterBroker {
        registration: Box::new(registration.clone()),
        epoch,
        fenced,
        in_controlled_shutdown,
        index: same.map_or(0, |b| b.registered_at),
        shutdown_at: same.map_or(0, |b| b.shutdown_at),
    });
    let vanished: Vec<DirId> = existing.iter().flat_map(|b| &b.dirs).copied().collect();
    let vanished: Vec<DirId> = vanished.into_iter().filter(|d| !registration.dirs.contains(d)).collect();
    if same.is_none() {
        leave(draft, id, unclean, cx.defaults);
        let known = |dir: &DirId| existing.as_ref().is_none_or(|b| b.dirs.contains(dir));
        let replaced = !registration.dirs.iter().all(known);
        forget_lost(draft, id, Lost { vanished: !vanished.is_empty(), replaced }, cx.defaults);
    } else {
        leave_dirs(draft, id, &vanished, cx.defaults);
    }
    Ok(Registered { epoch })
}

/// Epochs are Raft indexes where possible, as in Kafka, and grow in any case.
fn next_epoch(image: &Image) -> i64 {
    let index = i64::try_from(image.index + 1).unwrap_or(i64::MAX);
    index.max(image.last_broker_epoch + 1)
}

fn check_dirs(image: &Image, registration: &BrokerRegistration) -> Result<(), ApiError> {
    let bad = |text: String| Err(ApiError::new(ErrorCode::InvalidRegistration, text));
    let dirs = &registration.dirs;
    if dirs.is_empty() || dirs.len() > DIRS_PER_BROKER_MAX {
        return bad(format!("A broker registers with 1 to {DIRS_PER_BROKER_MAX} log directories."));
    }
    if dirs.iter().any(|d| *d == DirId::UNASSIGNED || *d == DirId::LOST) {
        return bad("A log directory has a reserved id.".to_owned());
    }
    if dirs.iter().collect::<BTreeSet<_>>().len() != dirs.len() {
        return bad("Two log directories have the same id.".to_owned());
    }
    let others = image.brokers().filter(|b| b.id != registration.id);
    match others.flat_map(|b| b.dirs.iter().map(move |d| (b.id, d))).find(|(_, d)| dirs.contains(d)) {
        Some((owner, dir)) => bad(format!("Log directory {dir} belongs to broker {owner}.")),
        None => Ok(()),
    }
}

/// Takes a broker that no longer leads or follows out of its roles. `unclean`: what it held in sync may be lost.
fn leave(draft: &mut Draft, id: NodeId, unclean: bool, defaults: &Defaults) {
    if unclean {
        sweep(draft, defaults, |p| p.isr.contains(&id) || p.elr.contains(&id), |c| c.unclean_shutdown(id));
    } else {
        sweep(draft, defaults, |p| p.isr.contains(&id) || p.leader == id, |c| c.without(id));
    }
}

/// What became of the directories that a broker had before.
#[derive(Debug, Clone, Copy)]
struct Lost {
    /// One that was online is gone: what was not yet known to be elsewhere may have been there.
    vanished: bool,
    /// It has one that it did not have: replicas of the lost one start again there. Until the broker says where, their
    /// directory is open, so that a copy made there meanwhile is not taken for one in the lost directory.
    replaced: bool,
}

/// What a broker kept in a directory that it comes back without is lost, however cleanly it was stopped: a replica that
/// starts again in another directory starts with nothing.
fn forget_lost(draft: &mut Draft, id: NodeId, how: Lost, defaults: &Defaults) {
    let Some(broker) = draft.image().broker(id).cloned() else {
        return;
    };
    let lost = |p: &PartitionImage| match p.dir_of(id) {
        Some(DirId::UNASSIGNED) => how.vanished,
        Some(dir) => !broker.dirs.contains(&dir),
        None => false,
    };
    sweep(draft, defaults, lost, |change| match how.replaced {
        true => change.lost(id).dir(id, DirId::UNASSIGNED),
        false => change.lost(id),
    });
}

fn change_broker(broker: &BrokerImage, fenced: Option<bool>, in_controlled_shutdown: Option<bool>) -> Record {
    Record::BrokerChange { id: broker.id, epoch: broker.epoch, fenced, in_controlled_shutdown, dirs: None }
}

fn fence(draft: &mut Draft, broker: &BrokerImage, defaults: &Defaults) {
    draft.push(change_broker(broker, Some(true), None));
    leave(draft, broker.id, false, defaults);
}

fn unfence(draft: &mut Draft, broker: &BrokerImage, defaults: &Defaults) {
    draft.push(change_broker(broker, Some(false), None));
    sweep(draft, defaults, |p| !p.has_leader(), |c| c);
}

fn start_shutdown(draft: &mut Draft, broker: &BrokerImage, defaults: &Defaults) {
    if !broker.in_controlled_shutdown {
        draft.push(change_broker(broker, None, Some(true)));
    }
    leave(draft, broker.id, false, defaults);
}

/// The controller heard nothing of the broker for too long.
pub(crate) fn fence_command(draft: &mut Draft, id: NodeId, epoch: i64, defaults: &Defaults) -> Result<(), ApiError> {
    let broker = draft.broker_at(id, epoch)?.clone();
    if !broker.fenced {
        fence(draft, &broker, defaults);
    }
    Ok(())
}

/// Takes the broker's registration away.
pub(crate) fn unregister(draft: &mut Draft, id: NodeId, defaults: &Defaults) -> Result<(), ApiError> {
    let Some(broker) = draft.image().broker(id).cloned() else {
        let text = format!("Broker {id} is not registered.");
        return Err(ApiError::new(ErrorCode::BrokerIdNotRegistered, text));
    };
    draft.push(change_broker(&broker, Some(true), None));
    leave(draft, id, true, defaults);
    draft.push(Record::UnregisterBroker { id, epoch: broker.epoch });
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Fenced,
    Unfenced,
    ControlledShutdown,
    ShutdownNow,
}

/// A broker is alive and says what it wants (`BrokerHeartbeatManager.calculateNextBrokerState`).
pub(crate) fn heartbeat(draft: &mut Draft, beat: &Heartbeat, cx: &mut Cx<'_>) -> Result<HeartbeatState, ApiError> {
    let broker = draft.broker_at(beat.broker, beat.broker_epoch)?.clone();
    let caught_up = beat.applied >= broker.registered_at;
    let current = match (broker.fenced, broker.in_controlled_shutdown) {
        (true, _) => State::Fenced,
        (false, true) => State::ControlledShutdown,
        (false, false) => State::Unfenced,
    };
    let next = next_state(draft.image(), current, beat, (caught_up, cx));
    if next != current {
        match next {
            State::Fenced => fence(draft, &broker, cx.defaults),
            State::ShutdownNow if !broker.fenced => fence(draft, &broker, cx.defaults),
            State::ShutdownNow => {}
            State::Unfenced => unfence(draft, &broker, cx.defaults),
            State::ControlledShutdown => start_shutdown(draft, &broker, cx.defaults),
        }
    }
    dirs_offline(draft, beat, cx.defaults);
    let fenced = matches!(next, State::Fenced | State::ShutdownNow);
    Ok(HeartbeatState { caught_up, fenced, should_shutdown: next == State::ShutdownNow })
}

fn next_state(image: &Image, current: State, beat: &Heartbeat, (caught_up, cx): (bool, &Cx<'_>)) -> State {
    let leads = || image.topics_by_id().any(|t| t.partitions.iter().any(|p| p.leader == beat.broker));
    match current {
        State::Fenced if beat.want_shutdown => State::ShutdownNow,
        State::Fenced if !beat.want_fence && caught_up => State::Unfenced,
        State::Fenced => State::Fenced,
        State::Unfenced if beat.want_fence && beat.want_shutdown => State::ShutdownNow,
        State::Unfenced if beat.want_fence => State::Fenced,
        State::Unfenced if beat.want_shutdown && leads() => State::ControlledShutdown,
        State::Unfenced if beat.want_shutdown => State::ShutdownNow,
        State::Unfenced => State::Unfenced,
        State::ControlledShutdown if leads() => State::ControlledShutdown,
        State::ControlledShutdown | State::ShutdownNow => {
            // The others must have seen that this broker leads nothing any more, or they would still send clients
            // and fetches to it.
            let others = image.brokers().filter(|b| b.is_active() && b.id != beat.broker).map(|b| b.id);
            let left_at = image.broker(beat.broker).map_or(0, |b| b.shutdown_at);
            if cx.sessions.lowest_applied(others) >= left_at { State::ShutdownNow } else { State::ControlledShutdown }
        }
    }
}

/// A failed directory takes only its own replicas out.
fn dirs_offline(draft: &mut Draft, beat: &Heartbeat, defaults: &Defaults) {
    let Some(broker) = draft.image().broker(beat.broker).cloned() else {
        return;
    };
    let lost: Vec<DirId> = broker.dirs.iter().copied().filter(|d| beat.offline_dirs.contains(d)).collect();
    if lost.is_empty() {
        return;
    }
    let online = broker.dirs.iter().copied().filter(|d| !lost.contains(d)).collect();
    draft.push(Record::BrokerChange {
        id: broker.id,
        epoch: broker.epoch,
        fenced: None,
        in_controlled_shutdown: None,
        dirs: Some(online),
    });
    leave_dirs(draft, broker.id, &lost, defaults);
}

/// Takes the broker's replicas in these directories out of their roles.
fn leave_dirs(draft: &mut Draft, id: NodeId, dirs: &[DirId], defaults: &Defaults) {
    if !dirs.is_empty() {
        let there = |dir: Option<DirId>| dir.is_some_and(|d| dirs.contains(&d));
        sweep(draft, defaults, |p| there(p.dir_of(id)), |c| c.without(id));
    }
}
