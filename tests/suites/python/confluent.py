"""What an application does with confluent-kafka."""
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic,
                                   OffsetSpec, ResourceType)

from steps import ADDRESS, SUFFIX, eventually, run

TOPIC = f"confluent-{SUFFIX}"
GROUP = f"confluent-group-{SUFFIX}"
COMPRESSIONS = ("none", "gzip", "snappy", "lz4", "zstd")
PER_COMPRESSION = 60
TOTAL = PER_COMPRESSION * len(COMPRESSIONS)
admin = AdminClient({"bootstrap.servers": ADDRESS})


def settle(futures):
    return {key: future.result(30) for key, future in futures.items()}


def new_consumer(group, **extra):
    settings = {"bootstrap.servers": ADDRESS, "group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False}
    return Consumer({**settings, **extra})


def read(consumer, wanted):
    messages = []

    def poll():
        for message in consumer.consume(200, 0.2):
            if message.error():
                raise KafkaException(message.error())
            messages.append(message)
        return len(messages) >= wanted

    eventually(f"{wanted} records", poll, 40)
    return messages


def create_topic():
    settle(admin.create_topics([NewTopic(TOPIC, 3, 1)]))
    eventually("topic in metadata", lambda: len(admin.list_topics(TOPIC, 5).topics[TOPIC].partitions) == 3)


def create_topic_twice():
    try:
        settle(admin.create_topics([NewTopic(TOPIC, 3, 1)]))
    except KafkaException as e:
        assert e.args[0].name() == "TOPIC_ALREADY_EXISTS", e
    else:
        raise AssertionError("created twice")


def produce_in_all_compressions():
    for compression in COMPRESSIONS:
        failures = []
        producer = Producer({"bootstrap.servers": ADDRESS, "enable.idempotence": True, "compression.type": compression, "linger.ms": 5})
        for i in range(PER_COMPRESSION):
            key = f"{compression}/{i}"
            producer.produce(TOPIC, key=key, value=key * 30, partition=i % 3, headers=[("bytes", b"\xff\x00"), ("null", None), ("bytes", b"2")],
                             on_delivery=lambda error, _: failures.append(error) if error else None)
        assert producer.flush(30) == 0, "not all delivered"
        assert not failures, failures


def produce_large():
    producer = Producer({"bootstrap.servers": ADDRESS, "message.max.bytes": 12_000_000})
    settle(admin.create_topics([NewTopic(TOPIC + "-large", 1, 1, config={"max.message.bytes": "11000000"})]))
    failures = []
    producer.produce(TOPIC + "-large", value=b"x" * 10_485_760, on_delivery=lambda error, _: failures.append(error) if error else None)
    assert producer.flush(30) == 0 and not failures, failures
    consumer = new_consumer(GROUP + "-large", **{"fetch.message.max.bytes": 12_000_000})
    consumer.assign([TopicPartition(TOPIC + "-large", 0, 0)])
    assert len(read(consumer, 1)[0].value()) == 10_485_760
    consumer.close()


def consume_in_group():
    consumer = new_consumer(GROUP)
    consumer.subscribe([TOPIC])
    messages = read(consumer, TOTAL)
    assert len({m.key() for m in messages}) == TOTAL
    assert all(m.value() == m.key() * 30 for m in messages)
    assert messages[0].headers() == [("bytes", b"\xff\x00"), ("null", None), ("bytes", b"2")], messages[0].headers()
    for partition in range(3):
        offsets = [m.offset() for m in messages if m.partition() == partition]
        assert offsets == list(range(TOTAL // 3)), f"partition {partition}: {offsets[:10]}"
    consumer.commit(asynchronous=False)
    consumer.close()


def committed_offsets():
    consumer = new_consumer(GROUP)
    positions = consumer.committed([TopicPartition(TOPIC, p) for p in range(3)], 20)
    assert [p.offset for p in positions] == [TOTAL // 3] * 3, positions
    consumer.close()


def two_members_share():
    group = GROUP + "-two"
    for strategy in ("range", "cooperative-sticky"):
        members = [new_consumer(f"{group}-{strategy}", **{"partition.assignment.strategy": strategy}) for _ in range(2)]
        for member in members:
            member.subscribe([TOPIC])

        def shared():
            for member in members:
                member.poll(0.1)
            sizes = [len(member.assignment()) for member in members]
            return sum(sizes) == 3 and min(sizes) == 1

        eventually(f"both have partitions ({strategy})", shared, 40)
        for member in members:
            member.close()


def alter_configs():
    resource = ConfigResource(ResourceType.TOPIC, TOPIC)
    resource.add_incremental_config(ConfigEntry("retention.ms", "7654321", incremental_operation=AlterConfigOpType.SET))
    settle(admin.incremental_alter_configs([resource]))
    asked = ConfigResource(ResourceType.TOPIC, TOPIC)
    eventually("new value", lambda: settle(admin.describe_configs([asked]))[asked]["retention.ms"].value == "7654321")


def more_partitions():
    settle(admin.create_partitions([NewPartitions(TOPIC, 5)]))
    eventually("5 partitions", lambda: len(admin.list_topics(TOPIC, 5).topics[TOPIC].partitions) == 5)


def list_and_delete_offsets():
    first = TopicPartition(TOPIC, 0)
    assert admin.list_offsets({first: OffsetSpec.latest()})[first].result(20).offset == TOTAL // 3
    settle(admin.delete_records([TopicPartition(TOPIC, 0, 7)]))
    assert admin.list_offsets({first: OffsetSpec.earliest()})[first].result(20).offset == 7


def groups():
    assert GROUP in {g.group_id for g in admin.list_consumer_groups().result(20).valid}
    description = admin.describe_consumer_groups([GROUP])[GROUP].result(20)
    assert description.state.name == "EMPTY", description.state
    settle(admin.delete_consumer_groups([GROUP]))
    assert GROUP not in {g.group_id for g in admin.list_consumer_groups().result(20).valid}


def delete_topic():
    settle(admin.delete_topics([TOPIC]))
    eventually("topic gone", lambda: TOPIC not in admin.list_topics(timeout=5).topics)


run("confluent-kafka", [create_topic, create_topic_twice, produce_in_all_compressions, produce_large, consume_in_group, committed_offsets,
                        two_members_share, alter_configs, more_partitions, list_and_delete_offsets, groups, delete_topic])
