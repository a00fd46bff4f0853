"""WebSockets: what each side sends, the other must see."""

import os
import re

from driver import PYTHON, RUST, Difference, Example, Puppet, judge, shorten

#: How each peer is started; role and compression are added.
PEERS = {
    "ws": ("node", "peers/ws.mjs"),
    "websockets": (PYTHON, "peers/websockets_peer.py"),
    "wsproto": (PYTHON, "peers/wsproto_peer.py"),
    "tungstenite": (RUST, "tungstenite"),
    "fastwebsockets": (RUST, "fastwebsockets"),
}

#: Those that have permessage-deflate.
COMPRESSING = ("ws", "websockets", "wsproto")

#: Columns: what is asked of ours and of the peer's.
PLAIN = {"plain": ("off", "off")}
DECLINED_BY_OURS = {"peer's only": ("off", "default")}
DECLINED_BY_PEER = {"ours only": ("default", "off")}
AGREED = {
    "default": ("default", "default"),
    "takeover": ("takeover", "takeover"),
    "no takeover": ("no-takeover", "no-takeover"),
    "10 bits": ("bits-10", "bits-10"),
    "12 bits": ("bits-12", "bits-12"),
}

#: The two sides ask for different things. Messages only: the rest does not depend on it.
MIXED = {
    "takeover/none": ("takeover", "no-takeover"),
    "none/takeover": ("no-takeover", "takeover"),
    "10 bits/any": ("bits-10", "default"),
    "any/9 bits": ("default", "bits-9"),
}

LIMIT = 1 << 20
JSON = '{{"id":{},"user":"Zoë","text":"the quick brown fox jumps over the lazy dog","tags":["a","b","c"],"ok":true}}'
CHARACTERS = "aß水🌊"


def hexed(data):
    data = data.encode() if isinstance(data, str) else data
    return data.hex() or "-"


class Line:
    """One connection: `a` sends, `b` sees."""

    def __init__(self, a, b, agreed):
        self.a, self.b, self.agreed = a, b, agreed


# Messages.


def messages(*payloads):
    def case(line):
        for payload in payloads:
            kind = "text" if isinstance(payload, str) else "binary"
            line.a.tell(kind, hexed(payload))
            line.b.expect(kind, hexed(payload))

    return case


def fragmented(kind, *pieces):
    def case(line):
        send_fragments(line.a, kind, pieces)
        line.b.expect(kind, hexed(b"".join(pieces)))
        # And the connection is where it was.
        messages("after")(line)

    return case


def send_fragments(puppet, kind, pieces):
    first, *middle, last = map(hexed, pieces)
    puppet.tell("begin", kind, first)
    for piece in middle:
        puppet.tell("more", piece)
    puppet.tell("end", last)


def ping_between_fragments(line):
    line.a.tell("begin", "text", hexed("be"))
    line.a.tell("ping", hexed("mid"))
    line.a.expect("pong", hexed("mid"))
    line.a.tell("more", hexed("for"))
    line.a.tell("end", hexed("e"))
    line.b.expect("text", hexed("before"))


def ping_of_receiver_between_fragments(line):
    """The side that gets the fragments pings, too, and is answered although the message is not over."""
    line.a.tell("begin", "text", hexed("be"))
    line.b.tell("ping", hexed("you"))
    line.b.expect("pong", hexed("you"))
    line.a.tell("end", hexed("fore"))
    line.b.expect("text", hexed("before"))


def many(count):
    def case(line):
        payloads = [hexed(JSON.format(index)) for index in range(count)]
        for payload in payloads:
            line.a.tell("text", payload)
        for payload in payloads:
            line.b.expect("text", payload)

    return case


def both_at_once(line):
    payloads = [hexed(JSON.format(index)) for index in range(100)]
    for payload in payloads:
        line.a.tell("text", payload)
        line.b.tell("text", payload)
    for payload in payloads:
        line.a.expect("text", payload)
        line.b.expect("text", payload)


def interleaved(line):
    """Every second message is not compressed."""
    for index in range(20):
        payload = hexed(JSON.format(index) * 4)
        line.a.tell(*(["plain", "text"] if index % 2 else ["text"]), payload)
        line.b.expect("text", payload)


# Control frames.


def ping(*payloads):
    def case(line):
        for payload in payloads:
            line.a.tell("ping", hexed(payload))
            line.a.expect("pong", hexed(payload))

    return case


def pong_unasked(line):
    line.a.tell("pong", hexed("nobody asked"))
    line.a.tell("text", hexed("after"))
    line.b.expect("text", hexed("after"), ignoring=("ping", "pong"))


def close(code=None, reason=""):
    def case(line):
        line.a.tell("close", *([] if code is None else [code, hexed(reason)]))
        seen = str(code or 1005), hexed(reason)
        if (came := line.b.closed()) != seen:
            raise Difference(f"{line.b.name}: closed {' '.join(seen)} expected, {' '.join(came)} came")
        # "it typically echos the status code it received" (RFC 6455 section 5.5.1); the reason need not come back.
        answer = line.a.closed()[0]
        if answer != seen[0]:
            raise Difference(f"{line.a.name} was answered {answer}")

    return case


