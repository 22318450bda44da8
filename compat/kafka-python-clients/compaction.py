"""Writes keys, tombstones and transactions to a compacted topic, has its files closed, and waits until
what is left is what the rules of Kafka's log cleaner leave: `compaction.py BOOTSTRAP` says PASS, or
what is left instead. It knows nothing of which broker it talks to; Kafka passes with
`log.cleaner.backoff.ms=200`. `write`, `look` and `gone` are its steps, for who restarts the broker
in between."""

import sys
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic

PATIENCE = 60
TOPIC = "compaction"
# By the times of events files are closed, so these say when; markers have the time of the clock.
TIME = int(time.time() * 1000)
APART = 100_000
TOMBSTONE_MS = 1000


def create(bootstrap):
    admin = AdminClient({"bootstrap.servers": bootstrap})
    config = {
        "cleanup.policy": "compact",
        "segment.ms": "10000",
        "min.cleanable.dirty.ratio": "0.0",
        "delete.retention.ms": str(TOMBSTONE_MS),
    }
    admin.create_topics([NewTopic(TOPIC, 1, 1, config=config)])[TOPIC].result(PATIENCE)
    resource = ConfigResource("topic", TOPIC)
    told = admin.describe_configs([resource])[resource].result(PATIENCE)
    assert told["cleanup.policy"].value == "compact", told["cleanup.policy"]


def producer(bootstrap, **config):
    return Producer({"bootstrap.servers": bootstrap, "linger.ms": 0, **config})


def send(sender, pairs, at):
    for key, value in pairs:
        sender.produce(TOPIC, value, key, timestamp=TIME + at, partition=0)
    assert sender.flush(PATIENCE) == 0


def write(bootstrap):
    create(bootstrap)
    refused = []
    keyless = producer(bootstrap)
    keyless.produce(TOPIC, "no key", on_delivery=lambda error, _: refused.append(error))
    keyless.flush(PATIENCE)
    assert refused[0].code() == KafkaError.INVALID_RECORD, refused
    at = 0
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"]:
        sender = producer(bootstrap, **{"compression.type": codec, "linger.ms": 50})
        value = codec + "-" + "x" * 200
        send(sender, [(f"k{n}", value) for n in range(4)] + [(codec, value)], at)
        at += 1
    sender = producer(bootstrap, **{"transactional.id": "compacts"})
    sender.init_transactions(PATIENCE)
    for number, ends in enumerate([sender.commit_transaction, sender.abort_transaction] * 2):
        sender.begin_transaction()
        send(sender, [("k0", f"transaction {number}"), (f"t{number}", "1")], at)
        ends(PATIENCE)
        at += 1
    send(producer(bootstrap), [("gzip", None), ("none", None), ("k1", "last")], at)
    send(producer(bootstrap), [("closes", "the file")], APART)


def read(bootstrap):
    """Offsets, keys and beginnings of values that a reader of committed events sees, to the end."""
    consumer = Consumer({
        "bootstrap.servers": bootstrap, "group.id": "reads", "enable.auto.commit": False,
        "isolation.level": "read_committed", "enable.partition.eof": True,
    })
    consumer.assign([TopicPartition(TOPIC, 0, 0)])
    found, until = [], time.monotonic() + PATIENCE
    while True:
        assert time.monotonic() < until, f"no end after {found}"
        message = consumer.poll(0.2)
        if message is None:
            continue
        if message.error():
            if message.error().code() != KafkaError._PARTITION_EOF:
                raise KafkaException(message.error())
            low, high = consumer.get_watermark_offsets(TopicPartition(TOPIC, 0), PATIENCE)
            position = consumer.position([TopicPartition(TOPIC, 0)])[0].offset
            consumer.close()
            return found, (low, high, position)
        value = message.value() and message.value().decode().split("-x")[0]
        found.append((message.offset(), message.key().decode(), value))


# 25 events of the codecs, then four transactions of two events and a marker each.
LEFT = [
    (14, "snappy", "snappy"), (19, "lz4", "lz4"), (22, "k2", "zstd"), (23, "k3", "zstd"),
    (24, "zstd", "zstd"), (26, "t0", "1"), (31, "k0", "transaction 2"), (32, "t2", "1"),
]
TOMBSTONES = [(37, "gzip", None), (38, "none", None)]
AFTER = [(39, "k1", "last"), (40, "closes", "the file")]


def expect(bootstrap, expected):
    until = time.monotonic() + PATIENCE
    while True:
        found, ends = read(bootstrap)
        if found == expected:
            return ends
        assert time.monotonic() < until, f"left is {found}, not {expected}"
        time.sleep(0.3)


def look(bootstrap):
    low, high, position = expect(bootstrap, LEFT + TOMBSTONES + AFTER)
    assert (low, high, position) == (0, 41, 41), (low, high, position)


def close_another(bootstrap):
    time.sleep(TOMBSTONE_MS / 1000)
    send(producer(bootstrap), [("closes", "another")], 2 * APART)


def gone(bootstrap):
    expect(bootstrap, LEFT + AFTER + [(41, "closes", "another")])


if __name__ == "__main__":
    steps = {"write": write, "look": look, "close": close_another, "gone": gone}
    for step in sys.argv[2:] or steps:
        steps[step](sys.argv[1])
    print("PASS compaction")
