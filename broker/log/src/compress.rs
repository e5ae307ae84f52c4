//! The four codecs: reading with a budget, in constant memory, and writing.
//!
//! Lengths that compressed data announces reserve nothing: every codec is read as a stream, but for snappy blocks,
//! whose announced size is held against what the format can produce from so many bytes.

use std::io::{self, Read, Write};

use crate::config::Compression;
use crate::record::{Malformed, Source};

/// What a compressed batch may expand to: this much for free, in bytes …
pub const EXPANSION_BASE: u64 = 32 << 20;
/// … and this many bytes for each compressed byte.
pub const EXPANSION_RATIO: u64 = 256;
/// Decompressed bytes that are held at a time.
const WINDOW: usize = 16 << 10;
/// No snappy element produces more than 64 bytes from 3.
const SNAPPY_MAX_RATIO: usize = 22;
/// Largest back-reference window that a zstd frame may ask for, as a power of two (the library's own default).
const ZSTD_MAX_WINDOW_LOG: u32 = 27;
/// Uncompressed bytes in one block of snappy's xerial framing, as snappy-java writes it.
const XERIAL_BLOCK: usize = 32 << 10;
const XERIAL_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
/// Magic, version and lowest compatible version.
const XERIAL_HEADER: usize = 16;

/// Bytes that `compressed_len` bytes may expand to in a topic whose batches may have `max_message_bytes`.
pub fn expansion_budget(compressed_len: usize, max_message_bytes: usize) -> u64 {
    let base = EXPANSION_BASE.max(max_message_bytes as u64 * 2);
    base.saturating_add((compressed_len as u64).saturating_mul(EXPANSION_RATIO))
}

/// One codec's decompressor over a slice.
enum Decoder<'a> {
    Gzip(Box<flate2::bufread::MultiGzDecoder<&'a [u8]>>),
    Snappy(Snappy<'a>),
    Lz4(lz4::Decoder<&'a [u8]>),
    Zstd(zstd::stream::read::Decoder<'static, &'a [u8]>),
}

impl<'a> Decoder<'a> {
    fn new(codec: u8, payload: &'a [u8]) -> io::Result<Decoder<'a>> {
        Ok(match codec {
            1 => Decoder::Gzip(Box::new(flate2::bufread::MultiGzDecoder::new(payload))),
            2 => Decoder::Snappy(Snappy::new(payload)),
            3 => Decoder::Lz4(lz4::Decoder::new(payload)?),
            4 => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(payload)?;
                decoder.window_log_max(ZSTD_MAX_WINDOW_LOG)?;
                Decoder::Zstd(decoder)
            }
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        })
    }
}

impl Read for Decoder<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Decoder::Gzip(d) => d.read(out),
            Decoder::Snappy(d) => d.read(out),
            Decoder::Lz4(d) => d.read(out),
            Decoder::Zstd(d) => d.read(out),
        }
    }
}

/// Snappy in xerial framing (blocks with a length each) or as one raw block.
struct Snappy<'a> {
    rest: &'a [u8],
    framed: bool,
    block: Vec<u8>,
    at: usize,
}

