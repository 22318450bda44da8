"""What an application does with pika, step by step. python smoke.py ADDRESS STEP...

Every step but the first two runs against any server of AMQP 0-9-1; `publish` before and
`consume` after a crash show that what was confirmed is still there.
"""

import sys
import uuid

import pika
from pika.exceptions import AMQPConnectionError, ChannelClosedByBroker, UnroutableError

MESSAGES = 200
QUEUE = "longshore.smoke"


def connect(address, **more):
    host, port = address.rsplit(":", 1)
    credentials = pika.PlainCredentials("guest", "guest")
    parameters = pika.ConnectionParameters(host, int(port), credentials=credentials, **more)
    return pika.BlockingConnection(parameters)


def unique(name):
    return f"{name}.{uuid.uuid4().hex[:8]}"


def refused(code, text, call):
    """The call closes its channel, with that code and text."""
    try:
        call()
    except ChannelClosedByBroker as closed:
        assert closed.reply_code == code, closed
        assert text in closed.reply_text, closed
    else:
        raise AssertionError(f"not refused: {text}")


def got(channel, queue, count):
    """The bodies of the next messages, acked."""
    bodies = []
    while len(bodies) < count:
        for method, _, body in channel.consume(queue, inactivity_timeout=10):
            assert method is not None, f"{len(bodies)} of {count} came"
            channel.basic_ack(method.delivery_tag)
            bodies.append(body.decode())
            if len(bodies) == count:
                break
    channel.cancel()
    return bodies


def publish(address):
    channel = connect(address).channel()
    channel.queue_declare(QUEUE, durable=True)
    channel.confirm_delivery()
    properties = pika.BasicProperties(delivery_mode=2, message_id="m", headers={"n": 1})
    for number in range(MESSAGES):
        channel.basic_publish("", QUEUE, str(number), properties, mandatory=True)
    # Nothing is closed: the server is killed now.
    print("confirmed", flush=True)
    sys.stdin.read()


def consume(address):
    connection = connect(address)
    channel = connection.channel()
    declared = channel.queue_declare(QUEUE, durable=True, passive=True)
    assert declared.method.message_count == MESSAGES, declared
    method, properties, body = channel.basic_get(QUEUE)
    assert body == b"0" and properties.message_id == "m" and properties.headers == {"n": 1}
    channel.basic_nack(method.delivery_tag, requeue=True)
    assert got(channel, QUEUE, MESSAGES) == [str(number) for number in range(MESSAGES)]
    assert channel.queue_declare(QUEUE, passive=True).method.message_count == 0
    channel.queue_delete(QUEUE)
    connection.close()


def routing(address):
    channel = connect(address).channel()
    direct, topic, fanout, headers = (unique(kind) for kind in ("d", "t", "f", "h"))
    for name, kind in ((direct, "direct"), (topic, "topic"), (fanout, "fanout"), (headers, "headers")):
        channel.exchange_declare(name, kind, auto_delete=False)
    queue = channel.queue_declare("", exclusive=True).method.queue
    assert queue.startswith("amq.gen-"), queue
    channel.queue_bind(queue, direct, "a")
    channel.queue_bind(queue, topic, "a.*.c")
    channel.queue_bind(queue, topic, "x.#")
    channel.queue_bind(queue, fanout)
    channel.queue_bind(queue, headers, "", {"x-match": "all", "k": "v", "n": 1})
    channel.exchange_bind(fanout, direct, "via")
    channel.confirm_delivery()
    properties = pika.BasicProperties(headers={"k": "v", "n": 1, "more": True})
    for exchange, key, props in (
        (direct, "a", None), (topic, "a.b.c", None), (topic, "x", None), (topic, "x.y.z", None),
        (fanout, "whatever", None), (headers, "", properties), (direct, "via", None), ("", queue, None),
    ):
        channel.basic_publish(exchange, key, f"{exchange}/{key}", props, mandatory=True)
    assert len(got(channel, queue, 8)) == 8
    for exchange, key in ((direct, "b"), (topic, "a.b"), (headers, "")):
        try:
            channel.basic_publish(exchange, key, "nowhere", mandatory=True)
        except UnroutableError as returned:
            assert returned.messages[0].method.reply_code == 312
            assert returned.messages[0].body == b"nowhere"
        else:
            raise AssertionError("nobody takes it")
    channel.queue_unbind(queue, topic, "x.#")
    channel.basic_publish(topic, "x.y", "gone")
    for name in (direct, topic, fanout, headers):
        channel.exchange_delete(name)
    channel.exchange_delete(unique("never"))


