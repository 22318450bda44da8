"""What becomes of publishers beyond their rate. python rates.py AMQPS KAFKA CA: addresses, a file.

The server has the accounts `app`, without a bound, and `slow1` to `slow6`, each of which may publish
40 messages in a second: one a step, so that each begins with a second's worth. Nobody says how fast a machine is, so only what is too fast is a failure, and what is held
up that should not be."""

import ssl
import sys
import threading
import time

import amqp
import pika
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from kafka import KafkaProducer

amqps, kafka, ca = sys.argv[1:]
host, port = amqps.rsplit(":", 1)
RATE = 40
# Three seconds' worth: the first one goes at once, the others take as long as they have to.
COUNT = 3 * RATE
LEAST_S = 1.9


def connect(user):
    options = pika.SSLOptions(ssl.create_default_context(cafile=ca), host)
    login = pika.PlainCredentials(user, f"secret of {user}")
    return pika.BlockingConnection(
        pika.ConnectionParameters(host, int(port), ssl_options=options, credentials=login)
    )


def amqp_publisher_waits_for_its_confirms():
    connection = connect("slow1")
    channel = connection.channel()
    channel.queue_declare("app.confirmed", durable=True)
    channel.confirm_delivery()
    begun = time.monotonic()
    for _ in range(COUNT):
        channel.basic_publish("", "app.confirmed", b"message")
    took = time.monotonic() - begun
    assert took >= LEAST_S, f"{COUNT} confirms in {took} s"
    connection.close()


def amqp_publisher_is_not_read_and_consumers_notice_nothing():
    mine = connect("app").channel()
    mine.queue_declare("app.flood", durable=True)
    mine.queue_declare("app.full", durable=True)
    for _ in range(500):
        mine.basic_publish("", "app.full", b"message")
    while mine.queue_declare("app.full", passive=True).method.message_count < 500:
        time.sleep(0.01)
    publishing = connect("slow2")
    begun, ended = time.monotonic(), []

    def flood():
        channel = publishing.channel()
        for _ in range(COUNT):
            channel.basic_publish("", "app.flood", b"message")
        # It is answered once all of it is published.
        channel.queue_declare("app.flood", passive=True)
        ended.append(time.monotonic())

    thread = threading.Thread(target=flood)
    thread.start()
    # Of the same account, and ten times as many as it may publish.
    taking = connect("slow2")
    channel = taking.channel()
    channel.basic_qos(prefetch_count=1)
    for count, (method, _, _) in enumerate(channel.consume("app.full"), 1):
        channel.basic_ack(method.delivery_tag)
        if count == 500:
            break
    channel.cancel()
    came = mine.queue_declare("app.flood", passive=True).method.message_count
    after = time.monotonic() - begun
    # Whatever this machine took for that, no more than its rate was let in.
    assert came <= RATE * (after + 1) + 1, f"{came} messages in {after} s"
    thread.join()
    took = ended[0] - begun
    assert took >= LEAST_S, f"{COUNT} messages in {took} s"
    assert mine.queue_declare("app.flood", passive=True).method.message_count == COUNT
    assert mine.queue_declare("app.full", passive=True).method.message_count == 0
    taking.close()
    publishing.close()


def amqp_connection_that_does_both_is_told_and_read():
    """What it takes of one queue it publishes to another one, twice. It takes one at a time, so its
    acks have to go ahead of what waits to be published."""
    connection = connect("slow3")
    told = []
    connection.add_on_connection_blocked_callback(lambda _, frame: told.append(frame.method.reason))
    lifted = []
    connection.add_on_connection_unblocked_callback(lambda *_: lifted.append(True))
    channel = connection.channel()
    channel.basic_qos(prefetch_count=1)
    channel.queue_declare("app.from", durable=True)
    channel.queue_declare("app.to", durable=True)
    mine = connect("app").channel()
    for _ in range(COUNT):
        mine.basic_publish("", "app.from", b"message")
    taken = []

    def take(channel, method, _, body):
        channel.basic_publish("", "app.to", body)
        channel.basic_publish("", "app.to", body)
        channel.basic_ack(method.delivery_tag)
        taken.append(body)

    channel.basic_consume("app.from", take)
    published = lambda: mine.queue_declare("app.to", passive=True).method.message_count
    begun = time.monotonic()
    while len(taken) < COUNT:
        connection.process_data_events(0.05)
    before = published()
    assert before < 2 * COUNT, "what it took waited for what it published"
    while published() < 2 * COUNT or not lifted:
        connection.process_data_events(0.05)
        assert time.monotonic() < begun + 60, f"{published()} published, told {told}, {lifted}"
    took = time.monotonic() - begun
    assert took >= 2 * LEAST_S, f"{2 * COUNT} messages in {took} s"
    assert "account 'slow3' may publish 40 messages in a second" in told[0], told
    connection.close()


