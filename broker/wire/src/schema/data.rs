//! Records and where they are: Fetch, offsets, Metadata, log directories.

use super::{LAST, NEVER, Schema, array, bytes, fixed, group, items, optional, string};

/// Request schemas by API number.
#[rustfmt::skip]
pub(super) static SCHEMAS: &[Schema] = &[
    Schema { // Fetch
        api_key: 1,
        flexible_from: 12,
        fields: &[
            fixed(4, 0, 14), // replica_id
            fixed(4, 0, LAST), // max_wait_ms
            fixed(4, 0, LAST), // min_bytes
            fixed(4, 0, LAST), // max_bytes
            fixed(1, 0, LAST), // isolation_level
            fixed(4, 7, LAST), // session_id
            fixed(4, 7, LAST), // session_epoch
            // topics
            array(0, LAST, &[
                string(0, 12), // topic
                fixed(16, 13, LAST), // topic_id
                // partitions
                array(0, LAST, &[
                    fixed(4, 0, LAST), // partition
                    fixed(4, 9, LAST), // current_leader_epoch
                    fixed(8, 0, LAST), // fetch_offset
                    fixed(4, 12, LAST), // last_fetched_epoch
                    fixed(8, 5, LAST), // log_start_offset
                    fixed(4, 0, LAST), // partition_max_bytes
                    fixed(16, 17, LAST).tagged(0), // replica_directory_id
                    fixed(8, 18, LAST).tagged(1), // high_watermark
                ]),
            ]),
            // forgotten_topics_data
            array(7, LAST, &[
                string(7, 12), // topic
                fixed(16, 13, LAST), // topic_id
                items(4, 7, LAST), // partitions
            ]),
            string(11, LAST), // rack_id
            string(0, LAST).tagged(0), // cluster_id
            // replica_state
            group(15, LAST, &[
                fixed(4, 15, LAST), // replica_id
                fixed(8, 15, LAST), // replica_epoch
            ]).tagged(1),
        ],
    },
    Schema { // ListOffsets
        api_key: 2,
        flexible_from: 6,
        fields: &[
            fixed(4, 0, LAST), // replica_id
            fixed(1, 2, LAST), // isolation_level
            // topics
            array(0, LAST, &[
                string(0, LAST), // name
                // partitions
                array(0, LAST, &[
                    fixed(4, 0, LAST), // partition_index
                    fixed(4, 4, LAST), // current_leader_epoch
                    fixed(8, 0, LAST), // timestamp
                ]),
            ]),
            fixed(4, 10, LAST), // timeout_ms
        ],
    },
    Schema { // Metadata
        api_key: 3,
        flexible_from: 9,
        fields: &[
            // topics
            array(0, LAST, &[
                fixed(16, 10, LAST), // topic_id
                string(0, LAST), // name
            ]),
            fixed(1, 4, LAST), // allow_auto_topic_creation
            fixed(1, 8, 10), // include_cluster_authorized_operations
            fixed(1, 8, LAST), // include_topic_authorized_operations
        ],
    },
    Schema { // SaslHandshake
        api_key: 17,
        flexible_from: NEVER,
        fields: &[
            string(0, LAST), // mechanism
        ],
    },
    Schema { // ApiVersions
        api_key: 18,
        flexible_from: 3,
        fields: &[
            string(3, LAST), // client_software_name
            string(3, LAST), // client_software_version
        ],
    },
    Schema { // DeleteRecords
        api_key: 21,
        flexible_from: 2,
        fields: &[
            // topics
            array(0, LAST, &[
                string(0, LAST), // name
                // partitions
                array(0, LAST, &[
                    fixed(4, 0, LAST), // partition_index
                    fixed(8, 0, LAST), // offset
                ]),
            ]),
            fixed(4, 0, LAST), // timeout_ms
        ],
    },
    Schema { // OffsetForLeaderEpoch
        api_key: 23,
        flexible_from: 4,
        fields: &[
            fixed(4, 3, LAST), // replica_id
            // topics
            array(0, LAST, &[
                string(0, LAST), // topic
                // partitions
                array(0, LAST, &[
                    fixed(4, 0, LAST), // partition
                    fixed(4, 0, LAST), // current_leader_epoch
                    fixed(4, 0, LAST), // leader_epoch
                ]),
            ]),
        ],
    },
    Schema { // AlterReplicaLogDirs
        api_key: 34,
        flexible_from: 2,
        fields: &[
            // dirs
            array(0, LAST, &[
                string(0, LAST), // path
                // topics
                array(0, LAST, &[
                    string(0, LAST), // name
                    items(4, 0, LAST), // partitions
                ]),
            ]),
        ],
    },
    Schema { // DescribeLogDirs
        api_key: 35,
        flexible_from: 2,
        fields: &[
            // topics
            array(0, LAST, &[
                string(0, LAST), // topic
                items(4, 0, LAST), // partitions
            ]),
        ],
    },
    Schema { // SaslAuthenticate
        api_key: 36,
        flexible_from: 2,
        fields: &[
            bytes(0, LAST), // auth_bytes
        ],
    },
    Schema { // DescribeCluster
        api_key: 60,
        flexible_from: 0,
        fields: &[
            fixed(1, 0, LAST), // include_cluster_authorized_operations
            fixed(1, 1, LAST), // endpoint_type
            fixed(1, 2, LAST), // include_fenced_brokers
        ],
    },
    Schema { // DescribeProducers
        api_key: 61,
        flexible_from: 0,
        fields: &[
            // topics
            array(0, LAST, &[
                string(0, LAST), // name
                items(4, 0, LAST), // partition_indexes
            ]),
        ],
    },
    Schema { // DescribeTopicPartitions
        api_key: 75,
        flexible_from: 0,
        fields: &[
            // topics
            array(0, LAST, &[
                string(0, LAST), // name
            ]),
            fixed(4, 0, LAST), // response_partition_limit
            // cursor
            optional(0, LAST, &[
                string(0, LAST), // topic_name
                fixed(4, 0, LAST), // partition_index
            ]),
        ],
    },
];
