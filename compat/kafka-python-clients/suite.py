"""Unmodified Kafka clients in Python against a broker: confluent-kafka (librdkafka), kafka-python,
aiokafka. Each check is a function; `suite.py BOOTSTRAP [NAME...]` runs them all, or those named, and
says PASS or FAIL for each. It knows nothing of which broker it talks to."""

import asyncio
import sys
import time
import traceback
import uuid

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka import TopicPartition as AioTopicPartition
from confluent_kafka import (
    OFFSET_BEGINNING, Consumer, ConsumerGroupType, KafkaException, Producer, TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic,
)
import kafka

PATIENCE = 30
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]


class Broker:
    def __init__(self, bootstrap):
        self.bootstrap = bootstrap
        self.admin = AdminClient({"bootstrap.servers": bootstrap})

    def topic(self, partitions=1, **config):
        name = "t-" + uuid.uuid4().hex
        new = NewTopic(name, partitions, 1, config=config)
        self.admin.create_topics([new])[name].result(PATIENCE)
        return name

    def producer(self, **config):
        return Producer({"bootstrap.servers": self.bootstrap, **config})

    def consumer(self, group=None, **config):
        return Consumer({
            "bootstrap.servers": self.bootstrap,
            "group.id": group or "g-" + uuid.uuid4().hex,
            "auto.offset.reset": "earliest",
            "session.timeout.ms": 6000,
            "enable.auto.commit": False,
            **config,
        })


def take(consumer, count, patience=PATIENCE):
    """Polls until there are so many messages."""
    found, until = [], time.monotonic() + patience
    while len(found) < count:
        assert time.monotonic() < until, f"{len(found)} of {count} messages"
        message = consumer.poll(0.2)
        if message is None:
            continue
        if message.error():
            raise KafkaException(message.error())
        found.append(message)
    return found


def produce(producer, topic, values, **kwargs):
    """Produces and answers what was delivered, in order."""
    delivered = []

    def told(error, message):
        assert error is None, error
        delivered.append((message.partition(), message.offset()))

    for value in values:
        producer.produce(topic, value, on_delivery=told, **kwargs)
        producer.poll(0)
    assert producer.flush(PATIENCE) == 0
    return delivered


def read_all(broker, topic, count, partition=0):
    consumer = broker.consumer()
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING)])
    found = take(consumer, count)
    consumer.close()
    return found


def check_produce_and_consume(broker):
    topic = broker.topic()
    values = [b"v%d" % n for n in range(500)]
    delivered = produce(broker.producer(), topic, values, key=b"k", headers=[("h", b"1"), ("h", b"2")])
    assert [offset for _, offset in delivered] == list(range(500)), delivered[:5]
    found = read_all(broker, topic, 500)
    assert [message.value() for message in found] == values
    assert [message.offset() for message in found] == list(range(500))
    assert found[0].key() == b"k" and found[0].headers() == [("h", b"1"), ("h", b"2")]


def check_every_codec_comes_back(broker):
    topic = broker.topic()
    values = []
    for codec in CODECS:
        own = [codec.encode() * 50 + b"%d" % n for n in range(50)]
        produce(broker.producer(**{"compression.type": codec, "linger.ms": 20}), topic, own)
        values += own
    assert [message.value() for message in read_all(broker, topic, len(values))] == values


def check_reading_from_the_middle_of_a_batch(broker):
    topic = broker.topic()
    produce(broker.producer(**{"linger.ms": 100}), topic, [b"%d" % n for n in range(100)])
    consumer = broker.consumer()
    consumer.assign([TopicPartition(topic, 0, 57)])
    assert [message.value() for message in take(consumer, 43)] == [b"%d" % n for n in range(57, 100)]
    assert consumer.get_watermark_offsets(TopicPartition(topic, 0), PATIENCE) == (0, 100)
    consumer.close()


def check_offsets_by_time(broker):
    topic = broker.topic()
    producer = broker.producer()
    for n in range(10):
        produce(producer, topic, [b"x"], timestamp=1_000_000 + 1000 * n)
    consumer = broker.consumer()
    asked = [TopicPartition(topic, 0, 1_004_500)]
    assert consumer.offsets_for_times(asked, PATIENCE)[0].offset == 5
    late = consumer.offsets_for_times([TopicPartition(topic, 0, 9_000_000)], PATIENCE)[0].offset
    assert late in (-1, 10), late
    consumer.close()


def check_idempotent_producer(broker):
    topic = broker.topic(3)
    producer = broker.producer(**{"enable.idempotence": True})
    delivered = produce(producer, topic, [b"%d" % n for n in range(3000)])
    assert len(set(delivered)) == 3000


