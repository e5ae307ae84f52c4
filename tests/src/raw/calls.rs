//! The few calls that tests and bench need, each in one version.

use anyhow::Context;

use super::{Conn, Reader, Writer, key};

/// One partition of a Produce request.
pub struct ProducePart<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub batch: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProduceResult {
    pub error: i16,
    pub base_offset: i64,
}

/// One partition of a Fetch request.
pub struct FetchPart<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub offset: i64,
    pub max_bytes: i32,
}

pub struct FetchResult {
    pub error: i16,
    pub high_watermark: i64,
    pub records: Vec<u8>,
}

pub const PRODUCE_VERSION: i16 = 7;
pub const FETCH_VERSION: i16 = 4;

/// Body of a Produce request for one partition.
pub fn produce_body(part: &ProducePart<'_>, acks: i16, timeout_ms: i32) -> Vec<u8> {
    let mut w = Writer::with_capacity(part.batch.len() + 64);
    w.null_string().i16(acks).i32(timeout_ms).i32(1).string(part.topic).i32(1).i32(part.partition);
    w.bytes(part.batch);
    w.into_vec()
}

/// Answer to [`produce_body`].
pub fn produce_answer(body: &[u8]) -> anyhow::Result<ProduceResult> {
    let mut r = Reader::new(body);
    anyhow::ensure!(r.i32()? == 1, "one topic was sent");
    r.string()?;
    anyhow::ensure!(r.i32()? == 1, "one partition was sent");
    r.i32()?;
    Ok(ProduceResult { error: r.i16()?, base_offset: r.i64()? })
}

/// Body of a Produce request with the same batch for `count` partitions, and where their indices stand in it.
pub fn produce_many_body(topic: &str, count: usize, batch: &[u8], timeout_ms: i32) -> (Vec<u8>, Vec<usize>) {
    let mut w = Writer::with_capacity(count * (batch.len() + 8) + 64);
    w.null_string().i16(-1).i32(timeout_ms).i32(1).string(topic).i32(count as i32);
    let at = (0..count)
        .map(|_| {
            let at = w.as_slice().len();
            w.i32(0).bytes(batch);
            at
        })
        .collect();
    (w.into_vec(), at)
}

/// Answer to [`produce_many_body`]: the first error code that is not 0, or 0.
pub fn produce_many_answer(body: &[u8]) -> anyhow::Result<i16> {
    let mut r = Reader::new(body);
    anyhow::ensure!(r.i32()? == 1, "one topic was sent");
    r.string()?;
    let errors = r.array_of(|r| {
        r.i32()?;
        let error = r.i16()?;
        r.take(24)?;
        Ok(error)
    })?;
    Ok(errors.into_iter().find(|e| *e != 0).unwrap_or(0))
}

/// Body of a Fetch request for one partition.
pub fn fetch_body(part: &FetchPart<'_>, max_wait_ms: i32, min_bytes: i32) -> Vec<u8> {
    let mut w = Writer::new();
    w.i32(-1).i32(max_wait_ms).i32(min_bytes).i32(part.max_bytes).i8(0);
    w.i32(1).string(part.topic).i32(1).i32(part.partition).i64(part.offset).i32(part.max_bytes);
    w.into_vec()
}

/// Answer to [`fetch_body`]: error, high watermark and where the records stand in `body`.
pub fn fetch_answer(body: &[u8]) -> anyhow::Result<(i16, i64, &[u8])> {
    let mut r = Reader::new(body);
    r.i32()?;
    anyhow::ensure!(r.i32()? == 1, "one topic was asked");
    r.string()?;
    anyhow::ensure!(r.i32()? == 1, "one partition was asked");
    r.i32()?;
    let error = r.i16()?;
    let high_watermark = r.i64()?;
    r.i64()?;
    r.array_of(|r| Ok((r.i64()?, r.i64()?)))?;
    Ok((error, high_watermark, r.bytes()?))
}

impl Conn {
    /// Brokers that Metadata names.
    pub fn broker_count(&mut self) -> anyhow::Result<usize> {
        Ok(self.broker_addresses()?.len())
    }

    /// Ids and addresses of the brokers as Metadata names them.
    pub fn broker_addresses(&mut self) -> anyhow::Result<Vec<(i32, String)>> {
        let answer = self.call(key::METADATA, 1, Writer::new().i32(0).as_slice())?;
        Reader::new(&answer).array_of(|r| {
            let (id, host, port) = (r.i32()?, r.string()?, r.i32()?);
            r.opt_string()?;
            Ok((id, format!("{host}:{port}")))
        })
    }

