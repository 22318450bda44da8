"""Enqueues jobs with `Expect` through a client that other people wrote, and tells each answer.

ask.py CLIENT ADDRESS WAIT: lines `id kind word header` on standard input; lines `id status location`
on standard output, with `-` as the status where the connection broke. A job of the kind `expires` is
given 200 ms to start. After an answer that no server of ours gave it waits until there is one again.
"""

import http.client
import json
import sys
import time


def with_http_client(address, path, headers, body):
    connection = http.client.HTTPConnection(address, timeout=60)
    try:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.getheader("location", "-")
    finally:
        connection.close()


def with_requests(address, path, headers, body):
    import requests

    answer = requests.post(f"http://{address}{path}", data=body, headers=headers, timeout=60)
    return answer.status_code, answer.headers.get("location", "-")


def is_ready(address):
    connection = http.client.HTTPConnection(address, timeout=60)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def main():
    client, address, wait = sys.argv[1:]
    ask = {"http.client": with_http_client, "requests": with_requests}[client]
    for line in sys.stdin:
        job, kind, word, header = line.split()
        headers = {"content-type": "application/json", header: word, "prefer": f"wait={wait}"}
        asked = {"id": job, "kind": kind, "max_attempts": 1}
        if kind == "expires":
            asked["ttl"] = "200ms"
        try:
            status, location = ask(address, "/v1/queues/expect/jobs", headers, json.dumps(asked))
        except (OSError, http.client.HTTPException) as error:
            status, location = "-", type(error).__name__
        print(job, status, location, flush=True)
        until = time.monotonic() + 120
        while status in ("-", 502, 503) and not is_ready(address) and time.monotonic() < until:
            time.sleep(0.02)


main()
