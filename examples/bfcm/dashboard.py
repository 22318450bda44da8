"""Adds up orders and shows them live: `dashboard.py URL [PORT]`."""

import json
import pathlib
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from client import Client, keep_on

client = Client(sys.argv[1])
port = int((sys.argv + ["8080"])[2]) if len(sys.argv) > 2 else 8080
MINUTES_SHOWN = 30
PAGE = pathlib.Path(__file__).with_name("page.html")

changed = threading.Condition()
sales = None  # What the page shows. Replaced as a whole, never changed.


def show(new):
    global sales
    with changed:
        sales = new
        changed.notify_all()


def added(before, events):
    """The sums with these orders in them."""
    minutes = {minute: dict(countries) for minute, countries in before["minutes"].items()}
    orders, cents = before["orders"], before["cents"]
    for event in events:
        order = json.loads(event["value"])
        countries = minutes.setdefault(order["at"][:16], {})
        countries[order["country"]] = countries.get(order["country"], 0) + order["cents"]
        orders, cents = orders + 1, cents + order["cents"]
    shown = sorted(minutes)[-MINUTES_SHOWN:]
    return {"orders": orders, "cents": cents, "minutes": {it: minutes[it] for it in shown}}


def add_up():
    client.make("orders", retention="30d")
    client.make("sales", retention_bytes=10_000_000)
    known = client.last("sales") or {"next": 0, "orders": 0, "cents": 0, "minutes": {}}
    show(known)
    while True:
        page = client.ask("GET", f"/v1/streams/orders/events?offset={known['next']}&limit=1000&wait=20s")
        if not page["events"]:
            continue
        known = {**added(known, page["events"]), "next": page["next"]}
        # The sums and how far they go are one event. Only what is on disk is shown.
        client.ask("POST", "/v1/streams/sales/events", {"value": known})
        show(known)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/":
            self.answer("text/html; charset=utf-8")
            self.wfile.write(PAGE.read_bytes())
        elif self.path == "/live":
            self.answer("text/event-stream")
            self.follow()
        else:
            self.send_error(404)

    def answer(self, kind):
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("cache-control", "no-store")
        self.end_headers()

    def follow(self):
        told = None
        # Whoever loses the connection comes back soon.
        self.wfile.write(b"retry: 500\n\n")
        while True:
            with changed:
                changed.wait_for(lambda: sales is not told, timeout=10)
                now = sales
            try:
                # A comment now and then finds out whether anybody is there.
                line = ": still here" if now is told else f"data: {json.dumps(now)}"
                self.wfile.write(f"{line}\n\n".encode())
            except OSError:
                return
            told = now

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True


server = Server(("127.0.0.1", port), Handler)
print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
keep_on(add_up)