    /// Creates a topic with one replica; returns the error code.
    pub fn create_topic(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> anyhow::Result<i16> {
        const TIMEOUT_MS: i32 = 50_000;
        let mut w = Writer::new();
        w.i32(1).string(name).i32(partitions).i16(1).i32(0).i32(configs.len() as i32);
        for (key, value) in configs {
            w.string(key).string(value);
        }
        w.i32(TIMEOUT_MS).bool(false);
        let answer = self.call(key::CREATE_TOPICS, 2, w.as_slice())?;
        let mut r = Reader::new(&answer);
        r.i32()?;
        anyhow::ensure!(r.i32()? == 1, "one topic was created");
        r.string()?;
        r.i16()
    }

    /// Deletes a topic; returns the error code.
    pub fn delete_topic(&mut self, name: &str) -> anyhow::Result<i16> {
        const TIMEOUT_MS: i32 = 50_000;
        let mut w = Writer::new();
        w.i32(1).string(name).i32(TIMEOUT_MS);
        let answer = self.call(key::DELETE_TOPICS, 1, w.as_slice())?;
        let mut r = Reader::new(&answer);
        r.i32()?;
        anyhow::ensure!(r.i32()? == 1, "one topic was deleted");
        r.string()?;
        r.i16()
    }

    /// Partitions of a topic that have a leader; 0 if the topic is not known yet.
    pub fn partitions_with_leader(&mut self, topic: &str) -> anyhow::Result<usize> {
        let answer = self.call(key::METADATA, 1, Writer::new().i32(1).string(topic).as_slice())?;
        let mut r = Reader::new(&answer);
        r.array_of(|r| Ok((r.i32()?, r.string()?, r.i32()?, r.opt_string()?)))?;
        r.i32()?;
        let topics = r.array_of(|r| {
            let error = r.i16()?;
            r.string()?;
            r.bool()?;
            let leaders = r.array_of(|r| {
                let error = r.i16()?;
                r.i32()?;
                let leader = r.i32()?;
                r.array_of(Reader::i32)?;
                r.array_of(Reader::i32)?;
                Ok(error == 0 && leader >= 0)
            })?;
            Ok(if error == 0 { leaders.iter().filter(|ok| **ok).count() } else { 0 })
        })?;
        topics.first().copied().context("no topic in the answer")
    }

    /// Creates a topic and waits until every partition has a leader.
    pub fn create_and_wait(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> anyhow::Result<()> {
        const LIMIT: std::time::Duration = std::time::Duration::from_secs(120);
        let error = self.create_topic(name, partitions, configs)?;
        anyhow::ensure!(error == 0, "create {name}: error {error}");
        crate::harness::proc::wait_for("leaders of a new topic", LIMIT, || {
            Ok((self.partitions_with_leader(name)? == partitions as usize).then_some(()))
        })?;
        // Kafka names a leader a moment before the leader accepts requests.
        for partition in 0..partitions {
            crate::harness::proc::wait_for("a new partition", LIMIT, || {
                Ok((self.list_offset(name, partition, -1)?.0 == 0).then_some(()))
            })?;
        }
        Ok(())
    }

    pub fn produce(&mut self, part: &ProducePart<'_>, acks: i16) -> anyhow::Result<ProduceResult> {
        const TIMEOUT_MS: i32 = 30_000;
        let answer = self.call(key::PRODUCE, PRODUCE_VERSION, &produce_body(part, acks, TIMEOUT_MS))?;
        produce_answer(&answer)
    }

    pub fn fetch(&mut self, part: &FetchPart<'_>, max_wait_ms: i32) -> anyhow::Result<FetchResult> {
        let answer = self.call(key::FETCH, FETCH_VERSION, &fetch_body(part, max_wait_ms, 1))?;
        let (error, high_watermark, records) = fetch_answer(&answer)?;
        Ok(FetchResult { error, high_watermark, records: records.to_vec() })
    }

    /// Offset for a timestamp or −1 (latest), −2 (earliest): (error, offset).
    pub fn list_offset(&mut self, topic: &str, partition: i32, timestamp: i64) -> anyhow::Result<(i16, i64)> {
        let mut w = Writer::new();
        w.i32(-1).i32(1).string(topic).i32(1).i32(partition).i64(timestamp);
        let answer = self.call(key::LIST_OFFSETS, 1, w.as_slice())?;
        let mut r = Reader::new(&answer);
        anyhow::ensure!(r.i32()? == 1, "one topic was asked");
        r.string()?;
        r.i32()?;
        r.i32()?;
        let error = r.i16()?;
        r.i64()?;
        Ok((error, r.i64()?))
    }

    /// Bytes of a topic's partitions in the directories of the broker (DescribeLogDirs).
    pub fn log_bytes(&mut self, topic: &str) -> anyhow::Result<u64> {
        let answer = self.call(key::DESCRIBE_LOG_DIRS, 1, Writer::new().i32(-1).as_slice())?;
        let mut r = Reader::new(&answer);
        r.i32()?;
        let mut sum = 0;
        r.array_of(|r| {
            let error = r.i16()?;
            anyhow::ensure!(error == 0, "DescribeLogDirs: error {error}");
            r.string()?;
            r.array_of(|r| {
                let this = r.string()? == topic;
                r.array_of(|r| {
                    r.i32()?;
                    let size = r.i64()?;
                    r.i64()?;
                    let future = r.bool()?;
                    if this && !future {
                        sum += size.max(0) as u64;
                    }
                    Ok(())
                })
            })
        })?;
        Ok(sum)
    }

    /// A new producer id and epoch for an idempotent producer.
    pub fn init_producer_id(&mut self) -> anyhow::Result<(i64, i16)> {
        let answer = self.call(key::INIT_PRODUCER_ID, 0, Writer::new().null_string().i32(60_000).as_slice())?;
        let mut r = Reader::new(&answer);
        r.i32()?;
        let error = r.i16()?;
        anyhow::ensure!(error == 0, "InitProducerId: error {error}");
        Ok((r.i64()?, r.i16()?))
    }

    /// Offset that a group has committed: (error, offset).
    pub fn committed(&mut self, group: &str, topic: &str, partition: i32) -> anyhow::Result<(i16, i64)> {
        let mut w = Writer::new();
        w.string(group).i32(1).string(topic).i32(1).i32(partition);
        let answer = self.call(key::OFFSET_FETCH, 1, w.as_slice())?;
        let mut r = Reader::new(&answer);
        anyhow::ensure!(r.i32()? == 1, "one topic was asked");
        r.string()?;
        r.i32()?;
        r.i32()?;
        let offset = r.i64()?;
        r.opt_string()?;
        Ok((r.i16()?, offset))
    }
}
