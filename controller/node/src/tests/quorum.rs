//! Three controllers on loopback: they agree, survive each other, and catch up.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use millrace_store::MemoryKv;

use super::{create, join};
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

pub(super) fn leader_of(controllers: &[Controller]) -> usize {
    let leader = controllers[0].quorum().leader.unwrap();
    leader as usize - 1
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
    let leader = leader_of(&controllers);
    let follower = &controllers[(leader + 1) % 3];
    join(follower, 1).await;
    // The answer comes when the follower's own image shows the topic.
    assert!(create(follower, &["a".into()], 3).await);
    assert_eq!(follower.images().borrow().topic("a").unwrap().partitions.len(), 3);
    for controller in &controllers {
        has_topics(controller, 1).await;
        let quorum = controller.quorum();
        assert_eq!((quorum.leader, quorum.voters.len()), (Some(leader as i32 + 1), 3));
    }
    for controller in controllers {
        controller.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_leader_has_everything_and_a_late_voter_gets_a_snapshot() {
    let nodes = three(50);
    let mut controllers = start_all(&nodes).await;
    join(&controllers[0], 1).await;
    let absent = (leader_of(&controllers) + 1) % 3;
    controllers.remove(absent).shutdown().await;
    for n in 0..200 {
        assert!(create(&controllers[0], &[format!("t{n}")], 1).await);
    }
    // The leader stops: it hands over, and the one that stays cannot be alone a quorum.
    let late = nodes[absent].start().await;
    has_topics(&late, 200).await;
    let leader = controllers[0].quorum().leader.unwrap();
    let at = nodes.iter().enumerate().filter(|(i, _)| *i != absent).position(|(i, _)| i as i32 + 1 == leader).unwrap();
    controllers.remove(at).shutdown().await;
    let rest = controllers.remove(0);
    let after = ["after".to_owned()];
    assert!(eventually(|| create(&late, &after, 1)).await);
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
