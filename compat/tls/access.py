"""How clients log in. python access.py AMQPS KAFKA CA CERTIFICATE KEY: addresses, and files.

The server has the accounts `app` (password `secret of app`, publishes to and consumes `app*`, and
declares them), `reader` (password `secret of reader`, consumes `app*`), and one for the
certificate."""

import ssl
import sys

import amqp
import pika
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from kafka import KafkaConsumer, KafkaProducer
from pika.exceptions import ChannelClosedByBroker, ProbableAuthenticationError

amqps, kafka, ca, certificate, key = sys.argv[1:]
host, port = amqps.rsplit(":", 1)


def connect(credentials, with_certificate=False):
    context = ssl.create_default_context(cafile=ca)
    if with_certificate:
        context.load_cert_chain(certificate, key)
    options = pika.SSLOptions(context, host)
    parameters = pika.ConnectionParameters(
        host, int(port), ssl_options=options, credentials=credentials
    )
    return pika.BlockingConnection(parameters)


def refused(kind, text, call):
    try:
        call()
    except kind as error:
        assert text in str(error), error
    else:
        raise AssertionError(f"not refused: {text}")


def amqp_by_password():
    wrong = pika.PlainCredentials("app", "wrong")
    refused(ProbableAuthenticationError, "ACCESS_REFUSED", lambda: connect(wrong))
    guest = pika.PlainCredentials("guest", "guest")
    refused(ProbableAuthenticationError, "ACCESS_REFUSED", lambda: connect(guest))
    connection = connect(pika.PlainCredentials("app", "secret of app"))
    channel = connection.channel()
    channel.queue_declare("app.tasks", durable=True)
    channel.confirm_delivery()
    channel.basic_publish("", "app.tasks", b"hello")
    text = "configure access to queue 'other' in vhost '/' refused for user 'app'"
    refused(ChannelClosedByBroker, text, lambda: connection.channel().queue_declare("other"))
    text = "write access to queue 'other' in vhost '/' refused for user 'app'"
    channel = connection.channel()
    channel.confirm_delivery()
    refused(ChannelClosedByBroker, text, lambda: channel.basic_publish("", "other", b"no"))
    connection.close()
    connection = connect(pika.PlainCredentials("reader", "secret of reader"))
    channel = connection.channel()
    _, _, body = channel.basic_get("app.tasks", auto_ack=True)
    assert body == b"hello", body
    text = "write access to queue 'app.tasks' in vhost '/' refused for user 'reader'"
    channel.confirm_delivery()
    refused(ChannelClosedByBroker, text, lambda: channel.basic_publish("", "app.tasks", b"no"))
    connection.close()


def amqp_by_certificate():
    connection = connect(pika.credentials.ExternalCredentials(), with_certificate=True)
    connection.channel().queue_declare("app.certified", durable=True)
    connection.close()


def amqplain():
    options = {"ca_certs": ca, "cert_reqs": ssl.CERT_REQUIRED, "server_hostname": "localhost"}
    login = {"login_method": "AMQPLAIN", "ssl": options}
    with amqp.Connection(amqps, "app", "secret of app", **login) as connection:
        connection.channel().queue_declare("app.plain", durable=True, auto_delete=False)
    try:
        amqp.Connection(amqps, "app", "wrong", **login).connect()
    except amqp.exceptions.AccessRefused:
        pass
    else:
        raise AssertionError("a wrong password is let in")


def settings(mechanism, user, password, **more):
    return {
        "bootstrap.servers": kafka,
        "security.protocol": "SASL_SSL",
        "ssl.ca.location": ca,
        "sasl.mechanism": mechanism,
        "sasl.username": user,
        "sasl.password": password,
        "log_level": 0,
        **more,
    }


def by_confluent(mechanism):
    app = settings(mechanism, "app", "secret of app")
    admin = AdminClient(app)
    topic = f"app.{mechanism.lower()}"
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(30)
    try:
        admin.create_topics([NewTopic("other", 1, 1)])["other"].result(30)
    except KafkaException as error:
        assert error.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED, error
    else:
        raise AssertionError("a topic of others was created")
    failed = []
    note = lambda error, _: failed.append(error)
    producer = Producer(app)
    producer.produce(topic, b"hello", callback=note)
    producer.flush(30)
    assert failed == [None], failed
    reader = settings(mechanism, "reader", "secret of reader")
    failed.clear()
    producer = Producer(reader)
    producer.produce(topic, b"no", callback=note)
    producer.flush(30)
    assert failed[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED, failed
    consumer = Consumer({**reader, "group.id": "app.readers", "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    message = consumer.poll(30)
    assert message is not None and message.error() is None and message.value() == b"hello", message
    consumer.close()
    consumer = Consumer({**reader, "group.id": "others", "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    message = consumer.poll(30)
    assert message.error().code() == KafkaError.GROUP_AUTHORIZATION_FAILED, message.error()
    consumer.close()
    errors = []
    # It tries again and again, after which its name has to wait.
    wrong = AdminClient(settings(mechanism, "other", "wrong", error_cb=errors.append))
    refused(KafkaException, "", lambda: wrong.list_topics(timeout=3))
    wrong.poll(1)
    assert any(error.code() == KafkaError._AUTHENTICATION for error in errors), errors


def by_kafka_python(mechanism):
    common = {
        "bootstrap_servers": kafka,
        "security_protocol": "SASL_SSL",
        "ssl_cafile": ca,
        "sasl_mechanism": mechanism,
        "sasl_plain_username": "app",
        "sasl_plain_password": "secret of app",
    }
    topic = f"app.{mechanism.lower()}"
    producer = KafkaProducer(**common)
    producer.send(topic, b"again").get(timeout=30)
    producer.close()
    consumer = KafkaConsumer(
        topic, **common, auto_offset_reset="earliest", consumer_timeout_ms=30000
    )
    assert next(iter(consumer)).value == b"hello"
    consumer.close()


def step(name, call, *arguments):
    call(*arguments)
    print("PASS", name, *arguments, flush=True)


step("amqp by password", amqp_by_password)
step("amqp by certificate", amqp_by_certificate)
step("amqplain", amqplain)
for mechanism in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"):
    step("confluent", by_confluent, mechanism)
    step("kafka-python", by_kafka_python, mechanism)
