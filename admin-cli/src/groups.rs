//! `millrace groups`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use millrace_metadata::ErrorCode;
use millrace_wire::kp::messages::describe_groups_response::DescribedGroup;
use millrace_wire::kp::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use millrace_wire::kp::messages::offset_fetch_request::OffsetFetchRequestGroup;
use millrace_wire::kp::messages::{
    BrokerId, DescribeGroupsRequest, FindCoordinatorRequest, GroupId, ListGroupsRequest, ListOffsetsRequest,
    OffsetFetchRequest,
};
use millrace_wire::kp::protocol::StrBytes;

use crate::args::GroupsCommand;
use crate::error::{Error, check};
use crate::output::table;
use crate::session::{Session, topic_name};

/// First version that looks for several coordinators at once.
const FIRST_COORDINATORS: i16 = 4;

/// First version that fetches the offsets of several groups at once.
const FIRST_OFFSET_GROUPS: i16 = 8;

/// Stands for the end of a partition in ListOffsets.
const LATEST: i64 = -1;

/// Tries, half a second apart, while the coordinator is being set up.
const COORDINATOR_TRIES: usize = 20;

/// Offsets by topic and partition.
type Offsets = BTreeMap<(String, i32), i64>;

/// Where a broker can be reached.
struct Place {
    id: i32,
    host: String,
    port: i32,
}

/// Runs a command about groups.
pub async fn run(session: &mut Session, command: GroupsCommand) -> Result<String, Error> {
    match command {
        GroupsCommand::List => show_list(session).await,
        GroupsCommand::Describe { groups } => {
            let mut pages = Vec::new();
            for group in groups {
                pages.push(describe(session, &group).await?);
            }
            Ok(pages.join("\n"))
        }
    }
}

/// Each broker knows the groups that it coordinates.
async fn show_list(session: &mut Session) -> Result<String, Error> {
    let mut rows = Vec::new();
    for place in brokers(session).await? {
        let client = session.broker(place.id, &place.host, place.port).await?;
        let (answer, _) = client.negotiate(&ListGroupsRequest::default()).await?;
        check("groups", answer.error_code, None)?;
        for group in answer.groups {
            rows.push(vec![
                group.group_id.as_str().to_owned(),
                text_or_dash(&group.group_type),
                text_or_dash(&group.protocol_type),
                text_or_dash(&group.group_state),
            ]);
        }
    }
    rows.sort();
    Ok(table(&["GROUP", "TYPE", "PROTOCOL", "STATE"], rows))
}

async fn brokers(session: &mut Session) -> Result<Vec<Place>, Error> {
    let metadata = session.metadata(Some(&[])).await?;
    let brokers = metadata.brokers.iter().map(|broker| Place {
        id: broker.node_id.0,
        host: broker.host.to_string(),
        port: broker.port,
    });
    Ok(brokers.collect())
}

async fn describe(session: &mut Session, group: &str) -> Result<String, Error> {
    let place = coordinator(session, group).await?;
    let request = DescribeGroupsRequest::default().with_groups(vec![group_id(group)]);
    let client = session.broker(place.id, &place.host, place.port).await?;
    let (answer, _) = client.negotiate(&request).await?;
    let described = answer.groups.first().ok_or_else(|| Error::Usage("the answer names no group".to_owned()))?;
    check(&format!("group {group}"), described.error_code, described.error_message.as_deref())?;
    let committed = committed(session, &place, group).await?;
    let ends = ends(session, &committed).await?;
    Ok(page(described, &place, &committed, &ends))
}