impl<'a> Snappy<'a> {
    fn new(payload: &'a [u8]) -> Snappy<'a> {
        let framed = payload.len() >= XERIAL_HEADER && payload.starts_with(&XERIAL_MAGIC);
        let rest = if framed { &payload[XERIAL_HEADER..] } else { payload };
        Snappy { rest, framed, block: Vec::new(), at: 0 }
    }

    fn next_block(&mut self) -> io::Result<()> {
        let block = if self.framed {
            let (len, rest) = self.rest.split_first_chunk::<4>().ok_or(io::ErrorKind::UnexpectedEof)?;
            let len = u32::from_be_bytes(*len) as usize;
            if len > rest.len() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let (block, rest) = rest.split_at(len);
            self.rest = rest;
            block
        } else {
            std::mem::take(&mut self.rest)
        };
        let size = snap::raw::decompress_len(block)?;
        if size > block.len().saturating_mul(SNAPPY_MAX_RATIO) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.block.resize(size, 0);
        let written = snap::raw::Decoder::new().decompress(block, &mut self.block)?;
        self.block.truncate(written);
        self.at = 0;
        Ok(())
    }
}

impl Read for Snappy<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.block.len() {
            if self.rest.is_empty() {
                return Ok(0);
            }
            self.next_block()?;
        }
        let n = out.len().min(self.block.len() - self.at);
        out[..n].copy_from_slice(&self.block[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

/// Decompressed bytes as a [`Source`], in constant memory and within a budget.
pub struct StreamSource<'a> {
    decoder: Decoder<'a>,
    window: Box<[u8]>,
    at: usize,
    end: usize,
    /// Bytes that left the window.
    passed: u64,
    budget: u64,
}

impl<'a> StreamSource<'a> {
    /// `codec` is 1–4.
    pub fn new(codec: u8, payload: &'a [u8], budget: u64) -> Result<StreamSource<'a>, Malformed> {
        let decoder = Decoder::new(codec, payload).map_err(|_| Malformed::Compression)?;
        Ok(StreamSource { decoder, window: vec![0; WINDOW].into(), at: 0, end: 0, passed: 0, budget })
    }

    /// Gets more bytes; false at the end of the stream.
    fn refill(&mut self) -> Result<bool, Malformed> {
        self.passed += self.end as u64;
        self.at = 0;
        self.end = 0;
        let n = self.decoder.read(&mut self.window).map_err(|_| Malformed::Compression)?;
        self.end = n;
        if self.passed + n as u64 > self.budget {
            return Err(Malformed::Budget);
        }
        Ok(n > 0)
    }

    #[cold]
    fn byte_after_refill(&mut self) -> Result<u8, Malformed> {
        if !self.refill()? {
            return Err(Malformed::Truncated);
        }
        self.at = 1;
        Ok(self.window[0])
    }
}

impl Source for StreamSource<'_> {
    #[inline]
    fn byte(&mut self) -> Result<u8, Malformed> {
        if self.at == self.end {
            return self.byte_after_refill();
        }
        self.at += 1;
        Ok(self.window[self.at - 1])
    }
    #[inline]
    fn skip(&mut self, mut n: usize) -> Result<(), Malformed> {
        loop {
            let here = self.end - self.at;
            if n <= here {
                self.at += n;
                return Ok(());
            }
            n -= here;
            if !self.refill()? {
                return Err(Malformed::Truncated);
            }
        }
    }
    fn position(&self) -> u64 {
        self.passed + self.at as u64
    }
    fn at_end(&mut self) -> Result<bool, Malformed> {
        Ok(self.at == self.end && !self.refill()?)
    }
}

/// The whole payload, uncompressed; at most `budget` bytes.
pub fn decompress(codec: u8, payload: &[u8], budget: u64) -> Result<Vec<u8>, Malformed> {
    if codec == 0 {
        return Ok(payload.to_vec());
    }
    let decoder = Decoder::new(codec, payload).map_err(|_| Malformed::Compression)?;
    let mut out = Vec::new();
    decoder.take(budget.saturating_add(1)).read_to_end(&mut out).map_err(|_| Malformed::Compression)?;
    if out.len() as u64 > budget {
        return Err(Malformed::Budget);
    }
    Ok(out)
}

/// Compresses a payload the way Kafka's clients expect to read it.
pub fn compress(codec: Compression, payload: &[u8]) -> io::Result<Vec<u8>> {
    match codec {
        Compression::None => Ok(payload.to_vec()),
        Compression::Gzip(level) => {
            let level = u32::try_from(level).map_or(flate2::Compression::default(), flate2::Compression::new);
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(payload)?;
            encoder.finish()
        }
        Compression::Snappy => xerial(payload),
        Compression::Lz4(level) => {
            // Java's reader refuses linked blocks and does not check block checksums.
            let mut encoder = lz4::EncoderBuilder::new()
                .level(level.max(0) as u32)
                .block_size(lz4::BlockSize::Max64KB)
                .block_mode(lz4::BlockMode::Independent)
                .block_checksum(lz4::liblz4::BlockChecksum::NoBlockChecksum)
                .checksum(lz4::ContentChecksum::NoChecksum)
                .build(Vec::new())?;
            encoder.write_all(payload)?;
            let (out, result) = encoder.finish();
            result.map(|()| out)
        }
        Compression::Zstd(level) => zstd::stream::encode_all(payload, level),
    }
}

fn xerial(payload: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(XERIAL_HEADER + snap::raw::max_compress_len(payload.len()) / 2);
    out.extend_from_slice(&XERIAL_MAGIC);
    out.extend_from_slice(&1u32.to_be_bytes());
    out.extend_from_slice(&1u32.to_be_bytes());
    let mut encoder = snap::raw::Encoder::new();
    let mut block = vec![0; snap::raw::max_compress_len(XERIAL_BLOCK)];
    for chunk in payload.chunks(XERIAL_BLOCK) {
        let n = encoder.compress(chunk, &mut block)?;
        out.extend_from_slice(&(n as u32).to_be_bytes());
        out.extend_from_slice(&block[..n]);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn codecs() -> [Compression; 4] {
        [Compression::Gzip(-1), Compression::Snappy, Compression::Lz4(9), Compression::Zstd(3)]
    }

    fn drain(source: &mut StreamSource<'_>) -> Result<Vec<u8>, Malformed> {
        let mut out = Vec::new();
        while !source.at_end()? {
            out.push(source.byte()?);
        }
        Ok(out)
    }

    proptest! {
        #[test]
        fn what_was_compressed_comes_back(seed in proptest::collection::vec(any::<u8>(), 0..300), times in 1usize..400) {
            let data = seed.repeat(times);
            for codec in codecs() {
                let packed = compress(codec, &data).unwrap();
                let budget = data.len() as u64;
                prop_assert_eq!(decompress(codec.id(), &packed, budget).unwrap(), data.clone());
                let mut source = StreamSource::new(codec.id(), &packed, budget).unwrap();
                prop_assert_eq!(drain(&mut source).unwrap(), data.clone());
            }
        }

        #[test]
        fn damaged_data_never_panics(seed in proptest::collection::vec(any::<u8>(), 1..300), at in any::<prop::sample::Index>(), with in any::<u8>()) {
            let data = seed.repeat(50);
            for codec in codecs() {
                let mut packed = compress(codec, &data).unwrap();
                let at = at.index(packed.len());
                packed[at] = with;
                let _ = decompress(codec.id(), &packed, 1 << 20);
                if let Ok(mut source) = StreamSource::new(codec.id(), &packed, 1 << 20) {
                    let _ = drain(&mut source);
                }
            }
        }
    }

    #[test]
    fn a_raw_snappy_block_is_read() {
        let data = vec![7u8; 5000];
        let packed = snap::raw::Encoder::new().compress_vec(&data).unwrap();
        assert_eq!(decompress(2, &packed, 5000).unwrap(), data);
    }

    #[test]
    fn bombs_end_at_the_budget() {
        let zeros = vec![0u8; 8 << 20];
        for codec in codecs() {
            let packed = compress(codec, &zeros).unwrap();
            let mut source = StreamSource::new(codec.id(), &packed, 1 << 20).unwrap();
            assert_eq!(source.skip(zeros.len()), Err(Malformed::Budget), "{codec:?}");
            assert_eq!(decompress(codec.id(), &packed, 1 << 20), Err(Malformed::Budget), "{codec:?}");
        }
    }

    #[test]
    fn an_announced_snappy_length_reserves_nothing() {
        // A raw block that claims 4 GiB − 1 and holds three bytes.
        let claim = [0xff, 0xff, 0xff, 0xff, 0x0f, 0, 1, 2];
        assert_eq!(decompress(2, &claim, u64::MAX), Err(Malformed::Compression));
    }
}
