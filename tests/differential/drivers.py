"""What the Python drivers share: the case's line, the outcome's line, and the Close frame that was written."""

import hashlib
from typing import NamedTuple


class Deflate(NamedTuple):
    server_no_context_takeover: bool
    client_no_context_takeover: bool
    server_bits: int
    client_bits: int


class Case(NamedTuple):
    server: bool
    limit: int
    fragments: int
    deflate: Deflate | None
    cuts: list[int]
    data: bytes

    def pieces(self):
        """The stream in the pieces in which it is read."""
        start = 0
        for end in [*self.cuts, len(self.data)]:
            yield self.data[start:end]
            start = end


def read_case(line):
    role, limit, fragments, deflate, cuts, data = line.split()
    if deflate == "-":
        agreed = None
    else:
        server_none, client_none, server_bits, client_bits = map(int, deflate.split(","))
        agreed = Deflate(bool(server_none), bool(client_none), server_bits, client_bits)
    return Case(
        role == "s",
        int(limit),
        int(fragments),
        agreed,
        [] if cuts == "-" else [int(cut) for cut in cuts.split(",")],
        b"" if data == "-" else bytes.fromhex(data),
    )


class Outcome:
    def __init__(self):
        self.events = []

    def event(self, letter, payload):
        self.events.append(f"{letter}:{digest(payload)} ")

    def open(self):
        return "".join(self.events) + "| open"

    def peer(self, code, reason, echo):
        return "".join(self.events) + f"| peer {int(code)} {digest(reason) or '='} {'-' if echo is None else echo}"

    def failed(self, code):
        return "".join(self.events) + f"| fail {'-' if code is None else code}"


def digest(payload):
    if len(payload) <= 32:
        return payload.hex()
    return f"#{len(payload)}:{hashlib.sha1(payload).hexdigest()[:16]}"


def written_close(wire, masks):
    """The code in the Close frame that was written last, if one was written: 0 for an empty one."""
    code = None
    while len(wire) >= 2:
        length = wire[1] & 0x7F
        at = 2
        if length == 126:
            length, at = int.from_bytes(wire[2:4]), 4
        elif length == 127:
            length, at = int.from_bytes(wire[2:10]), 10
        key = bytes(4)
        if masks:
            key, at = wire[at : at + 4], at + 4
        if wire[0] & 15 == 8:
            code = int.from_bytes(b ^ k for b, k in zip(wire[at : at + length], key[:2])) if length else 0
        wire = wire[at + length :]
    return code
