"""What clients do over TLS. python clients.py HTTPS AMQPS KAFKA CA: addresses, and the file with the
authority of the server's certificate, which is for localhost and 127.0.0.1."""

import ssl
import sys

import amqp
import grpc
import pika
import requests
from confluent_kafka import Consumer, Producer
from kafka import KafkaConsumer, KafkaProducer

https, amqps, kafka, ca = sys.argv[1:]


def host_and_port(address):
    host, port = address.rsplit(":", 1)
    return host, int(port)


def http():
    base = f"https://{https}"
    job = {"kind": "greet", "args": {}}
    with requests.Session() as session:
        for _ in range(3):
            answer = session.post(f"{base}/v1/queues/default/jobs", json=job, timeout=30, verify=ca)
            assert answer.status_code == 202, answer.text
    try:
        # Certifi's authorities, whatever the surroundings say.
        requests.get(f"{base}/livez", timeout=30, verify=requests.certs.where())
    except requests.exceptions.SSLError:
        pass
    else:
        raise AssertionError("a certificate of nobody's authority was trusted")


def over_grpc():
    with open(ca, "rb") as file:
        credentials = grpc.ssl_channel_credentials(file.read())
    with grpc.secure_channel(https, credentials) as channel:
        # ListRequest without a namespace: an empty message.
        call = channel.unary_unary("/longshore.v1.Levels/ListSlas")
        try:
            call(b"", timeout=30)
        except grpc.RpcError as error:
            # Whatever it answers, it is the server that does.
            refused = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
            assert error.code() not in refused, error


def with_pika():
    context = ssl.create_default_context(cafile=ca)
    host, port = host_and_port(amqps)
    parameters = pika.ConnectionParameters(
        host, port, ssl_options=pika.SSLOptions(context, host), heartbeat=5
    )
    connection = pika.BlockingConnection(parameters)
    channel = connection.channel()
    channel.queue_declare("tls.pika", durable=True)
    channel.confirm_delivery()
    # More than a record of TLS, and than what is read at once.
    bodies = [b"small", b"x" * 3_000_000, b"last"]
    for body in bodies:
        channel.basic_publish("", "tls.pika", body)
    got = []
    for method, _, body in channel.consume("tls.pika", inactivity_timeout=30):
        assert method is not None, f"{len(got)} came"
        channel.basic_ack(method.delivery_tag)
        got.append(body)
        if len(got) == len(bodies):
            break
    assert got == bodies
    connection.close()


def with_py_amqp():
    options = {"ca_certs": ca, "cert_reqs": ssl.CERT_REQUIRED, "server_hostname": "localhost"}
    with amqp.Connection(amqps, "guest", "guest", ssl=options) as connection:
        channel = connection.channel()
        channel.queue_declare("tls.py-amqp", durable=True, auto_delete=False)
        channel.basic_publish(amqp.Message("hello"), routing_key="tls.py-amqp")
        message = None
        while message is None:
            message = channel.basic_get("tls.py-amqp", no_ack=True)
        assert message.body == "hello", message.body


def with_confluent():
    common = {
        "bootstrap.servers": kafka,
        "security.protocol": "SSL",
        "ssl.ca.location": ca,
    }
    producer = Producer(common)
    failed = []
    for number in range(200):
        producer.produce(
            "tls.confluent", f"{number}" * 2000, callback=lambda error, _: error and failed.append(error)
        )
    assert producer.flush(30) == 0 and not failed, failed
    consumer = Consumer({**common, "group.id": "tls", "auto.offset.reset": "earliest"})
    consumer.subscribe(["tls.confluent"])
    got = 0
    while got < 200:
        message = consumer.poll(30)
        assert message is not None and message.error() is None, message and message.error()
        got += 1
    consumer.close()


def with_kafka_python():
    common = {"bootstrap_servers": kafka, "security_protocol": "SSL", "ssl_cafile": ca}
    producer = KafkaProducer(**common)
    producer.send("tls.kafka-python", b"hello").get(timeout=30)
    producer.close()
    consumer = KafkaConsumer(
        "tls.kafka-python", **common, auto_offset_reset="earliest", consumer_timeout_ms=30000
    )
    assert next(iter(consumer)).value == b"hello"
    consumer.close()


for step in (http, over_grpc, with_pika, with_py_amqp, with_confluent, with_kafka_python):
    step()
    print("PASS", step.__name__, flush=True)
