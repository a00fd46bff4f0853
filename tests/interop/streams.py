"""Event streams: our servers with others' clients, and our client with servers of all kinds."""

import json
import socket
import struct
import subprocess
import threading
import time
import urllib.request

from driver import PYTHON, RUST, Difference, Example, Puppet, judge

CLIENTS = {
    "eventsource": ("node", "peers/events.mjs", "eventsource"),
    "eventsource-parser": ("node", "peers/events.mjs", "eventsource-parser"),
    "httpx-sse": (PYTHON, "peers/events.py", "httpx-sse"),
    "sseclient-py": (PYTHON, "peers/events.py", "sseclient-py"),
}

LONG = "0123456789abcdef" * (16 << 10)

#: What `stream.rs` sends first: type, last event id, data.
FIRST_PART = [
    ("message", "", "plain"),
    ("lines", "", "first\nsecond\n\nfourth"),
    ("greeting", "1", "one"),
    ("message", "1", "  two spaces, a colon: and ß水🌊"),
    ("empty", "1", ""),
    ("message", "1", "with a topic"),
    ("line ends", "1", "\n"),
    ("message", "", "reset"),
    ("long", "2", LONG),
]
TYPES = ["message", "lines", "greeting", "empty", "line ends", "long", "resumed"]


def run(report):
    ours_as_server(report)
    ours_as_client(report)


# Ours serves.


def ours_as_server(report):
    server = Puppet("ours", [RUST, "stream"])
    port = server.expect("listening")[0]
    url = f"http://127.0.0.1:{port}"
    table = ("event streams", "ours is the server")
    for name, command in CLIENTS.items():

        def add(case, outcome, name=name):
            report.add(table, name, case, "ours", outcome)

        client = Puppet(name, [*command, f"{url}/script", *(TYPES if name == "eventsource" else [])])
        seen = Seen()
        add("events", judge(seen.first_part, client))
        add("last event ids", judge(seen.ids))
        add("comes back, with an id", judge(seen.second_part, client))
        add("a position moves the id", judge(seen.position))
        add("no data, no event", judge(seen.nothing_else))
        if name == "eventsource":
            add("retry is kept to", judge(seen.waited))
        add("204 stops", judge(lambda client=client: client.expect("over", 204)))
        client.stop()

        client = Puppet(name, [*command, f"{url}/missing", *(TYPES if name == "eventsource" else [])])
        add("404 stops", judge(lambda client=client: client.expect("over", 404)))
        client.stop()
    with_curl(report, table, url)
    server.stop()
    with_examples(report, table)
    report.print_table(table)


class Seen:
    """What a client made of the script."""

    def __init__(self):
        self.first, self.second, self.ended, self.resumed = [], [], 0.0, 0.0

    def first_part(self, client):
        client.expect("open")
        self.first = events_until(client)
        self.ended = time.monotonic()
        compare([(kind, data) for kind, _, data in without_nothing(self.first)], [(kind, data) for kind, _, data in FIRST_PART])

    def ids(self):
        compare([last for _, last, _ in without_nothing(self.first)], [last for _, last, _ in FIRST_PART])

    def second_part(self, client):
        client.expect("open")
        self.resumed = time.monotonic()
        self.second = events_until(client)
        # Heartbeats come before it, and its data is the id that the client came with: that of the last event, or of the position behind it.
        events = without_nothing(self.second)
        if [event[:2] for event in events] != [("resumed", "last")] or events[0][2] not in ("2", "after-two"):
            raise Difference(f"an event `resumed` expected, {shown(events)} came")

    def position(self):
        if (data := [data for kind, _, data in self.second if kind == "resumed"]) != ["after-two"]:
            raise Difference(f"came back with {shown(data)}")

    def nothing_else(self):
        nothing = len(self.first) + len(self.second) - len(without_nothing(self.first)) - len(without_nothing(self.second))
        if nothing:
            raise Difference(f"{nothing} events without data")

    def waited(self):
        # Half of it: a busy machine sees the end late. Without `retry:` these libraries come back after 0.1 s, as the server first said.
        if (gap := self.resumed - self.ended) < 0.75:
            raise Difference(f"came back after {gap:.2f} s instead of 1.5 s")


def without_nothing(events):
    """No event of the script is like this: blocks without data are none."""
    return [event for event in events if (event[0], event[2]) != ("message", "")]


def decode(word):
    return "" if word == "-" else bytes.fromhex(word).decode()


