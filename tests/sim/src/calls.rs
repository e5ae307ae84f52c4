//! Requests and answers between the parts of the simulated cluster.

use bytes::BytesMut;
use millrace_metadata::command::IsrChange;
use millrace_metadata::{Command, NodeId, Reply, TopicId};
use millrace_replica::{ReplicaFetch, ReplicaFetched};

use crate::groups::Ask;
use crate::net::Addr;

/// A partition of one incarnation of a topic.
pub type Tp = (TopicId, i32);

/// A fetch session, and how many answers it has given.
pub type SessionId = (CallId, u32);

/// Number of a call.
pub type CallId = u64;

#[derive(Debug, Clone)]
pub enum Request {
    Command(Box<Command>),
    /// A follower fetches; the broker epoch that it says it has.
    Fetch {
        fetch: ReplicaFetch,
        broker_epoch: i64,
        fetcher: usize,
        /// Without one, all partitions are named, and a new session begins.
        session: Option<SessionId>,
    },
    Produce {
        tp: Tp,
        acks: i16,
        batch: BytesMut,
    },
    Consume {
        tp: Tp,
        offset: i64,
        /// Any replica will do (KIP-392).
        anywhere: bool,
    },
    /// Everything before the offset may go.
    Trim {
        tp: Tp,
        offset: i64,
    },
    Group(Ask),
}

#[derive(Debug)]
pub enum Response {
    Reply(Reply),
    Fetched {
        fetched: ReplicaFetched,
        session: SessionId,
    },
    /// The leader does not know the fetch session, or not at this point.
    NoSession,
    /// Offset of the batch's first record.
    Produced(Result<i64, Refusal>),
    Trimmed,
    /// Offset, epoch and value of each record, and the leader's high watermark.
    Consumed(Result<Vec<(i64, Rec)>, Refusal>),
    /// The offset that was committed, or that the group has.
    Group {
        /// Another broker is the coordinator by now.
        stale: bool,
        result: Result<i64, Refusal>,
    },
    /// There is no active controller.
    NotController,
}

/// What a client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Nothing was done: look for the leader, or wait, and try again.
    Retry,
    /// It may have been done.
    Unknown,
    /// The producer's sequence does not fit what the log knows of it.
    Sequence,
    /// The log begins here.
    OutOfRange(i64),
}

/// A stored record, as far as the simulation looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rec {
    pub epoch: i32,
    pub value: u64,
}

/// Who called, and what the answer is for.
#[derive(Debug)]
pub enum Purpose {
    Register,
    Beat,
    Isr {
        changes: Vec<IsrChange>,
    },
    Fetch {
        leader: NodeId,
        fetcher: usize,
    },
    /// Nothing follows from the answer.
    Tell,
    /// A client's; the client knows what for.
    Client,
}

#[derive(Debug)]
pub struct Call {
    pub from: Addr,
    pub to: Addr,
    /// Of the calling process, if it is a broker: another one does not know of the call.
    pub boot: u32,
    pub purpose: Purpose,
}
