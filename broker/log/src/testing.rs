//! Batches for the tests of this crate, built without the code under test where that matters.

use bytes::BytesMut;

use crate::batch::{BatchView, HeaderFields};
use crate::compress;
use crate::config::Compression;
use crate::record::{Record, Records, put_record};

/// Key, value and timestamp of a record.
pub type Entry = (Option<Vec<u8>>, Option<Vec<u8>>, i64);

/// A batch as a client would send it.
pub fn encode(fields: HeaderFields, codec: Compression, entries: &[Entry]) -> BytesMut {
    let base = entries.first().map_or(0, |e| e.2);
    let mut payload = Vec::new();
    for (i, (key, value, timestamp)) in entries.iter().enumerate() {
        let record = Record {
            timestamp_delta: timestamp - base,
            offset_delta: i as i32,
            key: key.as_deref(),
            value: value.as_deref(),
        };
        put_record(&mut payload, record, &[("h", Some(b"v")), ("h", None)]);
    }
    let payload = compress::compress(codec, &payload).unwrap();
    let fields = HeaderFields {
        attributes: fields.attributes | i16::from(codec.id()),
        base_timestamp: base,
        max_timestamp: entries.iter().map(|e| e.2).max().unwrap_or(-1),
        last_offset_delta: entries.len() as i32 - 1,
        count: entries.len() as i32,
        ..fields
    };
    fields.batch(&payload)
}

/// The records of a stored batch.
pub fn decode(batch: &[u8]) -> Vec<Entry> {
    let view = BatchView::new(batch).unwrap();
    let payload = compress::decompress(view.codec(), view.payload(), 1 << 30).unwrap();
    Records::new(&payload, view.count())
        .map(|r| r.unwrap())
        .map(|r| (r.key.map(<[u8]>::to_vec), r.value.map(<[u8]>::to_vec), view.base_timestamp() + r.timestamp_delta))
        .collect()
}

pub const CODECS: [Compression; 5] =
    [Compression::None, Compression::Gzip(-1), Compression::Snappy, Compression::Lz4(9), Compression::Zstd(3)];
