//! Groups: classic, consumer and share.

use super::{LAST, NEVER, Schema, array, bytes, fixed, items, string, strings};

/// Request schemas by API number.
#[rustfmt::skip]
pub(super) static SCHEMAS: &[Schema] = &[
    Schema { // OffsetCommit
        api_key: 8,
        flexible_from: 8,
        fields: &[
            string(0, LAST), // group_id
            fixed(4, 0, LAST), // generation_id_or_member_epoch
            string(0, LAST), // member_id
            string(7, LAST), // group_instance_id
            fixed(8, 0, 4), // retention_time_ms
            // topics
            array(0, LAST, &[
                string(0, LAST), // name
                // partitions
                array(0, LAST, &[
                    fixed(4, 0, LAST), // partition_index
                    fixed(8, 0, LAST), // committed_offset
                    fixed(4, 6, LAST), // committed_leader_epoch
                    string(0, LAST), // committed_metadata
                ]),
            ]),
        ],
    },
    Schema { // OffsetFetch
        api_key: 9,
        flexible_from: 6,
        fields: &[
            string(0, 7), // group_id
            // topics
            array(0, 7, &[
                string(0, 7), // name
                items(4, 0, 7), // partition_indexes
            ]),
            // groups
            array(8, LAST, &[
                string(8, LAST), // group_id
                string(9, LAST), // member_id
                fixed(4, 9, LAST), // member_epoch
                // topics
                array(8, LAST, &[
                    string(8, LAST), // name
                    items(4, 8, LAST), // partition_indexes
                ]),
            ]),
            fixed(1, 7, LAST), // require_stable
        ],
    },
    Schema { // FindCoordinator
        api_key: 10,
        flexible_from: 3,
        fields: &[
            string(0, 3), // key
            fixed(1, 1, LAST), // key_type
            strings(4, LAST), // coordinator_keys
        ],
    },
    Schema { // JoinGroup
        api_key: 11,
        flexible_from: 6,
        fields: &[
            string(0, LAST), // group_id
            fixed(4, 0, LAST), // session_timeout_ms
            fixed(4, 1, LAST), // rebalance_timeout_ms
            string(0, LAST), // member_id
            string(5, LAST), // group_instance_id
            string(0, LAST), // protocol_type
            // protocols
            array(0, LAST, &[
                string(0, LAST), // name
                bytes(0, LAST), // metadata
            ]),
            string(8, LAST), // reason
        ],
    },
    Schema { // Heartbeat
        api_key: 12,
        flexible_from: 4,
        fields: &[
            string(0, LAST), // group_id
            fixed(4, 0, LAST), // generation_id
            string(0, LAST), // member_id
            string(3, LAST), // group_instance_id
        ],
    },
    Schema { // LeaveGroup
        api_key: 13,
        flexible_from: 4,
        fields: &[
            string(0, LAST), // group_id
            string(0, 2), // member_id
            // members
            array(3, LAST, &[
                string(3, LAST), // member_id
                string(3, LAST), // group_instance_id
                string(5, LAST), // reason
            ]),
        ],
    },
    Schema { // SyncGroup
        api_key: 14,
        flexible_from: 4,
        fields: &[
            string(0, LAST), // group_id
            fixed(4, 0, LAST), // generation_id
            string(0, LAST), // member_id
            string(3, LAST), // group_instance_id
            string(5, LAST), // protocol_type
            string(5, LAST), // protocol_name
            // assignments
            array(0, LAST, &[
                string(0, LAST), // member_id
                bytes(0, LAST), // assignment
            ]),
        ],
    },
    Schema { // DescribeGroups
        api_key: 15,
        flexible_from: 5,
        fields: &[
            strings(0, LAST), // groups
            fixed(1, 3, LAST), // include_authorized_operations
        ],
    },
    Schema { // ListGroups
        api_key: 16,
        flexible_from: 3,
        fields: &[
            strings(4, LAST), // states_filter
            strings(5, LAST), // types_filter
        ],
    },
    Schema { // DeleteGroups
        api_key: 42,
        flexible_from: 2,
        fields: &[
            strings(0, LAST), // groups_names
        ],
    },
    Schema { // OffsetDelete
        api_key: 47,
        flexible_from: NEVER,
        fields: &[
            string(0, LAST), // group_id
            // topics
            array(0, LAST, &[
                string(0, LAST), // name
                // partitions
                array(0, LAST, &[
                    fixed(4, 0, LAST), // partition_index
                ]),
            ]),
        ],
    },
    Schema { // ConsumerGroupHeartbeat
        api_key: 68,
        flexible_from: 0,
        fields: &[
            string(0, LAST), // group_id
            string(0, LAST), // member_id
            fixed(4, 0, LAST), // member_epoch
            string(0, LAST), // instance_id
            string(0, LAST), // rack_id
            fixed(4, 0, LAST), // rebalance_timeout_ms
            strings(0, LAST), // subscribed_topic_names
            string(1, LAST), // subscribed_topic_regex
            string(0, LAST), // server_assignor
            // topic_partitions
            array(0, LAST, &[
                fixed(16, 0, LAST), // topic_id
                items(4, 0, LAST), // partitions
            ]),
        ],
    },
    Schema { // ConsumerGroupDescribe
        api_key: 69,
        flexible_from: 0,
        fields: &[
            strings(0, LAST), // group_ids
            fixed(1, 0, LAST), // include_authorized_operations
        ],
    },
    Schema { // ShareGroupHeartbeat
        api_key: 76,
        flexible_from: 0,
        fields: &[
            string(0, LAST), // group_id
            string(0, LAST), // member_id
            fixed(4, 0, LAST), // member_epoch
            string(0, LAST), // rack_id
            strings(0, LAST), // subscribed_topic_names
        ],
    },
    Schema { // ShareGroupDescribe
        api_key: 77,
        flexible_from: 0,
        fields: &[
            strings(0, LAST), // group_ids
            fixed(1, 0, LAST), // include_authorized_operations
        ],
    },
    Schema { // ShareFetch
        api_key: 78,
        flexible_from: 0,
        fields: &[
            string(0, LAST), // group_id
            string(0, LAST), // member_id
            fixed(4, 0, LAST), // share_session_epoch
            fixed(4, 0, LAST), // max_wait_ms
            fixed(4, 0, LAST), // min_bytes
            fixed(4, 0, LAST), // max_bytes
            fixed(4, 0, LAST), // max_records
            fixed(4, 0, LAST), // batch_size
            // topics
            array(0, LAST, &[
                fixed(16, 0, LAST), // topic_id
                // partitions
                array(0, LAST, &[
                    fixed(4, 0, LAST), // partition_index
                    // acknowledgement_batches
                    array(0, LAST, &[
                        fixed(8, 0, LAST), // first_offset
                        fixed(8, 0, LAST), // last_offset
                        items(1, 0, LAST), // acknowledge_types
                    ]),
                ]),
            ]),
            // forgotten_topics_data
            array(0, LAST, &[
                fixed(16, 0, LAST), // topic_id
                items(4, 0, LAST), // partitions
            ]),
        ],
    },
    Schema { // ShareAcknowledge
        api_key: 79,
        flexible_from: 0,
        fields: &[
            string(0, LAST), // group_id
            string(0, LAST), // member_id
            fixed(4, 0, LAST), // share_session_epoch
            // topics
            array(0, LAST, &[
                fixed(16, 0, LAST), // topic_id
                // partitions
                array(0, LAST, &[
                    fixed(4, 0, LAST), // partition_index
                    // acknowledgement_batches
                    array(0, LAST, &[
                        fixed(8, 0, LAST), // first_offset
                        fixed(8, 0, LAST), // last_offset
                        items(1, 0, LAST), // acknowledge_types
                    ]),
                ]),
            ]),
        ],
    },
    Schema { // DescribeShareGroupOffsets
        api_key: 90,
        flexible_from: 0,
        fields: &[
            // groups
            array(0, LAST, &[
                string(0, LAST), // group_id
                // topics
                array(0, LAST, &[
                    string(0, LAST), // topic_name
                    items(4, 0, LAST), // partitions
                ]),
            ]),
        ],
    },
    Schema { // AlterShareGroupOffsets
        api_key: 91,
        flexible_from: 0,
        fields: &[
            string(0, LAST), // group_id
            // topics
            array(0, LAST, &[
                string(0, LAST), // topic_name
                // partitions
                array(0, LAST, &[
                    fixed(4, 0, LAST), // partition_index
                    fixed(8, 0, LAST), // start_offset
                ]),
            ]),
        ],
    },
    Schema { // DeleteShareGroupOffsets
        api_key: 92,
        flexible_from: 0,
        fields: &[
            string(0, LAST), // group_id
            // topics
            array(0, LAST, &[
                string(0, LAST), // topic_name
            ]),
        ],
    },
];