def check_message_too_large_is_refused(broker):
    topic = broker.topic(**{"max.message.bytes": "2000"})
    producer = broker.producer()
    errors = []
    producer.produce(topic, b"x" * 5000, on_delivery=lambda error, _: errors.append(error))
    producer.flush(PATIENCE)
    assert errors[0] is not None and errors[0].name() == "MSG_SIZE_TOO_LARGE", errors


def check_groups_share_partitions_and_go_on_from_what_was_committed(broker):
    topic, group = broker.topic(4), "g-" + uuid.uuid4().hex
    producer = broker.producer()
    for partition in range(4):
        produce(producer, topic, [b"%d" % n for n in range(25)], partition=partition)
    first = broker.consumer(group)
    first.subscribe([topic])
    found = take(first, 100)
    assert len({(m.partition(), m.offset()) for m in found}) == 100
    first.commit(asynchronous=False)
    assert len(first.assignment()) == 4
    second = broker.consumer(group)
    second.subscribe([topic])
    until = time.monotonic() + PATIENCE
    while not (len(first.assignment()) == 2 and len(second.assignment()) == 2):
        assert time.monotonic() < until, (first.assignment(), second.assignment())
        for consumer in (first, second):
            message = consumer.poll(0.1)
            assert message is None or message.error() is None
    for partition in range(4):
        produce(producer, topic, [b"more"], partition=partition)
    more = []
    while len(more) < 4:
        assert time.monotonic() < until + PATIENCE
        more += [m for m in (first.poll(0.1), second.poll(0.1)) if m is not None]
    assert sorted((m.partition(), m.offset()) for m in more) == [(p, 25) for p in range(4)]
    first.close()
    until = time.monotonic() + PATIENCE
    while len(second.assignment()) < 4:
        assert time.monotonic() < until
        second.poll(0.1)
    listed = broker.admin.list_consumer_groups().result(PATIENCE).valid
    assert group in [one.group_id for one in listed]
    described = broker.admin.describe_consumer_groups([group])[group].result(PATIENCE)
    assert len(described.members) == 1 and described.state.name == "STABLE", described.state
    second.close()
    third = broker.consumer(group)
    asked = [TopicPartition(topic, partition) for partition in range(4)]
    assert sum(tp.offset for tp in third.committed(asked, PATIENCE)) >= 100
    third.close()


def check_groups_whose_coordinator_assigns(broker):
    topic, group = broker.topic(4), "g-" + uuid.uuid4().hex

    def member(**config):
        consumer = Consumer({
            "bootstrap.servers": broker.bootstrap,
            "group.id": group,
            "group.protocol": "consumer",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            **config,
        })
        consumer.subscribe([topic])
        return consumer

    def until(consumers, counts, patience=60):
        """Polls until each has so many partitions."""
        found, end = [], time.monotonic() + patience
        while [len(it.assignment()) for it in consumers] != counts:
            assert time.monotonic() < end, [it.assignment() for it in consumers]
            for consumer in consumers:
                message = consumer.poll(0.2)
                if message is not None and not message.error():
                    found.append(message)
        return found

    one = member()
    until([one], [4])
    for partition in range(4):
        produce(broker.producer(), topic, [b"%d" % n for n in range(10)], partition=partition)
    found = take(one, 40)
    assert len({(it.partition(), it.offset()) for it in found}) == 40
    one.commit(asynchronous=False)
    two = member()
    until([one, two], [2, 2])
    shared = {it.partition for consumer in (one, two) for it in consumer.assignment()}
    assert shared == {0, 1, 2, 3}, shared
    told = broker.admin.describe_consumer_groups([group])[group].result(PATIENCE)
    assert len(told.members) == 2, told
    listed = broker.admin.list_consumer_groups(types={ConsumerGroupType.CONSUMER})
    assert group in [it.group_id for it in listed.result(PATIENCE).valid]
    for partition in range(4):
        produce(broker.producer(), topic, [b"later"], partition=partition)
    rest = {}
    end = time.monotonic() + PATIENCE
    while len(rest) < 4:
        assert time.monotonic() < end, rest
        for consumer in (one, two):
            message = consumer.poll(0.2)
            if message is not None and not message.error():
                assert message.value() == b"later", "what was committed is read again"
                rest[message.partition()] = consumer
    one.commit(asynchronous=False)
    one.close()
    until([two], [4])
    two.commit(asynchronous=False)
    two.close()
    # The offsets are those of the group, whoever reads on.
    consumer = broker.consumer(group)
    committed = consumer.committed([TopicPartition(topic, n) for n in range(4)], PATIENCE)
    assert [it.offset for it in committed] == [11] * 4, committed
    consumer.close()