def refusals(address):
    connection = connect(address)
    missing, kept = unique("missing"), unique("kept")
    open_ = connection.channel
    open_().queue_declare(kept, durable=True)
    refused(404, f"NOT_FOUND - no queue '{missing}' in vhost '/'",
            lambda: open_().queue_declare(missing, passive=True))
    refused(404, f"NOT_FOUND - no exchange '{missing}' in vhost '/'",
            lambda: open_().exchange_declare(missing, passive=True))
    refused(406, f"PRECONDITION_FAILED - inequivalent arg 'durable' for queue '{kept}' in vhost '/': "
            "received 'false' but current is 'true'", lambda: open_().queue_declare(kept))
    refused(403, "ACCESS_REFUSED - queue name 'amq.mine' contains reserved prefix 'amq.*'",
            lambda: open_().queue_declare("amq.mine"))
    refused(403, "ACCESS_REFUSED - operation not permitted on the default exchange",
            lambda: open_().queue_bind(kept, "", "k"))
    refused(406, "PRECONDITION_FAILED - unknown delivery tag 9", lambda: ack_nothing(open_()))
    other = connect(address).channel()
    owned = open_().queue_declare("", exclusive=True).method.queue
    refused(405, f"RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{owned}'",
            lambda: other.queue_declare(owned, passive=True))
    channel = open_()
    channel.confirm_delivery()
    refused(404, f"NOT_FOUND - no exchange '{missing}' in vhost '/'",
            lambda: channel.basic_publish(missing, "k", "m"))
    taken = open_()
    taken.basic_consume(kept, print, exclusive=True)
    refused(403, f"ACCESS_REFUSED - queue '{kept}' in vhost '/' in exclusive use",
            lambda: open_().basic_consume(kept, print))
    refused(406, f"PRECONDITION_FAILED - queue '{kept}' in vhost '/' in use",
            lambda: open_().queue_delete(kept, if_unused=True))
    open_().queue_delete(kept)
    for more in ({"virtual_host": missing}, {"credentials": pika.PlainCredentials("guest", "x")}):
        try:
            host, port = address.rsplit(":", 1)
            pika.BlockingConnection(pika.ConnectionParameters(host, int(port), **more))
        except AMQPConnectionError as closed:
            said = str(closed.args) + str(closed.__cause__)
            assert "not found" in said or "ACCESS_REFUSED" in said or "refused" in said, closed
        else:
            raise AssertionError(f"let in: {more}")


def ack_nothing(channel):
    channel.basic_ack(9)
    channel.queue_declare("", exclusive=True)


def settling(address):
    connection = connect(address)
    channel = connection.channel()
    queue = unique("settling")
    channel.queue_declare(queue)
    for number in range(6):
        channel.basic_publish("", queue, str(number))
    channel.basic_qos(prefetch_count=3)
    came = []
    channel.basic_consume(queue, lambda _, method, __, body: came.append((method, body)))
    wait(connection, lambda: len(came) == 3)
    connection.process_data_events(0.2)
    assert [body for _, body in came] == [b"0", b"1", b"2"], came
    channel.basic_ack(came[1][0].delivery_tag, multiple=True)
    wait(connection, lambda: len(came) == 5)
    channel.basic_reject(came[2][0].delivery_tag, requeue=True)
    wait(connection, lambda: len(came) == 6)
    assert came[5][1] == b"2" and came[5][0].redelivered, "it comes first again"
    # What is not settled goes back with its channel, to its old place.
    channel.close()
    channel = connection.channel()
    method, _, body = channel.basic_get(queue, auto_ack=True)
    assert body == b"2" and method.redelivered and method.message_count == 3, method
    assert channel.queue_purge(queue).method.message_count == 3
    assert channel.basic_get(queue) == (None, None, None)
    assert channel.queue_delete(queue).method.message_count == 0


def wait(connection, condition):
    for _ in range(200):
        if condition():
            return
        connection.process_data_events(0.05)
    raise AssertionError("it does not come")


def lives(address):
    connection, other = connect(address), connect(address)
    watcher = other.channel()
    # An exclusive queue ends with its connection, an auto-delete one with its last consumer.
    exclusive = connection.channel().queue_declare("", exclusive=True).method.queue
    transient = unique("transient")
    channel = connection.channel()
    channel.queue_declare(transient, auto_delete=True)
    tag = channel.basic_consume(transient, print)
    # The end of a queue ends its consumers.
    cancelled = []
    doomed = unique("doomed")
    channel.queue_declare(doomed)
    channel.add_on_cancel_callback(cancelled.append)
    channel.basic_consume(doomed, print)
    watcher.queue_delete(doomed)
    wait(connection, lambda: cancelled)
    channel.basic_cancel(tag)
    refused(404, "no queue", lambda: other.channel().queue_declare(transient, passive=True))
    connection.close()
    refused(404, "no queue", lambda: other.channel().queue_declare(exclusive, passive=True))


def replies(address):
    client, server = connect(address), connect(address)
    queue = unique("requests")
    server_channel = server.channel()
    server_channel.queue_declare(queue, auto_delete=True)

    def answer(channel, method, properties, body):
        channel.basic_publish("", properties.reply_to, body.upper(),
                              pika.BasicProperties(correlation_id=properties.correlation_id))
        channel.basic_ack(method.delivery_tag)

    server_channel.basic_consume(queue, answer)
    answers = []
    channel = client.channel()
    channel.basic_consume("amq.rabbitmq.reply-to", lambda *told: answers.append(told), auto_ack=True)
    channel.basic_publish("", queue, "question",
                          pika.BasicProperties(reply_to="amq.rabbitmq.reply-to", correlation_id="7"))
    for _ in range(200):
        server.process_data_events(0.02)
        client.process_data_events(0.02)
        if answers:
            break
    assert answers[0][2].correlation_id == "7" and answers[0][3] == b"QUESTION", answers


def large(address):
    connection = connect(address)
    channel = connection.channel()
    channel.confirm_delivery()
    queue = channel.queue_declare("", exclusive=True).method.queue
    for size in (0, 1, 4096, 131_064, 131_065, 3_000_000):
        channel.basic_publish("", queue, b"x" * size)
        _, _, body = channel.basic_get(queue, auto_ack=True)
        assert body == b"x" * size, (size, len(body))


def heartbeats(address):
    connection = connect(address, heartbeat=2)
    connection.sleep(7)
    assert connection.is_open
    connection.close()


STEPS = {step.__name__: step for step in (
    publish, consume, routing, refusals, settling, lives, replies, large, heartbeats)}

if __name__ == "__main__":
    for name in sys.argv[2:] or list(STEPS)[2:]:
        STEPS[name](sys.argv[1])
        print("ok", name, flush=True)