def amqp_client_that_closes_at_once_loses_nothing():
    """Without confirms, and without a close of its channel, which would wait for what it published:
    `py-amqp` closes its connection alone, and waits for the answer."""
    mine = connect("app").channel()
    mine.queue_declare("app.closed", durable=True)
    options = {"ca_certs": ca, "cert_reqs": ssl.CERT_REQUIRED, "server_hostname": "localhost"}
    connection = amqp.Connection(amqps, "slow6", "secret of slow6", ssl=options)
    connection.connect()
    channel = connection.channel()
    for _ in range(COUNT):
        channel.basic_publish(amqp.Message("message"), routing_key="app.closed")
    connection.close()
    count = mine.queue_declare("app.closed", passive=True).method.message_count
    assert count == COUNT, f"{count} messages"


def settings(user, **more):
    return {
        "bootstrap.servers": kafka,
        "security.protocol": "SASL_SSL",
        "ssl.ca.location": ca,
        "sasl.mechanism": "SCRAM-SHA-256",
        "sasl.username": user,
        "sasl.password": f"secret of {user}",
        **more,
    }


def kafka_producer_is_throttled_and_told():
    """A request a message, so that what is counted is known."""
    admin = AdminClient(settings("app"))
    admin.create_topics([NewTopic("app.slow", 1, 1)])["app.slow"].result(30)
    told = []
    one_by_one = {"linger.ms": 0, "batch.num.messages": 1, "throttle_cb": told.append}
    producer = Producer(settings("slow4", **one_by_one))
    begun = time.monotonic()
    for n in range(COUNT):
        producer.produce("app.slow", str(n).encode())
    producer.flush(60)
    took = time.monotonic() - begun
    assert took >= LEAST_S, f"{COUNT} requests in {took} s"
    assert any(event.throttle_time > 0 for event in told), told
    # Of the same account: nothing holds it up, though the rate is used up.
    group = {"group.id": "app.group", "auto.offset.reset": "earliest"}
    consumer = Consumer(settings("slow4", **group))
    consumer.subscribe(["app.slow"])
    values = []
    while len(values) < COUNT:
        message = consumer.poll(30)
        assert message is not None and message.error() is None, message
        values.append(message.value())
    assert values == [str(n).encode() for n in range(COUNT)], values
    consumer.commit(asynchronous=False)
    consumer.close()


def kafka_python_waits():
    producer = KafkaProducer(
        bootstrap_servers=kafka,
        security_protocol="SASL_SSL",
        ssl_cafile=ca,
        sasl_mechanism="SCRAM-SHA-256",
        sasl_plain_username="slow5",
        sasl_plain_password="secret of slow5",
    )
    begun = time.monotonic()
    for n in range(COUNT):
        producer.send("app.slow", str(n).encode()).get(timeout=60)
    took = time.monotonic() - begun
    assert took >= LEAST_S, f"{COUNT} requests in {took} s"
    producer.close()


for step in (
    amqp_publisher_waits_for_its_confirms,
    amqp_publisher_is_not_read_and_consumers_notice_nothing,
    amqp_connection_that_does_both_is_told_and_read,
    amqp_client_that_closes_at_once_loses_nothing,
    kafka_producer_is_throttled_and_told,
    kafka_python_waits,
):
    step()
    print("PASS", step.__name__, flush=True)