/// Finds a group's coordinator; the first look creates the topic that holds the
/// offsets, which takes a moment.
async fn coordinator(session: &mut Session, group: &str) -> Result<Place, Error> {
    let version = session.any().version_of::<FindCoordinatorRequest>().await?;
    let mut request = FindCoordinatorRequest::default();
    if version >= FIRST_COORDINATORS {
        request.coordinator_keys = vec![StrBytes::from_string(group.to_owned())];
    } else {
        request.key = StrBytes::from_string(group.to_owned());
    }
    let mut tries = 0;
    loop {
        let answer = session.any().call(version, &request).await?;
        let (code, message, place) = match answer.coordinators.into_iter().next() {
            Some(found) => (found.error_code, found.error_message, place(found.node_id, &found.host, found.port)),
            None => (answer.error_code, answer.error_message, place(answer.node_id, &answer.host, answer.port)),
        };
        tries += 1;
        if code != ErrorCode::CoordinatorNotAvailable.code() || tries == COORDINATOR_TRIES {
            check(&format!("coordinator of group {group}"), code, message.as_deref())?;
            return Ok(place);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

fn place(id: BrokerId, host: &str, port: i32) -> Place {
    Place { id: id.0, host: host.to_owned(), port }
}

async fn committed(session: &mut Session, place: &Place, group: &str) -> Result<Offsets, Error> {
    let client = session.broker(place.id, &place.host, place.port).await?;
    let version = client.version_of::<OffsetFetchRequest>().await?;
    let mut request = OffsetFetchRequest::default();
    if version >= FIRST_OFFSET_GROUPS {
        request.groups = vec![OffsetFetchRequestGroup::default().with_group_id(group_id(group)).with_topics(None)];
    } else {
        request.group_id = group_id(group);
        request.topics = None;
    }
    let answer = client.call(version, &request).await?;
    let subject = format!("offsets of group {group}");
    check(&subject, answer.error_code, None)?;
    let mut offsets = Offsets::new();
    for topic in &answer.topics {
        for p in &topic.partitions {
            offsets.insert((topic.name.as_str().to_owned(), p.partition_index), p.committed_offset);
        }
    }
    for result in &answer.groups {
        check(&subject, result.error_code, None)?;
        for topic in &result.topics {
            for p in &topic.partitions {
                let key = (topic.name.as_str().to_owned(), p.partition_index);
                offsets.insert(key, p.committed_offset);
            }
        }
    }
    Ok(offsets)
}

/// Ends of the partitions that have committed offsets, asked of their leaders.
/// A partition whose leader does not tell is left out.
async fn ends(session: &mut Session, committed: &Offsets) -> Result<Offsets, Error> {
    let mut names: Vec<String> = committed.keys().map(|(topic, _)| topic.clone()).collect();
    names.dedup();
    let metadata = session.metadata(Some(&names)).await?;
    let mut by_leader: BTreeMap<i32, Vec<ListOffsetsTopic>> = BTreeMap::new();
    for topic in &metadata.topics {
        let Some(name) = &topic.name else { continue };
        for p in &topic.partitions {
            if committed.contains_key(&(name.as_str().to_owned(), p.partition_index)) {
                let partition =
                    ListOffsetsPartition::default().with_partition_index(p.partition_index).with_timestamp(LATEST);
                let wanted =
                    ListOffsetsTopic::default().with_name(topic_name(name.as_str())).with_partitions(vec![partition]);
                by_leader.entry(p.leader_id.0).or_default().push(wanted);
            }
        }
    }
    let mut ends = Offsets::new();
    for broker in &metadata.brokers {
        let Some(topics) = by_leader.remove(&broker.node_id.0) else {
            continue;
        };
        let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(topics);
        let client = session.broker(broker.node_id.0, &broker.host, broker.port).await?;
        let (answer, _) = client.negotiate(&request).await?;
        for topic in &answer.topics {
            for p in topic.partitions.iter().filter(|p| p.error_code == 0) {
                ends.insert((topic.name.as_str().to_owned(), p.partition_index), p.offset);
            }
        }
    }
    Ok(ends)
}

fn page(group: &DescribedGroup, place: &Place, committed: &Offsets, ends: &Offsets) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "group       {}\nstate       {}\nassignor    {}\ncoordinator {} ({}:{})",
        group.group_id.as_str(),
        text_or_dash(&group.group_state),
        text_or_dash(&group.protocol_data),
        place.id,
        place.host,
        place.port,
    );
    if !group.members.is_empty() {
        let rows = group
            .members
            .iter()
            .map(|member| {
                vec![
                    member.member_id.to_string(),
                    member.group_instance_id.as_deref().unwrap_or("-").to_owned(),
                    text_or_dash(&member.client_id),
                    text_or_dash(&member.client_host),
                ]
            })
            .collect();
        text.push('\n');
        text.push_str(&table(&["MEMBER", "INSTANCE", "CLIENT", "HOST"], rows));
    }
    if !committed.is_empty() {
        let rows = committed.iter().map(|(key, &offset)| offset_row(key, offset, ends.get(key)));
        text.push('\n');
        text.push_str(&table(&["TOPIC", "#PARTITION", "#COMMITTED", "#END", "#LAG"], rows.collect()));
    }
    text
}

fn offset_row((topic, partition): &(String, i32), offset: i64, end: Option<&i64>) -> Vec<String> {
    let dash = || "-".to_owned();
    vec![
        topic.clone(),
        partition.to_string(),
        offset.to_string(),
        end.map_or_else(dash, i64::to_string),
        end.map_or_else(dash, |end| end.saturating_sub(offset).max(0).to_string()),
    ]
}

fn group_id(group: &str) -> GroupId {
    GroupId(StrBytes::from_string(group.to_owned()))
}

fn text_or_dash(text: &str) -> String {
    if text.is_empty() { "-" } else { text }.to_owned()
}
