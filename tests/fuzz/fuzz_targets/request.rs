//! Every request decoder, in every version: whatever passes the walk over the
//! bytes is read by the decoder to the same byte, and neither panics.
//!
//! ```text
//! which request:u8 │ version:u8 │ body
//! ```
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use millrace_wire::kp::messages::*;
use millrace_wire::kp::protocol::{Message, Request};
use millrace_wire::{RequestHeader, decode_request, guard};

fn decode<R: Request>(version: u8, body: &[u8]) {
    let versions = <R as Message>::VERSIONS;
    let span = i16::from(version) % (versions.max - versions.min + 1);
    let version = versions.min + span;
    let Ok(walked) = guard::check(R::KEY, version, body) else {
        return;
    };
    let body = Bytes::copy_from_slice(body);
    let len = body.len();
    // A string that is not UTF-8 or a null in a wrong place is found by the
    // decoder only.
    if let Ok((_, trailing)) = decode_request::<R>(body, version) {
        assert_eq!(len - trailing, walked);
    }
}

macro_rules! decoders {
    ($($request:ident),* $(,)?) => {
        &[$(decode::<$request>),*]
    };
}

static DECODERS: &[fn(u8, &[u8])] = decoders!(
    FetchRequest,
    ListOffsetsRequest,
    MetadataRequest,
    SaslHandshakeRequest,
    ApiVersionsRequest,
    DeleteRecordsRequest,
    OffsetForLeaderEpochRequest,
    AlterReplicaLogDirsRequest,
    DescribeLogDirsRequest,
    SaslAuthenticateRequest,
    DescribeClusterRequest,
    DescribeProducersRequest,
    DescribeTopicPartitionsRequest,
    OffsetCommitRequest,
    OffsetFetchRequest,
    FindCoordinatorRequest,
    JoinGroupRequest,
    HeartbeatRequest,
    LeaveGroupRequest,
    SyncGroupRequest,
    DescribeGroupsRequest,
    ListGroupsRequest,
    DeleteGroupsRequest,
    OffsetDeleteRequest,
    ConsumerGroupHeartbeatRequest,
    ConsumerGroupDescribeRequest,
    ShareGroupHeartbeatRequest,
    ShareGroupDescribeRequest,
    ShareFetchRequest,
    ShareAcknowledgeRequest,
    DescribeShareGroupOffsetsRequest,
    AlterShareGroupOffsetsRequest,
    DeleteShareGroupOffsetsRequest,
    CreateTopicsRequest,
    DeleteTopicsRequest,
    DescribeConfigsRequest,
    AlterConfigsRequest,
    CreatePartitionsRequest,
    ElectLeadersRequest,
    IncrementalAlterConfigsRequest,
    AlterPartitionReassignmentsRequest,
    ListPartitionReassignmentsRequest,
    DescribeClientQuotasRequest,
    AlterClientQuotasRequest,
    DescribeQuorumRequest,
    UpdateFeaturesRequest,
    UnregisterBrokerRequest,
    ListConfigResourcesRequest,
    InitProducerIdRequest,
    AddPartitionsToTxnRequest,
    AddOffsetsToTxnRequest,
    EndTxnRequest,
    WriteTxnMarkersRequest,
    TxnOffsetCommitRequest,
    DescribeAclsRequest,
    CreateAclsRequest,
    DeleteAclsRequest,
    CreateDelegationTokenRequest,
    RenewDelegationTokenRequest,
    ExpireDelegationTokenRequest,
    DescribeDelegationTokenRequest,
    DescribeUserScramCredentialsRequest,
    AlterUserScramCredentialsRequest,
    DescribeTransactionsRequest,
    ListTransactionsRequest
);

fuzz_target!(|input: &[u8]| {
    let _ = RequestHeader::parse(input);
    if let [which, version, body @ ..] = input {
        DECODERS[usize::from(*which) % DECODERS.len()](*version, body);
    }
});