def check_offsets_keep_their_metadata(broker):
    topic, group = broker.topic(), "g-" + uuid.uuid4().hex
    consumer = broker.consumer(group)
    produce(broker.producer(), topic, [b"x"])
    consumer.commit(offsets=[TopicPartition(topic, 0, 1, metadata="note")], asynchronous=False)
    [committed] = consumer.committed([TopicPartition(topic, 0)], PATIENCE)
    assert (committed.offset, committed.metadata) == (1, "note"), committed
    consumer.close()
    broker.admin.delete_consumer_groups([group])[group].result(PATIENCE)


def check_admin(broker):
    admin, topic = broker.admin, broker.topic(2, **{"retention.ms": "3600000"})
    try:
        admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(PATIENCE)
        raise AssertionError("it exists")
    except KafkaException as error:
        assert error.args[0].name() == "TOPIC_ALREADY_EXISTS", error
    admin.create_partitions([NewPartitions(topic, 5)])[topic].result(PATIENCE)
    until = time.monotonic() + PATIENCE
    while len(admin.list_topics(topic, PATIENCE).topics[topic].partitions) != 5:
        assert time.monotonic() < until
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    config = admin.describe_configs([resource])[resource].result(PATIENCE)
    assert config["retention.ms"].value == "3600000" and config["cleanup.policy"].value == "delete"
    entry = ConfigEntry("retention.ms", "7200000", incremental_operation=AlterConfigOpType.SET)
    change = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
    admin.incremental_alter_configs([change])[change].result(PATIENCE)
    config = admin.describe_configs([resource])[resource].result(PATIENCE)
    assert config["retention.ms"].value == "7200000"
    produce(broker.producer(), topic, [b"%d" % n for n in range(10)], partition=0)
    deleted = admin.delete_records([TopicPartition(topic, 0, 4)])
    [result] = [future.result(PATIENCE) for future in deleted.values()]
    assert result.low_watermark == 4
    assert read_all(broker, topic, 6)[0].offset() == 4
    admin.delete_topics([topic])[topic].result(PATIENCE)
    until = time.monotonic() + PATIENCE
    while topic in admin.list_topics(timeout=PATIENCE).topics:
        assert time.monotonic() < until
    assert admin.describe_cluster().result(PATIENCE).cluster_id


def check_topics_are_created_when_asked_for(broker):
    topic = "auto-" + uuid.uuid4().hex
    produce(broker.producer(), topic, [b"x"])
    assert broker.admin.list_topics(topic, PATIENCE).topics[topic].partitions


def check_kafka_python(broker):
    topic = broker.topic(2)
    producer = kafka.KafkaProducer(bootstrap_servers=broker.bootstrap, compression_type="gzip")
    sent = [producer.send(topic, b"%d" % n, partition=n % 2) for n in range(100)]
    assert [one.get(PATIENCE).offset for one in sent] == [n // 2 for n in range(100)]
    producer.close()
    consumer = kafka.KafkaConsumer(
        topic, bootstrap_servers=broker.bootstrap, group_id="g-" + uuid.uuid4().hex,
        auto_offset_reset="earliest", consumer_timeout_ms=PATIENCE * 1000)
    found = []
    for message in consumer:
        found.append(int(message.value))
        if len(found) == 100:
            break
    assert sorted(found) == list(range(100))
    consumer.commit()
    consumer.close()


def check_aiokafka(broker):
    topic = broker.topic(2)

    async def run():
        producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap, enable_idempotence=True)
        await producer.start()
        for n in range(50):
            await producer.send_and_wait(topic, b"%d" % n)
        await producer.stop()
        consumer = AIOKafkaConsumer(
            topic, bootstrap_servers=broker.bootstrap, group_id="g-" + uuid.uuid4().hex,
            auto_offset_reset="earliest")
        await consumer.start()
        found = [int((await asyncio.wait_for(consumer.getone(), PATIENCE)).value) for _ in range(50)]
        await consumer.commit()
        await consumer.stop()
        assert sorted(found) == list(range(50))

    asyncio.run(run())


def transactional(broker, id=None, **config):
    producer = broker.producer(**{"transactional.id": id or "x-" + uuid.uuid4().hex, **config})
    producer.init_transactions(PATIENCE)
    return producer


def values_of(broker, topic, count, isolation="read_committed", partition=0):
    """The first values that such a reader sees."""
    consumer = broker.consumer(**{"isolation.level": isolation})
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING)])
    found = [message.value() for message in take(consumer, count)]
    consumer.close()
    return found