# What is refused.


def refused(code, *commands):
    def case(line):
        for command in commands:
            line.a.tell(*command)
        # One that does not refuse says nothing: a wait for nothing, so not so long a one.
        if (came := line.a.closed(patience=4)[0]) != str(code):
            raise Difference(f"{line.a.name} saw {came} instead of {code}")

    return case


# Negotiation.


def agreement(column):
    """What both sides believe to have agreed on."""

    def parameters(words):
        if words == "-":
            return None
        names = set(words.split(";")) - {"yes"}
        # What stands for itself when nothing is said (RFC 7692 section 7.1.2).
        return {name for name in names if not name.endswith("_bits=15")}

    def case(line):
        ours, theirs = map(parameters, line.agreed)
        if ours != theirs:
            raise Difference(f"ours has {line.agreed[0]}, the peer's {line.agreed[1]}")
        agreed = column in AGREED or column in MIXED
        if agreed and ours is None:
            raise Difference("nothing was agreed on")
        if not agreed and ours is not None:
            raise Difference(f"{line.agreed[0]} was agreed on")
        if column == "no takeover" and not {"server_no_context_takeover", "client_no_context_takeover"} <= ours:
            raise Difference(f"{line.agreed[0]} was agreed on")
        if column == "takeover" and ours:
            raise Difference(f"{line.agreed[0]} was agreed on")
        if bits := re.match(r"(\d+) bits", column):
            if not {f"server_max_window_bits={bits[1]}", f"client_max_window_bits={bits[1]}"} <= ours:
                raise Difference(f"{line.agreed[0]} was agreed on")

    return case