def events_until(client):
    """The events until the connection is lost."""
    events = []
    while (event := client.next())[0] == "event":
        events.append(tuple(map(decode, event[1:4])))
    if event[0] != "lost":
        raise Difference(f"{client.name}: lost expected, {' '.join(event)} came")
    return events


def compare(came, expected):
    for index, wanted in enumerate(expected):
        got = came[index] if index < len(came) else None
        if got != wanted:
            raise Difference(f"event {index + 1}: {shown(wanted)} expected, {shown(got)} came")
    if len(came) > len(expected):
        raise Difference(f"{shown(came[len(expected)])} came besides")


def shown(value):
    text = repr(value)
    return text if len(text) < 120 else f"{text[:100]}.. ({len(text)})"


def curl(*arguments):
    done = subprocess.run(
        ["curl", "--silent", "--show-error", "--no-buffer", "--max-time", "10", "--noproxy", "*", *arguments], capture_output=True
    )
    if done.returncode:
        raise Difference(f"curl: {done.stderr.decode().strip()}")
    return done.stdout.decode()


def blocks(text):
    """A stream's blocks, field by field: all that ours writes ends lines with LF."""
    return [dict_of(block) for block in text.removesuffix("\n\n").split("\n\n")]


def dict_of(block):
    fields = {}
    for line in block.split("\n"):
        name, _, value = line.partition(":")
        fields.setdefault(name, []).append(value.removeprefix(" "))
    return fields


def with_curl(report, table, url):
    def body():
        text = curl(f"{url}/script")
        events = [block for block in blocks(text) if "data" in block]
        last, came = "", []
        for block in events:
            last = block.get("id", [last])[-1]
            came.append((block.get("event", ["message"])[-1], last, "\n".join(block["data"])))
        compare(came, FIRST_PART)
        # The blocks before and behind the events, and nothing besides.
        rest = [block for block in blocks(text) if "data" not in block]
        if rest != [{"retry": ["100"]}, {"id": ["after-two"]}, {"retry": ["1500"]}] or "\n: a comment\n" not in text:
            raise Difference(f"besides events: {rest}")

    def until_close():
        head, _, rest = curl("--http1.0", "--include", f"{url}/script").partition("\r\n\r\n")
        if "transfer-encoding" in head.lower() or "data: plain\n\n" not in rest or not rest.endswith("retry: 1500\n\n"):
            raise Difference(f"to HTTP/1.0: {head}")

    def head_only():
        head = curl("--head", f"{url}/script")
        if "200" not in head.split("\r\n")[0] or "text/event-stream" not in head:
            raise Difference(head)

    def resumed():
        text = curl("--header", "Last-Event-ID: from-curl", f"{url}/script")
        if "event: resumed\n" not in text or "data: from-curl\n" not in text:
            raise Difference(text)
        # What curl waited through is heartbeats.
        if text.count("\n:\n") + text.startswith(":\n") < 2:
            raise Difference(f"no heartbeats in {text!r}")

    def done():
        status = curl("--header", "Last-Event-ID: last", "--output", "/dev/null", "--write-out", "%{http_code}", f"{url}/script")
        if status != "204":
            raise Difference(f"status {status}")

    for case, check in (
        ("events", body),
        ("comes back, with an id", resumed),
        ("204 stops", done),
        ("HTTP/1.0: until close", until_close),
        ("HEAD", head_only),
    ):
        report.add(table, "curl", case, "ours", judge(check))


def post(url, body):
    request = urllib.request.Request(url, data=body.encode(), method="POST")
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as response:
        return response.status, response.read().decode()


def with_examples(report, table):
    """What the examples send to everyone, as each client sees it."""
    for example, case in (("echo", "example echo"), ("server", "example server")):
        server = Example(example)
        stream = "/events" if example == "echo" else "/events?topic=interop"
        for name, command in CLIENTS.items():
            client = Puppet(name, [*command, server.url + stream, *(["message"] if name == "eventsource" else [])])

            def published(client=client):
                client.expect("open")
                for data in ("hello", "two\nlines ß水🌊"):
                    if example == "echo":
                        _, wanted = post(f"{server.url}/broadcast", data), ("message", "", data)
                    else:
                        answer = json.loads(post(f"{server.url}/publish?topic=interop", data)[1])
                        wanted = ("message", answer["id"], data)
                    compare([event_with_data(client)], [wanted])

            report.add(table, name, case, "ours", judge(published))
            client.process.kill()
            client.stop()
        server.stop()


