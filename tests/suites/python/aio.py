"""What an application does with aiokafka."""
import asyncio
import sys

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from steps import ADDRESS, SUFFIX, run_async

TOPIC = f"aiokafka-{SUFFIX}"
GROUP = f"aiokafka-group-{SUFFIX}"
COMPRESSIONS = (None, "gzip", "snappy", "lz4", "zstd")
PER_COMPRESSION = 40
TOTAL = PER_COMPRESSION * len(COMPRESSIONS)


async def eventually(what, probe, limit=20):
    async with asyncio.timeout(limit):
        while not await probe():
            await asyncio.sleep(0.1)


async def new_consumer(group, *topics):
    consumer = AIOKafkaConsumer(*topics, bootstrap_servers=ADDRESS, group_id=group, auto_offset_reset="earliest", enable_auto_commit=False)
    await consumer.start()
    return consumer


async def main():
    admin = AIOKafkaAdminClient(bootstrap_servers=ADDRESS)
    await admin.start()

    async def create_topic():
        answer = await admin.create_topics([NewTopic(TOPIC, 2, 1)])
        assert all(error[1] == 0 for error in answer.topic_errors), answer

        async def visible():
            return TOPIC in await admin.list_topics()
        await eventually("topic in metadata", visible)

    async def produce_in_all_compressions():
        for compression in COMPRESSIONS:
            producer = AIOKafkaProducer(bootstrap_servers=ADDRESS, enable_idempotence=True, compression_type=compression)
            await producer.start()
            for i in range(PER_COMPRESSION):
                key = f"{compression}/{i}".encode()
                await producer.send(TOPIC, key * 30, key=key, partition=i % 2, headers=[("h", b"\xff\x00")])
            await producer.stop()

    async def consume_in_group():
        consumer = await new_consumer(GROUP, TOPIC)
        records = []

        async def enough():
            for batch in (await consumer.getmany(timeout_ms=300)).values():
                records.extend(batch)
            return len(records) >= TOTAL
        await eventually(f"{TOTAL} records", enough, 40)
        assert len({r.key for r in records}) == TOTAL
        assert all(r.value == r.key * 30 for r in records)
        await consumer.commit()
        await consumer.stop()

    async def committed_offsets():
        consumer = await new_consumer(GROUP, TOPIC)
        assert [await consumer.committed(TopicPartition(TOPIC, p)) for p in range(2)] == [TOTAL // 2] * 2
        await consumer.stop()

    async def offsets():
        consumer = await new_consumer(None)
        first = TopicPartition(TOPIC, 0)
        assert (await consumer.beginning_offsets([first]))[first] == 0
        assert (await consumer.end_offsets([first]))[first] == TOTAL // 2
        await consumer.stop()

    async def groups():
        assert GROUP in {g[0] for g in await admin.list_consumer_groups()}
        listed = await admin.list_consumer_group_offsets(GROUP)
        assert listed[TopicPartition(TOPIC, 0)].offset == TOTAL // 2

    async def delete_topic():
        await admin.delete_topics([TOPIC])

        async def gone():
            return TOPIC not in await admin.list_topics()
        await eventually("topic gone", gone)

    failed = await run_async("aiokafka", [create_topic, produce_in_all_compressions, consume_in_group, committed_offsets, offsets, groups, delete_topic])
    await admin.close()
    return failed


sys.exit(1 if asyncio.run(main()) else 0)
