"""Reads the lives of jobs from the topic `_jobs` and prints each as a line of JSON, once it is what
CloudEvents 1.0 asks for: `jobs.py BOOTSTRAP COUNT`."""

import json
import sys
import time

from confluent_kafka import Consumer

PATIENCE = 60
REQUIRED = ("specversion", "id", "source", "type", "subject", "time", "data")


def read(bootstrap, count):
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "lives",
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe(["_jobs"])
    told, until = [], time.monotonic() + PATIENCE
    while len(told) < count:
        assert time.monotonic() < until, f"{len(told)} of {count} events came"
        message = consumer.poll(1)
        if message is None:
            continue
        assert not message.error(), message.error()
        event = json.loads(message.value())
        missing = [name for name in REQUIRED if name not in event]
        assert not missing, f"{event} has no {missing}"
        assert event["specversion"] == "1.0", event
        assert event["subject"] == message.key().decode(), event
        headers = dict(message.headers() or [])
        assert headers["content-type"].startswith(b"application/cloudevents+json"), headers
        told.append(event)
    consumer.close()
    return told


if __name__ == "__main__":
    for event in read(sys.argv[1], int(sys.argv[2])):
        print(json.dumps(event))
