"""Has the tests use the server at AMQP=HOST:PORT where they say localhost:5672."""

import os

import pika.connection

HOST, PORT = os.environ["AMQP"].rsplit(":", 1)
_port = pika.connection.Parameters.port


def _set_port(self, value):
    _port.fset(self, int(PORT) if value == 5672 else value)


pika.connection.Parameters.port = property(_port.fget, _set_port)