def check_a_transaction_is_seen_whole_or_not_at_all(broker):
    topic = broker.topic(2)
    producer = transactional(broker)
    for commit in [False, True, False, True]:
        producer.begin_transaction()
        for n in range(20):
            producer.produce(topic, b"%s %d" % (str(commit).encode(), n), partition=n % 2)
        assert producer.flush(PATIENCE) == 0
        if commit:
            producer.commit_transaction(PATIENCE)
        else:
            producer.abort_transaction(PATIENCE)
    for partition in (0, 1):
        kept = [b"True %d" % n for n in range(partition, 20, 2)] * 2
        found = values_of(broker, topic, len(kept), partition=partition)
        assert found == kept, found
        every = values_of(broker, topic, 40, "read_uncommitted", partition)
        assert every.count(b"False %d" % partition) == 2, every


def check_readers_of_committed_events_wait_for_what_is_open(broker):
    topic = broker.topic()
    producer = transactional(broker)
    producer.begin_transaction()
    produce(producer, topic, [b"open"])
    produce(broker.producer(), topic, [b"after"])
    consumer = broker.consumer(**{"isolation.level": "read_committed"})
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    until = time.monotonic() + 2
    while time.monotonic() < until:
        message = consumer.poll(0.2)
        assert message is None or message.error(), message.value()
    assert values_of(broker, topic, 2, "read_uncommitted") == [b"open", b"after"]
    producer.commit_transaction(PATIENCE)
    assert [message.value() for message in take(consumer, 2)] == [b"open", b"after"]
    consumer.close()


def check_offsets_are_committed_with_the_events(broker):
    source, target = broker.topic(), broker.topic()
    produce(broker.producer(), source, [b"%d" % n for n in range(30)])
    group = "g-" + uuid.uuid4().hex
    consumer = broker.consumer(group, **{"isolation.level": "read_committed"})
    consumer.subscribe([source])
    producer = transactional(broker)
    for commit in [True, False]:
        messages = take(consumer, 15)
        producer.begin_transaction()
        for message in messages:
            producer.produce(target, message.value())
        producer.send_offsets_to_transaction(
            consumer.position(consumer.assignment()), consumer.consumer_group_metadata(), PATIENCE)
        if commit:
            producer.commit_transaction(PATIENCE)
        else:
            producer.abort_transaction(PATIENCE)
    assert consumer.committed([TopicPartition(source, 0)], PATIENCE)[0].offset == 15
    consumer.close()
    assert values_of(broker, target, 15) == [b"%d" % n for n in range(15)]


def check_an_older_producer_of_the_same_id_is_fenced(broker):
    topic, id = broker.topic(), "x-" + uuid.uuid4().hex
    older = transactional(broker, id)
    older.begin_transaction()
    produce(older, topic, [b"older"])
    newer = transactional(broker, id)
    newer.begin_transaction()
    produce(newer, topic, [b"newer"])
    try:
        older.commit_transaction(PATIENCE)
        raise AssertionError("the older one has committed")
    except KafkaException as error:
        assert error.args[0].fatal(), error
    newer.commit_transaction(PATIENCE)
    assert values_of(broker, topic, 1) == [b"newer"]


def check_a_transaction_that_hangs_is_aborted(broker):
    topic = broker.topic()
    hung = transactional(broker, **{"transaction.timeout.ms": 2000})
    hung.begin_transaction()
    produce(hung, topic, [b"hung"])
    produce(broker.producer(), topic, [b"after"])
    # Kafka looks for them every 10 s.
    assert values_of(broker, topic, 1) == [b"after"]
    try:
        hung.commit_transaction(PATIENCE)
        raise AssertionError("what hung was committed")
    except KafkaException:
        pass


def check_a_transaction_may_not_take_for_ever(broker):
    try:
        transactional(broker, **{"transaction.timeout.ms": 2147483647, "message.timeout.ms": 5000})
        raise AssertionError("it may")
    except KafkaException as error:
        assert error.args[0].name() == "INVALID_TRANSACTION_TIMEOUT", error


def check_transactions_of_kafka_python(broker):
    topic = broker.topic()
    producer = kafka.KafkaProducer(
        bootstrap_servers=broker.bootstrap, transactional_id="x-" + uuid.uuid4().hex)
    producer.init_transactions()
    for commit in [False, True]:
        producer.begin_transaction()
        for n in range(10):
            producer.send(topic, b"%s %d" % (str(commit).encode(), n))
        producer.flush()
        if commit:
            producer.commit_transaction()
        else:
            producer.abort_transaction()
    producer.close()
    consumer = kafka.KafkaConsumer(
        topic, bootstrap_servers=broker.bootstrap, isolation_level="read_committed",
        auto_offset_reset="earliest", consumer_timeout_ms=PATIENCE * 1000)
    found = []
    for message in consumer:
        found.append(message.value)
        if len(found) == 10:
            break
    consumer.close()
    assert found == [b"True %d" % n for n in range(10)], found


