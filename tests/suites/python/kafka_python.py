"""What an application does with kafka-python."""
import os

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewPartitions, NewTopic

from steps import ADDRESS, SUFFIX, eventually, run

TOPIC = f"kafka-python-{SUFFIX}"
GROUP = f"kafka-python-group-{SUFFIX}"
COMPRESSIONS = (None, "gzip", "snappy", "lz4", "zstd")
PER_COMPRESSION = 40
TOTAL = PER_COMPRESSION * len(COMPRESSIONS)
admin = KafkaAdminClient(bootstrap_servers=ADDRESS)


def new_consumer(group=None):
    return KafkaConsumer(bootstrap_servers=ADDRESS, group_id=group, auto_offset_reset="earliest", enable_auto_commit=False)


def create_topic():
    admin.create_topics([NewTopic(name=TOPIC, num_partitions=2, replication_factor=int(os.environ.get("RF", "1")))])
    eventually("topic in metadata", lambda: TOPIC in admin.list_topics())


def produce_in_all_compressions():
    for compression in COMPRESSIONS:
        producer = KafkaProducer(bootstrap_servers=ADDRESS, acks="all", enable_idempotence=True, compression_type=compression)
        sent = []
        for i in range(PER_COMPRESSION):
            key = f"{compression}/{i}".encode()
            sent.append(producer.send(TOPIC, key=key, value=key * 30, partition=i % 2, headers=[("h", b"\xff\x00")]))
        producer.flush(30)
        for future in sent:
            future.get(30)
        producer.close()


def consume_in_group():
    consumer = new_consumer(GROUP)
    consumer.subscribe([TOPIC])
    records = []

    def poll():
        for batch in consumer.poll(300).values():
            records.extend(batch)
        return len(records) >= TOTAL

    eventually(f"{TOTAL} records", poll, 40)
    assert len({r.key for r in records}) == TOTAL
    assert all(r.value == r.key * 30 for r in records)
    assert list(records[0].headers) == [("h", b"\xff\x00")], records[0].headers
    consumer.commit()
    consumer.close()


def committed_offsets():
    consumer = new_consumer(GROUP)
    assert [consumer.committed(TopicPartition(TOPIC, p)) for p in range(2)] == [TOTAL // 2] * 2
    consumer.close()


def offsets():
    consumer = new_consumer()
    first = TopicPartition(TOPIC, 0)
    assert consumer.beginning_offsets([first])[first] == 0
    assert consumer.end_offsets([first])[first] == TOTAL // 2
    assert consumer.offsets_for_times({first: 1})[first].offset == 0
    consumer.close()


def more_partitions():
    admin.create_partitions({TOPIC: NewPartitions(total_count=4)})
    eventually("4 partitions", lambda: len(admin.describe_topics([TOPIC])[0]["partitions"]) == 4)


def groups():
    assert GROUP in str(admin.list_groups())
    admin.delete_groups([GROUP])
    assert GROUP not in str(admin.list_groups())


def delete_topic():
    admin.delete_topics([TOPIC])
    eventually("topic gone", lambda: TOPIC not in admin.list_topics())


run("kafka-python", [create_topic, produce_in_all_compressions, consume_in_group, committed_offsets, offsets, more_partitions, groups, delete_topic])