def event_with_data(client):
    while (event := client.next())[0] == "event":
        decoded = tuple(map(decode, event[1:4]))
        # What the hub says of itself is another matter.
        if without_nothing([decoded]) and not decoded[0].startswith("tautline."):
            return decoded
    raise Difference(f"{' '.join(event)} came")


# Ours is the client.


def chunks(*pieces):
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def each_byte(data):
    return chunks(*(bytes([byte]) for byte in data))


TYPE = b"Content-Type: text/event-stream\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\n" + TYPE + b"Transfer-Encoding: chunked\r\n\r\n"
CLOSE = b"HTTP/1.1 200 OK\r\n" + TYPE + b"Connection: close\r\n\r\n"
OLD = b"HTTP/1.0 200 OK\r\n" + TYPE + b"\r\n"
TWO = "id: 1\ndata: one ß水🌊\n\nevent: x\ndata: two\n\n".encode()
#: Type, the id of the event's own block or nothing, data.
TWO_SEEN = [("message", "1", "one ß水🌊"), ("x", None, "two")]

#: What a server sends, and what must come of it.
STREAMS = {
    "chunked": (CHUNKED + chunks(TWO), TWO_SEEN),
    "a chunk for each byte": (CHUNKED + each_byte(TWO), TWO_SEEN),
    "chunk extensions and a trailer": (
        CHUNKED + b"%x;a=b\r\n%b\r\n0;last\r\nExpires: never\r\n\r\n" % (len(TWO), TWO),
        TWO_SEEN,
    ),
    "until close": (CLOSE + TWO, TWO_SEEN),
    "HTTP/1.0": (OLD + TWO, TWO_SEEN),
    "content length": (b"HTTP/1.1 200 OK\r\n" + TYPE + b"Content-Length: %d\r\n\r\n%b" % (len(TWO), TWO), TWO_SEEN),
    "CRLF": (CLOSE + TWO.replace(b"\n", b"\r\n"), TWO_SEEN),
    "CRLF, a chunk for each byte": (CHUNKED + each_byte(TWO.replace(b"\n", b"\r\n")), TWO_SEEN),
    "CR": (CLOSE + TWO.replace(b"\n", b"\r"), TWO_SEEN),
    "mixed line ends": (CLOSE + b"data: a\rdata: b\r\ndata: c\n\rdata: d\n\r\n", [("message", None, "a\nb\nc"), ("message", None, "d")]),
    "byte order mark": (CHUNKED + each_byte(b"\xef\xbb\xbf" + TWO), TWO_SEEN),
    "two byte order marks": (CLOSE + b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\ndata: b\n\n", [("message", None, "b")]),
    "comments and unknown fields": (CLOSE + b":\n: data: no\n\ntopic: t\ndatax: no\nDATA: no\ndata: yes\n\n", [("message", None, "yes")]),
    "a colon, a space, or neither": (
        CLOSE + b"data:a\ndata: b\ndata:  c\ndata\ndata:d:e\n\n",
        [("message", None, "a\nb\n c\n\nd:e")],
    ),
    "no data, no event": (CLOSE + b"event: x\nid: 5\n\ndata:\n\ndata: y\n\n", [("message", None, ""), ("message", None, "y")]),
    "half an event at the end": (CLOSE + b"data: whole\n\nid: 9\ndata: half\n", [("message", None, "whole")]),
    "ids": (
        CLOSE + b"id: a\ndata: 1\n\nid: b\0\ndata: 2\n\nid\ndata: 3\n\n",
        [("message", "a", "1"), ("message", None, "2"), ("message", "", "3")],
    ),
    "a type with parameters": (
        CLOSE.replace(b"text/event-stream", b"Text/Event-Stream; charset=utf-8") + TWO,
        TWO_SEEN,
    ),
    "256 KiB in one line": (CHUNKED + chunks(b"data: " + LONG.encode() + b"\n\n"), [("message", None, LONG)]),
}

#: Answers after which a client does not come back.
FINAL = {
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", "204"),
    "500": (b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\n\r\noops", "500"),
    "another type": (b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n\r\ndata: a\n\n", "content type"),
    "redirect to another origin": (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.2:1/\r\nContent-Length: 0\r\n\r\n", "redirect"),
}


class Server(threading.Thread):
    """Answers each connection with the next of its answers, and with 204 when it has no more."""

    def __init__(self, *answers, reset=False):
        super().__init__(daemon=True)
        self.answers, self.reset, self.heads = list(answers), reset, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.start()

    def run(self):
        try:
            while True:
                connection, _ = self.listener.accept()
                self.answer(connection)
        except OSError:
            return

    def answer(self, connection):
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            if not (data := connection.recv(65536)):
                return connection.close()
            head += data
        self.heads.append(head.decode())
        connection.sendall(self.answers.pop(0) if self.answers else FINAL["204"][0])
        if self.reset and len(self.heads) == 1:
            time.sleep(0.1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    def stop(self):
        self.listener.close()


def ours_as_client(report):
    table = ("event streams", "ours is the client")
    for case, (answer, expected) in STREAMS.items():
        report.add(table, "Python's socket", case, "peer", judge(read_all, answer, expected))
    for case, (answer, why) in FINAL.items():
        report.add(table, "Python's socket", case, "peer", judge(read_final, answer, why))
    report.add(table, "Python's socket", "last event id comes back", "peer", judge(came_back, False))
    report.add(table, "Python's socket", "a reset, and back", "peer", judge(came_back, True))
    report.add(table, "Python's socket", "redirect", "peer", judge(redirected))
    for path in ("chunked", "until-close"):
        report.add(table, "Node's http", f"{path.replace('-', ' ')}, and back", "peer", judge(from_node, path))
    report.print_table(table)


def source(port, path="/"):
    return Puppet("ours", [RUST, "source", port, path])


def seen_until(client, last):
    events = []
    while (event := client.next())[0] == "event":
        kind, own_id, data = event[1:4]
        events.append((decode(kind), None if own_id == "none" else decode(own_id), decode(data)))
    if event[0] != last:
        raise Difference(f"{last} expected, {' '.join(event)} came")
    return events


def read_all(answer, expected):
    server = Server(answer)
    client = source(server.port)
    client.expect("open")
    compare(seen_until(client, "lost"), expected)
    over(client, "204")
    server.stop()
    head = server.heads[0].lower()
    for field in ("accept: text/event-stream\r\n", "cache-control: no-", "host: 127.0.0.1:"):
        if field not in head:
            raise Difference(f"no {field.strip()} in the request")


def over(client, why):
    words = client.expect("over")
    if why not in " ".join(words):
        raise Difference(f"over because of {' '.join(words)}")
    client.stop()


def read_final(answer, why):
    server = Server(answer)
    over(source(server.port), why)
    time.sleep(0.2)
    server.stop()
    if len(server.heads) != 1:
        raise Difference("it came back")


def came_back(reset):
    # A position behind the last event, which counts, and half an event, which does not.
    first = CHUNKED + b"%x\r\n" % 40 + b"id: 7\ndata: a\n\nid: 8\n\nid: 9\nda" if reset else CLOSE + b"id: 7\ndata: a\n\nid: 8\n\nid: 9\nda"
    server = Server(first, CLOSE + b"data: b\n\n", reset=reset)
    client = source(server.port)
    for data in (("7", "a"), (None, "b")):
        client.expect("open")
        compare(seen_until(client, "lost"), [("message", *data)])
    over(client, "204")
    server.stop()
    for head in server.heads[1:]:
        if "last-event-id: 8\r\n" not in head.lower():
            raise Difference(f"it came back with {head!r}")


def redirected():
    server = Server()
    server.answers = [
        b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /there?a=b\r\nContent-Length: 0\r\n\r\n",
        CLOSE + TWO,
    ]
    client = source(server.port, "/here")
    client.expect("open")
    compare(seen_until(client, "lost"), TWO_SEEN)
    over(client, "204")
    server.stop()
    targets = [head.split(" ")[1] for head in server.heads]
    # Behind a lost connection it begins at its own URL again.
    if targets != ["/here", "/there?a=b", "/here"]:
        raise Difference(f"it asked for {targets}")


def from_node(path):
    server = Puppet("node", ["node", "peers/events_server.mjs"])
    client = source(server.expect("listening")[0], f"/{path}")
    client.expect("open")
    compare(seen_until(client, "lost"), [("message", "1", "one"), ("two", "2", "a b\nc")])
    client.expect("open")
    compare(seen_until(client, "lost"), [("resumed", None, "2")])
    over(client, "204")
    server.stop()