def check_transactions_of_aiokafka(broker):
    source, target, group = broker.topic(), broker.topic(), "g-" + uuid.uuid4().hex

    async def run():
        producer = AIOKafkaProducer(
            bootstrap_servers=broker.bootstrap, transactional_id="x-" + uuid.uuid4().hex)
        await producer.start()
        for commit in [False, True]:
            await producer.begin_transaction()
            for n in range(10):
                await producer.send_and_wait(target, b"%s %d" % (str(commit).encode(), n))
            where = {AioTopicPartition(source, 0): 5 if commit else 3}
            await producer.send_offsets_to_transaction(where, group)
            if commit:
                await producer.commit_transaction()
            else:
                await producer.abort_transaction()
        await producer.stop()
        consumer = AIOKafkaConsumer(
            target, bootstrap_servers=broker.bootstrap, isolation_level="read_committed",
            auto_offset_reset="earliest")
        await consumer.start()
        found = [(await asyncio.wait_for(consumer.getone(), PATIENCE)).value for _ in range(10)]
        await consumer.stop()
        assert found == [b"True %d" % n for n in range(10)], found

    asyncio.run(run())
    consumer = broker.consumer(group)
    assert consumer.committed([TopicPartition(source, 0)], PATIENCE)[0].offset == 5
    consumer.close()


def check_admins_see_transactions_and_producers(broker):
    topic, id = broker.topic(2), "x-" + uuid.uuid4().hex
    place = kafka.TopicPartition(topic, 1)
    admin = kafka.KafkaAdminClient(bootstrap_servers=broker.bootstrap)
    try:
        producer = transactional(broker, id, **{"transaction.timeout.ms": 50_000})

        def told():
            return admin.describe_transactions([id])[id]

        def states(**filters):
            listed = [it for all in admin.list_transactions(**filters).values() for it in all]
            return [(it.producer_id, it.state.value) for it in listed if it.transactional_id == id]

        def at_partition():
            producers = admin.describe_producers([place])[place].active_producers
            return [it for it in producers if it.producer_id == told().producer_id]

        empty = told()
        assert empty.state.value == "Empty", empty
        assert empty.transaction_timeout_ms == 50_000 and not empty.topic_partitions, empty
        before = int(time.time() * 1000)
        producer.begin_transaction()
        for n in range(3):
            producer.produce(topic, b"%d" % n, partition=1)
        assert producer.flush(PATIENCE) == 0
        open_one = told()
        assert open_one.state.value == "Ongoing", open_one
        assert open_one.topic_partitions == {place}, open_one
        assert before - 1000 <= open_one.transaction_start_time_ms <= time.time() * 1000 + 1000
        listed = [(open_one.producer_id, "Ongoing")]
        assert states() == states(state_filters=["Ongoing"]) == listed, states()
        assert states(producer_id_filters=[open_one.producer_id]) == listed
        assert states(producer_id_filters=[open_one.producer_id + 1]) == []
        assert states(state_filters=["Empty"]) == []
        assert states(duration_filter_ms=3_600_000) == []
        (one,) = at_partition()
        assert one.last_sequence == 2 and one.current_transaction_start_offset == 0, one
        assert one.producer_epoch == open_one.producer_epoch, one
        producer.commit_transaction(PATIENCE)
        ended = told()
        while ended.state.value == "PrepareCommit":
            ended = told()
        assert ended.state.value == "CompleteCommit" and not ended.topic_partitions, ended
        (one,) = at_partition()
        assert one.current_transaction_start_offset == -1, one
        try:
            admin.describe_transactions(["nobody-" + id])
            raise AssertionError("a transactional id that nobody has is described")
        except kafka.errors.TransactionalIdNotFoundError:
            pass
    finally:
        admin.close()


def main():
    broker, only = Broker(sys.argv[1]), sys.argv[2:]
    checks = {name[6:]: check for name, check in globals().items() if name.startswith("check_")}
    failed = 0
    for name, check in checks.items():
        if only and name not in only:
            continue
        begun = time.monotonic()
        try:
            check(broker)
            print(f"PASS {name} ({time.monotonic() - begun:.1f} s)", flush=True)
        except Exception:
            failed += 1
            print(f"FAIL {name}", flush=True)
            traceback.print_exc()
    sys.exit(1 if failed else 0)


main()
