"""Produces numbered messages, tells each that was acknowledged, and later checks that all of them are
there: `survive.py BOOTSTRAP produce TOPIC` until it is told to stop on standard input, printing
`ACK PARTITION OFFSET NUMBER`; `survive.py BOOTSTRAP check TOPIC` with those lines on standard input.
`transact` and `check-transactions` do so with transactions of two partitions: `ACK NUMBER OUTCOME`."""

import sys
import threading
import time

from confluent_kafka import (
    OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition,
)


def produce(bootstrap, topic):
    producer = Producer({
        "bootstrap.servers": bootstrap,
        "enable.idempotence": True,
        "delivery.timeout.ms": 120_000,
        "reconnect.backoff.max.ms": 200,
        "queue.buffering.max.messages": 200,
    })
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()

    def told(error, message):
        if error is None:
            print("ACK", message.partition(), message.offset(), message.value().decode(), flush=True)

    number = 0
    while not stop.is_set():
        try:
            producer.produce(topic, str(number).encode(), partition=number % 2, on_delivery=told)
            number += 1
        except BufferError:
            pass
        producer.poll(0.001)
    assert producer.flush(60) == 0, "not all were delivered"


def check(bootstrap, topic):
    acks = [line.split()[1:] for line in sys.stdin if line.startswith("ACK")]
    acked = {(int(partition), int(offset)): number for partition, offset, number in acks}
    assert len(acked) == len(acks), "an offset was given twice"
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "check"})
    for partition in (0, 1):
        _, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), 30)
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING)])
        numbers, until = [], time.monotonic() + 60
        while len(numbers) < end:
            assert time.monotonic() < until, f"{len(numbers)} of {end}"
            message = consumer.poll(0.5)
            if message is None:
                continue
            assert message.error() is None, message.error()
            assert message.offset() == len(numbers), "offsets have no holes"
            numbers.append(message.value().decode())
        for (of, offset), number in acked.items():
            if of == partition:
                assert offset < end, f"offset {offset} of {partition} was acknowledged and is lost"
                assert numbers[offset] == number, f"offset {offset} of {partition} has another value"
        values = [int(number) for number in numbers]
        assert values == sorted(set(values)), "in the order sent, none twice"
    consumer.close()
    print("OK", len(acked))


def ended(producer, commit):
    """Ends a transaction and answers how."""
    while True:
        try:
            if commit:
                producer.commit_transaction(10)
                return "committed"
            producer.abort_transaction(10)
            return "aborted"
        except KafkaException as error:
            why = error.args[0]
            if why.txn_requires_abort():
                commit = False
            elif not why.retriable():
                raise


def transact(bootstrap, topic):
    producer = Producer({
        "bootstrap.servers": bootstrap,
        "transactional.id": "survivor",
        "reconnect.backoff.max.ms": 200,
    })
    producer.init_transactions(30)
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    number = 0
    while not stop.is_set():
        producer.begin_transaction()
        for partition in (0, 1):
            producer.produce(topic, str(number).encode(), partition=partition)
        # What is aborted is there before: else it is never sent.
        producer.flush(60)
        print("ACK", number, ended(producer, number % 3 > 0), flush=True)
        number += 1


def check_transactions(bootstrap, topic):
    acks = [line.split()[1:] for line in sys.stdin if line.startswith("ACK")]
    committed = [number for number, outcome in acks if outcome == "committed"]
    consumer = Consumer({
        "bootstrap.servers": bootstrap,
        "group.id": "check",
        "isolation.level": "read_committed",
        "enable.partition.eof": True,
    })
    for partition in (0, 1):
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING)])
        numbers, until = [], time.monotonic() + 60
        while True:
            assert time.monotonic() < until, f"{len(numbers)} of {len(committed)}"
            message = consumer.poll(0.5)
            if message is None:
                continue
            if message.error() and message.error().code() == KafkaError._PARTITION_EOF:
                break
            assert message.error() is None, message.error()
            numbers.append(message.value().decode())
        assert numbers == committed, f"partition {partition}: {set(numbers) ^ set(committed)}"
    consumer.close()
    print("OK", len(committed))


ACTS = {
    "produce": produce,
    "check": check,
    "transact": transact,
    "check-transactions": check_transactions,
}
ACTS[sys.argv[2]](sys.argv[1], sys.argv[3])
