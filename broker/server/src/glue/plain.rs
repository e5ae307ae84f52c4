//! Compressed batches made plain, for coordinators that read their own records back: a topic whose `compression.type`
//! was changed compresses what they wrote.

use bytes::{Bytes, BytesMut};
use millrace_groups::LogError;
use millrace_log::BatchView;
use millrace_log::batch::patch_codec;
use millrace_log::compress::{decompress, expansion_budget};

/// Bytes of a batch's header.
const HEADER: usize = 61;
/// Bytes before those that the length field counts.
const LENGTH_PREFIX: usize = 12;

/// The batches of a run one by one, none of them compressed. Plain ones are not copied.
///
/// # Errors
/// The run does not consist of whole batches, or one cannot be decompressed within its budget.
pub fn plain(mut run: Bytes, out: &mut Vec<Bytes>) -> Result<(), LogError> {
    let damaged = |what: &str| LogError::Unknown(format!("a stored batch is damaged: {what}"));
    while !run.is_empty() {
        let view = BatchView::new(&run).ok_or_else(|| damaged("no header"))?;
        let length = usize::try_from(view.length_field()).map_err(|_| damaged("negative length"))? + LENGTH_PREFIX;
        if length < HEADER || length > run.len() {
            return Err(damaged("length"));
        }
        let codec = view.codec();
        let batch = run.split_to(length);
        if codec == 0 {
            out.push(batch);
            continue;
        }
        let payload = &batch[HEADER..];
        let budget = expansion_budget(payload.len(), 0);
        let payload = decompress(codec, payload, budget).map_err(|_| damaged("compression"))?;
        let mut whole = BytesMut::with_capacity(HEADER + payload.len());
        whole.extend_from_slice(&batch[..HEADER]);
        whole.extend_from_slice(&payload);
        patch_codec(&mut whole, 0);
        out.push(whole.freeze());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_log::Compression;
    use millrace_log::compress::compress;

    /// A batch whose payload is not looked at here.
    fn batch(payload: &[u8], codec: u8) -> BytesMut {
        let mut bytes = BytesMut::zeroed(HEADER);
        bytes.extend_from_slice(payload);
        patch_codec(&mut bytes, codec);
        bytes
    }

    #[test]
    fn batches_of_all_codecs_come_out_plain() {
        let payload = b"many records, many records, many records".repeat(20);
        let codecs = [
            (0, Compression::None),
            (1, Compression::Gzip(6)),
            (2, Compression::Snappy),
            (3, Compression::Lz4(9)),
            (4, Compression::Zstd(3)),
        ];
        let mut run = BytesMut::new();
        for (codec, compression) in codecs {
            run.extend_from_slice(&batch(&compress(compression, &payload).unwrap(), codec));
        }
        let mut out = Vec::new();
        plain(run.freeze(), &mut out).unwrap();
        let expected = batch(&payload, 0).freeze();
        assert_eq!(out, vec![expected; 5]);
    }

    #[test]
    fn damage_is_an_error() {
        let whole = batch(b"not gzip", 1).freeze();
        assert!(plain(whole, &mut Vec::new()).is_err());
        let whole = batch(b"x", 0).freeze();
        for len in 1..whole.len() {
            assert!(plain(whole.slice(..len), &mut Vec::new()).is_err());
        }
    }
}
