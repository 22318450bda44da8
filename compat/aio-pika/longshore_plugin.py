"""Has the tests use the server at AMQP=HOST:PORT where they would start one in a container."""

import os

from tests import docker_client

HOST, PORT = os.environ["AMQP"].rsplit(":", 1)


class Server:
    id = "none"
    host = HOST
    ports = {"5672/tcp": int(PORT), "5671/tcp": 1}


class Client:
    def __init__(self, *_):
        pass

    def run(self, *_, **__):
        return Server()

    def kill(self, _):
        pass

    remove = kill


docker_client.check_docker_available = lambda: None
docker_client.DockerClient = Client
