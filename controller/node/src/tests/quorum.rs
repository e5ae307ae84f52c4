//! Three controllers on loopback: they agree, survive each other, and catch up.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use millrace_store::MemoryKv;

use super::join;
use crate::{Controller, ControllerOptions, StartError, VoterAddress};

/// Far beyond what an election takes.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

pub(super) struct Node {
    pub kv: Arc<MemoryKv>,
    pub options: ControllerOptions,
    pub snapshot_after: usize,
}

impl Node {
    async fn start(&self) -> Controller {
        let started = Controller::start_on(self.kv.clone(), self.options.clone(), self.snapshot_after);
        started.await.unwrap()
    }
}

/// So many controllers that know each other by their settings alone, as processes would.
pub(super) fn several(count: i32, snapshot_after: usize) -> Vec<Node> {
    let listeners: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let voter = |(id, listener): (i32, &TcpListener)| VoterAddress {
        node_id: id,
        host: "127.0.0.1".into(),
        port: listener.local_addr().unwrap().port(),
    };
    let voters: Vec<VoterAddress> = (1..).zip(&listeners).map(voter).collect();
    let node = |(voter, listener): (&VoterAddress, TcpListener)| Node {
        kv: Arc::new(MemoryKv::new()),
        options: ControllerOptions {
            // The others learn it.
            cluster_id: (voter.node_id == 1).then(|| "cluster".into()),
            voters: voters.clone(),
            listener: Some(Arc::new(listener)),
            seed: voter.node_id as u64,
            ..ControllerOptions::new(voter.node_id, "memory")
        },
        snapshot_after,
    };
    voters.iter().zip(listeners).map(node).collect()
}

pub(super) fn three(snapshot_after: usize) -> Vec<Node> {
    several(3, snapshot_after)
}

pub(super) async fn start_all(nodes: &[Node]) -> Vec<Controller> {
    futures::future::join_all(nodes.iter().map(Node::start)).await
}

/// Whom all of them take for the leader: its place in the list. An election may be under way at any time, as busy as
/// machines are.
pub(super) async fn leader_of(controllers: &[Controller]) -> usize {
    let agreed = async {
        loop {
            let leaders: BTreeSet<Option<i32>> = controllers.iter().map(|c| c.quorum().leader).collect();
            if let Some(at) = controllers.iter().position(Controller::leads)
                && leaders.len() == 1
            {
                return at;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, agreed).await.expect("they do not agree on a leader")
}

/// Has a topic created, however often the leader changes meanwhile.
async fn create(controller: &Controller, name: &str, partitions: i32) {
    let attempt = || async {
        let names = [name.to_owned()];
        super::create(controller, &names, partitions).await || controller.images().borrow().topic(name).is_some()
    };
    assert!(eventually(attempt).await, "{name} is not created");
}

async fn has_topics(controller: &Controller, count: usize) {
    let mut images = controller.images();
    let seen = images.wait_for(|image| image.topic_count() == count);
    tokio::time::timeout(PATIENCE, seen).await.expect("the image stays behind").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_controller_takes_commands_and_has_the_same_image() {
    let nodes = three(usize::MAX);
    let controllers = start_all(&nodes).await;
    let follower = &controllers[(leader_of(&controllers).await + 1) % 3];
    join(follower, 1).await;
    // The answer comes when the follower's own image shows the topic.
    create(follower, "a", 3).await;
    assert_eq!(follower.images().borrow().topic("a").unwrap().partitions.len(), 3);
    for controller in &controllers {
        has_topics(controller, 1).await;
        assert_eq!(controller.quorum().voters.len(), 3);
    }
    leader_of(&controllers).await;
    for controller in controllers {
        controller.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_leader_has_everything_and_a_late_voter_gets_a_snapshot() {
    let nodes = three(50);
    let mut controllers = start_all(&nodes).await;
    join(&controllers[0], 1).await;
    let absent = (leader_of(&controllers).await + 1) % 3;
    controllers.remove(absent).shutdown().await;
    for n in 0..200 {
        create(&controllers[0], &format!("t{n}"), 1).await;
    }
    // The leader stops: it hands over, and none of those that stay can be alone a quorum.
    controllers.push(nodes[absent].start().await);
    has_topics(&controllers[2], 200).await;
    let leader = leader_of(&controllers).await;
    controllers.remove(leader).shutdown().await;
    let late = controllers.pop().unwrap();
    let rest = controllers.remove(0);
    create(&late, "after", 1).await;
    has_topics(&rest, 201).await;
    assert!(rest.images().borrow().topics().eq(late.images().borrow().topics()));
    late.shutdown().await;
    rest.shutdown().await;
}

async fn eventually<F: Future<Output = bool>>(attempt: impl Fn() -> F) -> bool {
    let tries = async {
        while !attempt().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, tries).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_no_voter_does_not_start() {
    let nodes = three(usize::MAX);
    let stranger = ControllerOptions { node_id: 9, ..nodes[0].options.clone() };
    let refused = Controller::start_on(Arc::new(MemoryKv::new()), stranger, usize::MAX).await;
    assert!(matches!(refused, Err(StartError::NotAVoter { node: 9 })));
}
