"""The fixtures that the tests have in a file which the source archive lacks: the server is at AMQP=HOST:PORT."""

import os

import pytest
from yarl import URL

HOST, PORT = os.environ["AMQP"].rsplit(":", 1)


class Server:
    host = HOST
    ports = {"5672/tcp": int(PORT), "5671/tcp": 1}


@pytest.fixture(scope="session")
def rabbitmq_container():
    return Server()


@pytest.fixture
def amqp_direct_url():
    return URL(f"amqp://guest:guest@{HOST}:{PORT}/")
