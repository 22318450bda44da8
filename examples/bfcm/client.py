"""Longshore over HTTP, as far as this example needs it."""

import json
import time
import urllib.error
import urllib.request


class Client:
    def __init__(self, url):
        self.url = url.rstrip("/")

    def ask(self, method, path, body=None, timeout=30):
        data = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return json.loads(answer.read() or b"null")

    def make(self, stream, **settings):
        """Creates the stream, or finds it as it is."""
        try:
            self.ask("GET", f"/v1/streams/{stream}")
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            self.ask("PUT", f"/v1/streams/{stream}", settings)

    def last(self, stream):
        """The value of the newest event, or nothing."""
        end = self.ask("GET", f"/v1/streams/{stream}")["partitions"][0]["end"]
        if end == 0:
            return None
        path = f"/v1/streams/{stream}/events?partition=0&offset={end - 1}&limit=1"
        return json.loads(self.ask("GET", path)["events"][0]["value"])


def keep_on(work):
    """Does it again and again, also while the server is away."""
    while True:
        try:
            return work()
        except (OSError, urllib.error.HTTPError) as error:
            print("trying again:", error, flush=True)
            time.sleep(0.2)
