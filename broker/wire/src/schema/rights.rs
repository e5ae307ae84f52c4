//! Transactions, access rules, tokens and credentials.

use super::{LAST, Schema, array, bytes, fixed, items, string, strings};

/// Request schemas by API number.
#[rustfmt::skip]
pub(super) static SCHEMAS: &[Schema] = &[
    Schema { // InitProducerId
        api_key: 22,
        flexible_from: 2,
        fields: &[
            string(0, LAST), // transactional_id
            fixed(4, 0, LAST), // transaction_timeout_ms
            fixed(8, 3, LAST), // producer_id
            fixed(2, 3, LAST), // producer_epoch
        ],
    },
    Schema { // AddPartitionsToTxn
        api_key: 24,
        flexible_from: 3,
        fields: &[
            // transactions
            array(4, LAST, &[
                string(4, LAST), // transactional_id
                fixed(8, 4, LAST), // producer_id
                fixed(2, 4, LAST), // producer_epoch
                fixed(1, 4, LAST), // verify_only
                // topics
                array(4, LAST, &[
                    string(0, LAST), // name
                    items(4, 0, LAST), // partitions
                ]),
            ]),
            string(0, 3), // v3_and_below_transactional_id
            fixed(8, 0, 3), // v3_and_below_producer_id
            fixed(2, 0, 3), // v3_and_below_producer_epoch
            // v3_and_below_topics
            array(0, 3, &[
                string(0, LAST), // name
                items(4, 0, LAST), // partitions
            ]),
        ],
    },
    Schema { // AddOffsetsToTxn
        api_key: 25,
        flexible_from: 3,
        fields: &[
            string(0, LAST), // transactional_id
            fixed(8, 0, LAST), // producer_id
            fixed(2, 0, LAST), // producer_epoch
            string(0, LAST), // group_id
        ],
    },
    Schema { // EndTxn
        api_key: 26,
        flexible_from: 3,
        fields: &[
            string(0, LAST), // transactional_id
            fixed(8, 0, LAST), // producer_id
            fixed(2, 0, LAST), // producer_epoch
            fixed(1, 0, LAST), // committed
        ],
    },
    Schema { // WriteTxnMarkers
        api_key: 27,
        flexible_from: 0,
        fields: &[
            // markers
            array(0, LAST, &[
                fixed(8, 0, LAST), // producer_id
                fixed(2, 0, LAST), // producer_epoch
                fixed(1, 0, LAST), // transaction_result
                // topics
                array(0, LAST, &[
                    string(0, LAST), // name
                    items(4, 0, LAST), // partition_indexes
                ]),
                fixed(4, 0, LAST), // coordinator_epoch
            ]),
        ],
    },
    Schema { // TxnOffsetCommit
        api_key: 28,
        flexible_from: 3,
        fields: &[
            string(0, LAST), // transactional_id
            string(0, LAST), // group_id
            fixed(8, 0, LAST), // producer_id
            fixed(2, 0, LAST), // producer_epoch
            fixed(4, 3, LAST), // generation_id
            string(3, LAST), // member_id
            string(3, LAST), // group_instance_id
            // topics
            array(0, LAST, &[
                string(0, LAST), // name
                // partitions
                array(0, LAST, &[
                    fixed(4, 0, LAST), // partition_index
                    fixed(8, 0, LAST), // committed_offset
                    fixed(4, 2, LAST), // committed_leader_epoch
                    string(0, LAST), // committed_metadata
                ]),
            ]),
        ],
    },
    Schema { // DescribeAcls
        api_key: 29,
        flexible_from: 2,
        fields: &[
            fixed(1, 0, LAST), // resource_type_filter
            string(0, LAST), // resource_name_filter
            fixed(1, 0, LAST), // pattern_type_filter
            string(0, LAST), // principal_filter
            string(0, LAST), // host_filter
            fixed(1, 0, LAST), // operation
            fixed(1, 0, LAST), // permission_type
        ],
    },
    Schema { // CreateAcls
        api_key: 30,
        flexible_from: 2,
        fields: &[
            // creations
            array(0, LAST, &[
                fixed(1, 0, LAST), // resource_type
                string(0, LAST), // resource_name
                fixed(1, 0, LAST), // resource_pattern_type
                string(0, LAST), // principal
                string(0, LAST), // host
                fixed(1, 0, LAST), // operation
                fixed(1, 0, LAST), // permission_type
            ]),
        ],
    },
    Schema { // DeleteAcls
        api_key: 31,
        flexible_from: 2,
        fields: &[
            // filters
            array(0, LAST, &[
                fixed(1, 0, LAST), // resource_type_filter
                string(0, LAST), // resource_name_filter
                fixed(1, 0, LAST), // pattern_type_filter
                string(0, LAST), // principal_filter
                string(0, LAST), // host_filter
                fixed(1, 0, LAST), // operation
                fixed(1, 0, LAST), // permission_type
            ]),
        ],
    },
    Schema { // CreateDelegationToken
        api_key: 38,
        flexible_from: 2,
        fields: &[
            string(3, LAST), // owner_principal_type
            string(3, LAST), // owner_principal_name
            // renewers
            array(0, LAST, &[
                string(0, LAST), // principal_type
                string(0, LAST), // principal_name
            ]),
            fixed(8, 0, LAST), // max_lifetime_ms
        ],
    },
    Schema { // RenewDelegationToken
        api_key: 39,
        flexible_from: 2,
        fields: &[
            bytes(0, LAST), // hmac
            fixed(8, 0, LAST), // renew_period_ms
        ],
    },
    Schema { // ExpireDelegationToken
        api_key: 40,
        flexible_from: 2,
        fields: &[
            bytes(0, LAST), // hmac
            fixed(8, 0, LAST), // expiry_time_period_ms
        ],
    },
    Schema { // DescribeDelegationToken
        api_key: 41,
        flexible_from: 2,
        fields: &[
            // owners
            array(0, LAST, &[
                string(0, LAST), // principal_type
                string(0, LAST), // principal_name
            ]),
        ],
    },
    Schema { // DescribeUserScramCredentials
        api_key: 50,
        flexible_from: 0,
        fields: &[
            // users
            array(0, LAST, &[
                string(0, LAST), // name
            ]),
        ],
    },
    Schema { // AlterUserScramCredentials
        api_key: 51,
        flexible_from: 0,
        fields: &[
            // deletions
            array(0, LAST, &[
                string(0, LAST), // name
                fixed(1, 0, LAST), // mechanism
            ]),
            // upsertions
            array(0, LAST, &[
                string(0, LAST), // name
                fixed(1, 0, LAST), // mechanism
                fixed(4, 0, LAST), // iterations
                bytes(0, LAST), // salt
                bytes(0, LAST), // salted_password
            ]),
        ],
    },
    Schema { // DescribeTransactions
        api_key: 65,
        flexible_from: 0,
        fields: &[
            strings(0, LAST), // transactional_ids
        ],
    },
    Schema { // ListTransactions
        api_key: 66,
        flexible_from: 0,
        fields: &[
            strings(0, LAST), // state_filters
            items(8, 0, LAST), // producer_id_filters
            fixed(8, 1, LAST), // duration_filter
            string(2, LAST), // transactional_id_pattern
        ],
    },
];
