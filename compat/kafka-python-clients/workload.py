"""One client of a storm, by librdkafka: `workload.py BOOTSTRAP TOPIC PARTITIONS NAME WHAT`, where WHAT is
`send` (idempotent), `transact` (transactions that send, and read what others sent), `assign` or
`subscribe` (readers; the second in a group that others join and leave), `make` (the topic, with small
segments) or `final` (reads all partitions from the first event to the last). Each operation is a line of JSON on standard output, as
`tests/src/events.rs` reads it. It runs until standard input ends; the last two end by themselves."""

import json
import os
import random
import sys
import threading
import time
import zlib

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

BOOTSTRAP, TOPIC, PARTITIONS, NAME, WHAT = sys.argv[1:6]
PARTITIONS = int(PARTITIONS)
RANDOM = random.Random(NAME)
COMMON = {"bootstrap.servers": BOOTSTRAP, "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 200}

stop = threading.Event()
lock = threading.Lock()
numbers = iter(range(int(os.environ.get("FIRST", zlib.crc32(NAME.encode()) << 24)), 1 << 63))


def say(fate, steps, position=0):
    with lock:
        operation = {"process": NAME, "position": position, "fate": fate, "steps": steps}
        print(json.dumps(operation), flush=True)


def sent(partition, offset, value):
    return {"did": "send", "partition": partition, "offset": offset, "value": value}


def polled(messages):
    """Steps of what came, in its order, one for each partition in a row."""
    steps = []
    for message in messages:
        if message.error():
            continue
        if not steps or steps[-1]["partition"] != message.partition():
            steps.append({"did": "poll", "partition": message.partition(), "events": []})
        steps[-1]["events"].append([message.offset(), int(message.value())])
    return steps


def send():
    producer = Producer({**COMMON, "enable.idempotence": True, "linger.ms": 1, "message.timeout.ms": 120_000})

    def told(error, message):
        value = int(message.value())
        if error is None:
            say("ok", [sent(message.partition(), message.offset(), value)])
        else:
            say("info", [sent(message.partition(), None, value)])

    while not stop.is_set():
        for _ in range(RANDOM.randint(1, 20)):
            producer.produce(TOPIC, str(next(numbers)), partition=RANDOM.randrange(PARTITIONS), on_delivery=told)
        producer.poll(0.001)
        while len(producer) > 500:
            producer.poll(0.05)
    assert producer.flush(120) == 0, "not all were told of"


def watch(steps, position, since):
    """librdkafka waits for ever where its question for a group's coordinator was under way when the server died (see
    FINDINGS.md): the client begins anew then, with the numbers that follow."""
    while True:
        time.sleep(1)
        if time.monotonic() - since[0] > 15:
            say("info", steps[0], position[0])
            os.environ.update(FIRST=str(next(numbers)), POSITION=str(position[0]))
            os.execv(sys.executable, [sys.executable, *sys.argv])


def transact():
    """Each transaction is of one producer; whoever does not know how it ended takes a new one."""
    producer = consumer = None
    position = int(os.environ.get("POSITION", 0))
    watched = [[]], [position], [time.monotonic()]
    threading.Thread(target=watch, args=watched, daemon=True).start()
    while not stop.is_set():
        steps, fate = [], "fail"
        watched[0][0], watched[1][0], watched[2][0] = [], position, time.monotonic()
        try:
            if producer is None:
                position += 1
                # The same name: what its forerunner left open is ended.
                producer = Producer({**COMMON, "transactional.id": NAME, "transaction.timeout.ms": 20_000})
                producer.init_transactions(60)
                consumer = Consumer({**COMMON, "group.id": NAME, "isolation.level": "read_committed",
                                     "enable.auto.commit": False, "auto.offset.reset": "earliest"})
                consumer.assign([TopicPartition(TOPIC, it) for it in range(PARTITIONS)])
            producer.begin_transaction()
            told = {}
            # What is polled is told even where the transaction is aborted: it was read.
            came = [it for it in consumer.consume(10, 0.02) if not it.error()] if RANDOM.random() < 0.7 else []
            if came:
                say("ok", polled(came), position)
            sends = [(RANDOM.randrange(PARTITIONS), next(numbers)) for _ in range(RANDOM.randint(1, 8))]
            steps = watched[0][0] = [sent(partition, None, value) for partition, value in sends]
            for partition, value in sends:
                producer.produce(TOPIC, str(value), partition=partition,
                                 on_delivery=lambda error, it: told.update(
                                     {} if error else {int(it.value()): it.offset()}))
            if came:
                offsets = consumer.position(consumer.assignment())
                producer.send_offsets_to_transaction(
                    [it for it in offsets if it.offset >= 0], consumer.consumer_group_metadata(), 30)
            producer.flush(30)
            steps = [sent(partition, told.get(value), value) for partition, value in sends]
            if RANDOM.random() < 0.25:
                producer.abort_transaction(60)
            else:
                fate = "info"
                producer.commit_transaction(60)
                fate = "ok"
        except KafkaException as error:
            inner = error.args[0]
            print(f"{time.time():.3f} {fate} {inner}", file=sys.stderr, flush=True)
            if fate == "info" and inner.txn_requires_abort():
                fate = "fail"
            try:
                producer.abort_transaction(60)
            except KafkaException:
                fate = "info"
                producer = None
                consumer.close()
        if steps:
            # In the order in which they were sent to each partition.
            say(fate, sorted(steps, key=lambda it: (it["partition"], it["value"])), position)


def read():
    position = 0
    while not stop.is_set():
        position += 1
        consumer = Consumer({**COMMON, "group.id": "readers" if WHAT == "subscribe" else NAME,
                             "isolation.level": "read_committed", "auto.offset.reset": "earliest",
                             "session.timeout.ms": 6000, "auto.commit.interval.ms": 100})
        moved = []
        if WHAT == "subscribe":
            consumer.subscribe([TOPIC], on_assign=lambda *_: moved.append(1), on_revoke=lambda *_: moved.append(1))
        else:
            consumer.assign([TopicPartition(TOPIC, it, OFFSET_BEGINNING) for it in range(PARTITIONS)])
        until = time.monotonic() + RANDOM.uniform(2, 10)
        while not stop.is_set() and time.monotonic() < until:
            came = consumer.consume(RANDOM.randint(1, 200), 0.05)
            if moved:
                position += 1
                moved.clear()
            steps = polled(came)
            if steps:
                say("ok", steps, position)
        if RANDOM.random() < 0.7:
            consumer.close()


def make():
    topic = NewTopic(TOPIC, PARTITIONS, 1, config={"segment.bytes": "20000"})
    admin = AdminClient(COMMON)
    admin.create_topics([topic])[TOPIC].result(30)


def final():
    consumer = Consumer({**COMMON, "group.id": "final", "isolation.level": "read_committed",
                         "enable.partition.eof": True})
    consumer.assign([TopicPartition(TOPIC, it, OFFSET_BEGINNING) for it in range(PARTITIONS)])
    # The end of all events. What is committed ends before it for as long as a transaction is open.
    every = Consumer({**COMMON, "group.id": "final", "isolation.level": "read_uncommitted"})
    ends = [every.get_watermark_offsets(TopicPartition(TOPIC, it), 30)[1] for it in range(PARTITIONS)]
    left, until = set(range(PARTITIONS)), time.monotonic() + 120
    while left:
        assert time.monotonic() < until, f"partitions {left} do not end"
        came = consumer.consume(500, 0.2)
        ended = {it.partition(): it.offset() for it in came
                 if it.error() and it.error().code() == KafkaError._PARTITION_EOF}
        left -= {it for it, at in ended.items() if at >= ends[it]}
        steps = polled(came)
        if steps:
            say("ok", steps)
    consumer.close()


threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
{"send": send, "transact": transact, "assign": read, "subscribe": read, "make": make, "final": final}[WHAT]()
