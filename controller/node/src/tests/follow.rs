//! Brokers without a controller of their own: they follow the metadata, ask the active controller, and are missed when
//! they go.

use std::sync::Arc;
use std::time::Duration;

use millrace_metadata::command::{Heartbeat, NewTopic};
use millrace_metadata::features::{MILLRACE_VERSION, TABLE, UNSAID};
use millrace_metadata::{Command, ErrorCode, Image, Reply};
use tokio::sync::watch;

use super::quorum::{PATIENCE, leader_of, start_all, three};
use super::registration;
use crate::{Attendance, Controller, ControllerLink, RemoteOptions, StartError};

fn servers(nodes: &[super::quorum::Node]) -> Vec<(String, u16)> {
    let port = |node: &super::quorum::Node| node.options.listener.as_ref().unwrap().local_addr().unwrap().port();
    nodes.iter().map(|node| ("127.0.0.1".to_owned(), port(node))).collect()
}

async fn connect(servers: &[(String, u16)]) -> ControllerLink {
    let options = RemoteOptions { servers: servers.to_vec(), cluster_id: None, features: TABLE };
    ControllerLink::connect(options).await.unwrap()
}

/// Has a topic created, however often the leader changes meanwhile.
async fn create(link: &ControllerLink, name: &str) {
    let created = async {
        loop {
            let topics = vec![NewTopic::new(name, 1, 1)];
            let reply = link.submit(Command::CreateTopics { topics, validate_only: false }).await;
            let done = matches!(reply, Ok(Reply::CreateTopics(results)) if results[0].is_ok());
            if done || link.images().borrow().topic(name).is_some() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, created).await.expect("a topic is not created");
}

async fn register(link: &ControllerLink, incarnation: u8) -> i64 {
    let cluster_id = link.cluster_id().to_owned();
    let command = Command::RegisterBroker { cluster_id, registration: registration(incarnation), unclean: false };
    match link.submit(command).await {
        Ok(Reply::RegisterBroker(Ok(registered))) => registered.epoch,
        other => panic!("{other:?}"),
    }
}

fn beat(link: &ControllerLink, broker_epoch: i64) -> Heartbeat {
    let applied = link.images().borrow().index;
    let (want_fence, want_shutdown) = (false, false);
    Heartbeat { broker: 1, broker_epoch, applied, want_fence, want_shutdown, offline_dirs: Vec::new() }
}

async fn attend(link: &ControllerLink, epoch: i64) -> Attendance {
    let attended = async {
        loop {
            if let Ok(mut attendance) = link.attend().await
                && attendance.beat(beat(link, epoch)).await.is_ok()
            {
                return attendance;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, attended).await.unwrap()
}

async fn until(images: &mut watch::Receiver<Arc<Image>>, what: impl FnMut(&Arc<Image>) -> bool) {
    tokio::time::timeout(PATIENCE, images.wait_for(what)).await.expect("it never happened").unwrap();
}

fn is_fenced(image: &Image) -> bool {
    image.broker(1).is_some_and(|broker| broker.fenced)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_survives_the_controllers_that_it_follows() {
    let nodes = three(usize::MAX);
    let mut controllers = start_all(&nodes).await;
    let link = connect(&servers(&nodes)).await;
    assert_eq!(link.cluster_id(), "cluster");
    let epoch = register(&link, 1).await;
    let attendance = attend(&link, epoch).await;
    create(&link, "a").await;
    assert_eq!(*link.images().borrow().topic("a").unwrap(), *controllers[0].images().borrow().topic("a").unwrap());
    // It is followed first, and may lead.
    controllers.remove(0).shutdown().await;
    drop(attendance);
    let _attendance = attend(&link, epoch).await;
    create(&link, "b").await;
    let quorum = link.quorum().await.unwrap();
    assert_eq!(quorum.voters.len(), 3);
    // Nothing of what it applied comes again, and nothing is left out.
    let behind = connect(&servers(&nodes)).await;
    let mut images = behind.images();
    until(&mut images, |image| image.topic("b").is_some()).await;
    let (left, right) = (link.images().borrow().clone(), controllers[0].images().borrow().clone());
    assert!(left.topics().eq(right.topics()) && left.brokers().eq(right.brokers()));
    for controller in controllers {
        controller.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_far_behind_gets_an_image_and_then_entries() {
    let nodes = three(20);
    let alone = &nodes[..1];
    let options = crate::ControllerOptions { voters: Vec::new(), cluster_id: None, ..nodes[0].options.clone() };
    let start = || Controller::start_on(nodes[0].kv.clone(), options.clone(), nodes[0].snapshot_after);
    let first = ControllerLink::local(start().await.unwrap());
    let epoch = register(&first, 1).await;
    assert!(first.attend().await.unwrap().beat(beat(&first, epoch)).await.is_ok());
    for n in 0..30 {
        create(&first, &format!("t{n}")).await;
    }
    first.shutdown().await;
    // After a restart no entries are at hand, only the image.
    let again = ControllerLink::local(start().await.unwrap());
    let link = connect(&servers(alone)).await;
    assert_eq!(link.images().borrow().topic_count(), 30);
    create(&again, "new").await;
    let mut images = link.images();
    until(&mut images, |image| image.topic("new").is_some()).await;
    let (left, right) = (images.borrow().clone(), again.images().borrow().clone());
    assert_eq!(*left, *right);
    again.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_told_apart() {
    let nodes = three(usize::MAX);
    let controllers = start_all(&nodes).await;
    let options = RemoteOptions { servers: servers(&nodes), cluster_id: Some("another".into()), features: TABLE };
    let refused = ControllerLink::connect(options).await;
    assert!(matches!(refused, Err(StartError::WrongCluster { found, .. }) if found == "cluster"));
    let old = RemoteOptions { servers: servers(&nodes), cluster_id: None, features: UNSAID };
    let refused = ControllerLink::connect(old).await;
    assert!(matches!(refused, Err(StartError::TooNew { name, level: 1, known: 0 }) if name == MILLRACE_VERSION));
    for controller in controllers {
        controller.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_connection_fences_and_a_change_of_controllers_does_not() {
    let mut nodes = three(usize::MAX);
    // Whoever only misses its reports does so after a minute.
    nodes.iter_mut().for_each(|node| node.options.broker_session_timeout_ms = 60_000);
    let mut controllers = start_all(&nodes).await;
    let link = connect(&servers(&nodes)).await;
    let epoch = register(&link, 1).await;
    let mut attendance = attend(&link, epoch).await;
    let mut images = link.images();
    until(&mut images, |image| !is_fenced(image)).await;
    // The active controller stops: the broker hears of it and goes to the next one within its grace.
    let leader = leader_of(&controllers).await;
    let ended = tokio::spawn(async move {
        tokio::time::timeout(PATIENCE, attendance.ended()).await.expect("nobody told the broker");
    });
    controllers.remove(leader).shutdown().await;
    ended.await.unwrap();
    let attendance = attend(&link, epoch).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!(!is_fenced(&images.borrow()));
    // The process dies: its connection breaks.
    let died = tokio::time::Instant::now();
    drop(attendance);
    until(&mut images, is_fenced_arc).await;
    println!("fenced {:?} after the connection broke", died.elapsed());
    assert!(died.elapsed() < Duration::from_millis(2900), "only the session timeout found it");
    // Its successor need not wait for the old session.
    assert!(register(&link, 2).await > epoch);
    let stale = attend(&link, epoch);
    assert!(tokio::time::timeout(Duration::from_millis(300), stale).await.is_err());
    let error = link.attend().await.unwrap().beat(beat(&link, epoch)).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::StaleBrokerEpoch);
    for controller in controllers {
        controller.shutdown().await;
    }
}

fn is_fenced_arc(image: &Arc<Image>) -> bool {
    is_fenced(image)
}