RANDOM = os.urandom(LIMIT)
RANDOM_TEXT = RANDOM[: LIMIT // 2].hex()

EVERYWHERE = {
    "text": messages("hello", CHARACTERS, "\0"),
    "empty messages": messages("", b"", "", "after"),
    "binary": messages(bytes(range(256)), b"\xff"),
    "lengths about 125 and 65535": messages(*("x" * n for n in (124, 125, 126, 127, 65534, 65535, 65536))),
    "1 MiB text": messages(RANDOM_TEXT),
    "1 MiB of random bytes": messages(RANDOM),
    "15/16 MiB of them": messages(RANDOM[LIMIT // 16 :]),
    "1 MiB of zeros": messages(bytes(LIMIT)),
    "200 messages": many(200),
    "100 each at once": both_at_once,
    "fragmented text": fragmented("text", *(word.encode() for word in ("one ", "ß two ", "水 ", "three"))),
    "fragments inside characters": fragmented("text", *(bytes([byte]) for byte in CHARACTERS.encode())),
    "fragmented binary": fragmented("binary", bytes(1000), b"", os.urandom(70000)),
    "50 fragments of a byte": fragmented("binary", *(bytes([n]) for n in range(50))),
    "empty fragments": fragmented("text", b"", b"", b""),
    "ping between fragments": ping_between_fragments,
    "pinged between fragments": ping_of_receiver_between_fragments,
    "ping": ping("", "payload", "x" * 125),
    "pong unasked": pong_unasked,
}

ENDINGS = {
    **{f"close {code}": close(code) for code in (1000, 1001, 1008, 3000, 4999)},
    "close with a reason": close(4001, "bye"),
    "close with 123 bytes": close(1000, "水" * 41),
    "close without a code": close(),
    "a byte over the limit": refused(1009, ["binary", hexed(bytes(LIMIT + 1))]),
    "fragments over the limit": refused(1009, ["begin", "binary", hexed(RANDOM)], ["end", hexed(b"x")]),
    "text that is not UTF-8": refused(1007, ["badtext", hexed(b"\xc3\x28")]),
}

COMPRESSED = {
    "compressed and not": interleaved,
}


def run(report, peers, quick):
    for peer in peers:
        for role, peers_role in (("server", "client"), ("client", "server")):
            table = (peer, f"ours is the {role}")
            for column, (ours, theirs) in columns(peer, quick).items():
                pair = Pair(role, peers_role, peer, ours, theirs)
                pair.run(report, table, column)
            report.print_table(table)


def columns(peer, quick):
    if peer not in COMPRESSING:
        return PLAIN | DECLINED_BY_PEER
    if quick:
        return PLAIN | {name: AGREED[name] for name in ("default", "10 bits")}
    return PLAIN | DECLINED_BY_OURS | DECLINED_BY_PEER | AGREED | MIXED


#: How the example is started, and what its client asks for.
ECHOES = {"plain": ([], "off"), "--deflate": (["--deflate"], "default"), "--deflate --takeover": (["--deflate", "--takeover"], "takeover")}

ECHOED = {
    "text": [("text", "hello"), ("text", CHARACTERS), ("text", "")],
    "binary": [("binary", bytes(range(256))), ("binary", b"")],
    "lengths about 125 and 65535": [("binary", b"x" * n) for n in (124, 125, 126, 127, 65534, 65535, 65536)],
    "1 MiB": [("binary", bytes(LIMIT)), ("binary", RANDOM[LIMIT // 16 :]), ("text", RANDOM_TEXT)],
    "200 messages": [("text", JSON.format(index)) for index in range(200)],
}


def run_echo(report, peers):
    """The example `echo`, whose replies are made of the messages where they lie."""
    table = ("example echo", "ours is the server")
    for name, (options, deflate) in ECHOES.items():
        server = Example("echo", *options)
        for peer in peers:
            if deflate != "off" and peer not in COMPRESSING:
                continue
            client = Puppet(peer, [*PEERS[peer], "client", *([] if deflate == "off" else [deflate])])
            client.expect("ready")
            for case, payloads in ECHOED.items():
                report.add(table, peer, f"{case}, {name}", "peer", judge(echoed, client, server, deflate, payloads))
            report.add(table, peer, f"fragments, {name}", "peer", judge(echoed_fragments, client, server, deflate))
            client.stop()
        server.stop()
    report.print_table(table)


def enter(client, server, deflate):
    client.tell("connect", server.port)
    (agreed,) = client.expect("open")
    if (agreed == "-") != (deflate == "off"):
        raise Difference(f"{agreed} was agreed on")


def echoed(client, server, deflate, payloads):
    enter(client, server, deflate)
    # All at once: many of them come in one read.
    for kind, payload in payloads:
        client.tell(kind, hexed(payload))
    for kind, payload in payloads:
        client.expect(kind, hexed(payload))
    leave(client)


def echoed_fragments(client, server, deflate):
    enter(client, server, deflate)
    send_fragments(client, "text", ["one ".encode(), "ß two ".encode(), b"three"])
    client.expect("text", hexed("one ß two three"))
    leave(client)


def leave(client):
    client.tell("close", 1000, "-")
    client.closed()


class Pair:
    """Ours and a peer, and a connection between them for each case."""

    def __init__(self, role, peers_role, peer, ours, theirs):
        self.role = role
        self.start_ours = lambda: Puppet("ours", [RUST, "tautline", role, ours])
        self.start_peer = lambda: Puppet(peer, [*PEERS[peer], peers_role, *([] if theirs == "off" else [theirs])])
        self.start()

    def start(self):
        self.ours, self.peer = self.start_ours(), self.start_peer()
        self.ours.other, self.peer.other = self.peer, self.ours
        server, self.client = (self.ours, self.peer) if self.role == "server" else (self.peer, self.ours)
        self.port = server.expect("listening")[0]
        self.client.expect("ready")

    def stop(self):
        self.ours.stop()
        self.peer.stop()

    def run(self, report, table, column):
        # What was agreed concerns both at once.
        seen = []
        outcome = self.play(lambda line: (seen.extend(line.agreed), agreement(column)(line)), "ours")
        if seen and seen[0] != "-":
            report.note(table, column, f"agreed on {seen[0].replace(';', '; ')}")
        report.add(table, column, "agreement", "both", outcome)
        if outcome is not None and "is not open" in str(outcome):
            return self.stop()
        cases = dict(EVERYWHERE)
        if column in AGREED or column in MIXED:
            cases |= COMPRESSED
        if column not in MIXED:
            cases |= ENDINGS
        for name, case in cases.items():
            for sender in ("ours", "peer"):
                report.add(table, column, name, sender, self.play(case, sender))
        self.stop()

    def play(self, case, sender):
        """One connection, one case."""
        a, b = (self.ours, self.peer) if sender == "ours" else (self.peer, self.ours)

        def all_of_it():
            self.client.tell("connect", self.port)
            agreed = [self.open(puppet) for puppet in (self.ours, self.peer)]
            case(Line(a, b, agreed))

        outcome = judge(all_of_it)
        if isinstance(outcome, Difference) or not self.end():
            self.stop()
            self.start()
        return outcome

    @staticmethod
    def open(puppet):
        event = puppet.next()
        while event[0] in ("failed", "closed"):
            # Unless an earlier connection left it, that is all.
            try:
                event = puppet.next(patience=1)
            except Difference:
                raise Difference(f"{puppet.name} is not open: {shorten(event)}") from None
        if event[0] != "open":
            raise Difference(f"{puppet.name} is not open: {shorten(event)}")
        return event[1]

    def end(self):
        """Closes what is still open. Whether both sides are idle again."""
        if self.ours.is_open and self.peer.is_open:
            self.client.tell("close", 1000, "-")
        if not (self.ours.wait_closed(2) and self.peer.wait_closed(2)):
            return False
        self.ours.forget()
        self.peer.forget()
        return True
