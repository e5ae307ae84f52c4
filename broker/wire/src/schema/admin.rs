//! Topics, configurations and the cluster's own affairs.

use super::{LAST, Schema, array, fixed, items, string, strings};

/// Request schemas by API number.
#[rustfmt::skip]
pub(super) static SCHEMAS: &[Schema] = &[
    Schema { // CreateTopics
        api_key: 19,
        flexible_from: 5,
        fields: &[
            // topics
            array(0, LAST, &[
                string(0, LAST), // name
                fixed(4, 0, LAST), // num_partitions
                fixed(2, 0, LAST), // replication_factor
                // assignments
                array(0, LAST, &[
                    fixed(4, 0, LAST), // partition_index
                    items(4, 0, LAST), // broker_ids
                ]),
                // configs
                array(0, LAST, &[
                    string(0, LAST), // name
                    string(0, LAST), // value
                ]),
            ]),
            fixed(4, 0, LAST), // timeout_ms
            fixed(1, 0, LAST), // validate_only
        ],
    },
    Schema { // DeleteTopics
        api_key: 20,
        flexible_from: 4,
        fields: &[
            // topics
            array(6, LAST, &[
                string(6, LAST), // name
                fixed(16, 6, LAST), // topic_id
            ]),
            strings(0, 5), // topic_names
            fixed(4, 0, LAST), // timeout_ms
        ],
    },
    Schema { // DescribeConfigs
        api_key: 32,
        flexible_from: 4,
        fields: &[
            // resources
            array(0, LAST, &[
                fixed(1, 0, LAST), // resource_type
                string(0, LAST), // resource_name
                strings(0, LAST), // configuration_keys
            ]),
            fixed(1, 0, LAST), // include_synonyms
            fixed(1, 3, LAST), // include_documentation
        ],
    },
    Schema { // AlterConfigs
        api_key: 33,
        flexible_from: 2,
        fields: &[
            // resources
            array(0, LAST, &[
                fixed(1, 0, LAST), // resource_type
                string(0, LAST), // resource_name
                // configs
                array(0, LAST, &[
                    string(0, LAST), // name
                    string(0, LAST), // value
                ]),
            ]),
            fixed(1, 0, LAST), // validate_only
        ],
    },
    Schema { // CreatePartitions
        api_key: 37,
        flexible_from: 2,
        fields: &[
            // topics
            array(0, LAST, &[
                string(0, LAST), // name
                fixed(4, 0, LAST), // count
                // assignments
                array(0, LAST, &[
                    items(4, 0, LAST), // broker_ids
                ]),
            ]),
            fixed(4, 0, LAST), // timeout_ms
            fixed(1, 0, LAST), // validate_only
        ],
    },
    Schema { // ElectLeaders
        api_key: 43,
        flexible_from: 2,
        fields: &[
            fixed(1, 1, LAST), // election_type
            // topic_partitions
            array(0, LAST, &[
                string(0, LAST), // topic
                items(4, 0, LAST), // partitions
            ]),
            fixed(4, 0, LAST), // timeout_ms
        ],
    },
    Schema { // IncrementalAlterConfigs
        api_key: 44,
        flexible_from: 1,
        fields: &[
            // resources
            array(0, LAST, &[
                fixed(1, 0, LAST), // resource_type
                string(0, LAST), // resource_name
                // configs
                array(0, LAST, &[
                    string(0, LAST), // name
                    fixed(1, 0, LAST), // config_operation
                    string(0, LAST), // value
                ]),
            ]),
            fixed(1, 0, LAST), // validate_only
        ],
    },
    Schema { // AlterPartitionReassignments
        api_key: 45,
        flexible_from: 0,
        fields: &[
            fixed(4, 0, LAST), // timeout_ms
            fixed(1, 1, LAST), // allow_replication_factor_change
            // topics
            array(0, LAST, &[
                string(0, LAST), // name
                // partitions
                array(0, LAST, &[
                    fixed(4, 0, LAST), // partition_index
                    items(4, 0, LAST), // replicas
                ]),
            ]),
        ],
    },
    Schema { // ListPartitionReassignments
        api_key: 46,
        flexible_from: 0,
        fields: &[
            fixed(4, 0, LAST), // timeout_ms
            // topics
            array(0, LAST, &[
                string(0, LAST), // name
                items(4, 0, LAST), // partition_indexes
            ]),
        ],
    },
    Schema { // DescribeClientQuotas
        api_key: 48,
        flexible_from: 1,
        fields: &[
            // components
            array(0, LAST, &[
                string(0, LAST), // entity_type
                fixed(1, 0, LAST), // match_type
                string(0, LAST), // _match
            ]),
            fixed(1, 0, LAST), // strict
        ],
    },
    Schema { // AlterClientQuotas
        api_key: 49,
        flexible_from: 1,
        fields: &[
            // entries
            array(0, LAST, &[
                // entity
                array(0, LAST, &[
                    string(0, LAST), // entity_type
                    string(0, LAST), // entity_name
                ]),
                // ops
                array(0, LAST, &[
                    string(0, LAST), // key
                    fixed(8, 0, LAST), // value
                    fixed(1, 0, LAST), // remove
                ]),
            ]),
            fixed(1, 0, LAST), // validate_only
        ],
    },
    Schema { // DescribeQuorum
        api_key: 55,
        flexible_from: 0,
        fields: &[
            // topics
            array(0, LAST, &[
                string(0, LAST), // topic_name
                // partitions
                array(0, LAST, &[
                    fixed(4, 0, LAST), // partition_index
                ]),
            ]),
        ],
    },
    Schema { // UpdateFeatures
        api_key: 57,
        flexible_from: 0,
        fields: &[
            fixed(4, 0, LAST), // timeout_ms
            // feature_updates
            array(0, LAST, &[
                string(0, LAST), // feature
                fixed(2, 0, LAST), // max_version_level
                fixed(1, 0, 0), // allow_downgrade
                fixed(1, 1, LAST), // upgrade_type
            ]),
            fixed(1, 1, LAST), // validate_only
        ],
    },
    Schema { // UnregisterBroker
        api_key: 64,
        flexible_from: 0,
        fields: &[
            fixed(4, 0, LAST), // broker_id
        ],
    },
    Schema { // AddRaftVoter
        api_key: 80,
        flexible_from: 0,
        fields: &[
            string(0, LAST), // cluster_id
            fixed(4, 0, LAST), // timeout_ms
            fixed(4, 0, LAST), // voter_id
            fixed(16, 0, LAST), // voter_directory_id
            // listeners
            array(0, LAST, &[
                string(0, LAST), // name
                string(0, LAST), // host
                fixed(2, 0, LAST), // port
            ]),
        ],
    },
    Schema { // RemoveRaftVoter
        api_key: 81,
        flexible_from: 0,
        fields: &[
            string(0, LAST), // cluster_id
            fixed(4, 0, LAST), // voter_id
            fixed(16, 0, LAST), // voter_directory_id
        ],
    },
    Schema { // ListConfigResources
        api_key: 74,
        flexible_from: 0,
        fields: &[
            items(1, 1, LAST), // resource_types
        ],
    },
];
