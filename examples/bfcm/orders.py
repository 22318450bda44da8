"""Makes up orders: `orders.py URL [PER_SECOND] [HOW_MANY]`."""

import random
import sys
import time

from client import Client, keep_on

COUNTRIES = ["CA", "US", "GB", "DE", "FR", "JP", "AU", "BR"]
client = Client(sys.argv[1])
per_second = float((sys.argv + ["50"])[2]) if len(sys.argv) > 2 else 50.0
how_many = int(sys.argv[3]) if len(sys.argv) > 3 else None


def order(number):
    weights = range(len(COUNTRIES), 0, -1)
    return {
        "order": number,
        "country": random.choices(COUNTRIES, weights)[0],
        "cents": random.randint(500, 20_000),
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def sell():
    """From behind the last order that is there, however the one before ended."""
    client.make("orders", retention="30d")
    last = client.last("orders")
    number = last["order"] + 1 if last else 1
    while how_many is None or number <= how_many:
        count = max(1, round(per_second / 5))
        if how_many is not None:
            count = min(count, how_many - number + 1)
        events = [{"value": order(number + it)} for it in range(count)]
        client.ask("POST", "/v1/streams/orders/events", {"events": events})
        number += count
        print(f"{number - 1} orders", flush=True)
        time.sleep(count / per_second)


keep_on(sell)
