//! The walk over a record batch, compressed or not: never a panic, and never
//! more work or memory than its budget.
//!
//! ```text
//! what to repair:u8 │ records
//! ```
//! Random bytes seldom have a right checksum. With the lowest bit set, length,
//! magic and checksum are repaired, so that the walk gets to the records.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use millrace_log::{Origin, ValidateSpec, validate};
use millrace_metadata::config::TopicConfig;

/// Bytes of a batch's header.
const HEADER: usize = 61;
/// Some time in 2025, in milliseconds.
const NOW_MS: i64 = 1_750_000_000_000;

fuzz_target!(|input: &[u8]| {
    let [repair, records @ ..] = input else {
        return;
    };
    let mut records = BytesMut::from(records);
    if repair & 1 == 1 && records.len() >= HEADER {
        let len = records.len() as i32 - 12;
        records[..8].fill(0);
        records[8..12].copy_from_slice(&len.to_be_bytes());
        records[16] = 2;
        let crc = crc32c::crc32c(&records[21..]);
        records[17..21].copy_from_slice(&crc.to_be_bytes());
    }
    let config = TopicConfig::default();
    let _ = validate(
        &mut records,
        ValidateSpec {
            config: &config,
            origin: Origin::Client,
            api_version: 9,
            now_ms: NOW_MS,
        },
    );
});
