"""Event-stream clients as puppets (see ../README.md): events.py httpx-sse|sseclient-py URL

Both only read a stream; whoever uses them comes back with the last id.
"""

import sys

import httpx
import requests
from httpx_sse import connect_sse
from puppet import say, to_hex
from sseclient import SSEClient


def with_httpx(url, headers):
    """The status, and the events."""
    with httpx.Client(timeout=10, trust_env=False) as client, connect_sse(client, "GET", url, headers=headers) as source:
        yield source.response.status_code
        yield from source.iter_sse() if source.response.status_code == 200 else ()


def with_requests(url, headers):
    session = requests.Session()
    session.trust_env = False
    with session.get(url, stream=True, timeout=10, headers={"Accept": "text/event-stream", **headers}) as response:
        yield response.status_code
        yield from SSEClient(response).events() if response.status_code == 200 else ()


def main(library, url):
    last = ""
    while True:
        headers = {"Last-Event-ID": last} if last else {}
        events = (with_httpx if library == "httpx-sse" else with_requests)(url, headers)
        if (status := next(events)) != 200:
            return say("over", status)
        say("open")
        for event in events:
            # Of the one it is the stream's last id, of the other this event's own.
            last = last if event.id is None else event.id
            say("event", to_hex(event.event.encode()), to_hex(last.encode()), to_hex(event.data.encode()))
        say("lost")


main(*sys.argv[1:3])
