#!/usr/bin/env python3
"""Writes the seeds from which the corpora of the connection targets were grown: `fuzz/seeds.py` from the root of the repository, no
arguments, the same files each time. What the fuzzer found on top of them is kept beside them, minimised."""

import os
import random

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus")
COUNT = 24


def content(dice, long=False):
    """As `naive::Steps::content` reads it."""
    part = dice.choice([b'{"id":%d,"name":"tautline"},' % dice.randrange(1000), "é漢😀ab".encode(), b"ab", b"\0", bytes(dice.randbytes(9))])
    how = dice.choice([1, 1, 3]) if long else dice.randrange(4)
    if how == 0:
        part = part[:63]
        return bytes([len(part) << 2]) + part
    length = b"\xff" if long else bytes([dice.choice([dice.randrange(240), dice.randrange(240), dice.randrange(240, 256)])])
    if how == 3:
        return bytes([dice.randrange(64) << 2 | 3]) + length
    part = (part * 2)[:16]
    return bytes([(len(part) - 1) << 4 | 1]) + length + part


def settings(dice):
    """As `naive::Steps::deflate` reads it: mostly in range."""
    return bytes([dice.randrange(1, 10) << 4 | dice.randrange(1, 10), dice.randrange(12) << 4 | dice.randrange(12), dice.randrange(16), 0])


def steps(dice, ops, count):
    """Steps, each of which mostly has content; some get one byte more or fewer than they read, which shifts the rest."""
    return b"".join(bytes([dice.choice(ops)]) + (content(dice) if dice.random() < 0.8 else dice.randbytes(dice.randrange(3))) for _ in range(count))


def deflate_in(dice):
    cuts = dice.randbytes(2)
    head = bytes([dice.randrange(256)]) + settings(dice) + b"\0" + cuts + bytes([255, 255, dice.randrange(9)])
    return head + steps(dice, range(256), dice.randrange(1, 20))


def deflate_out(dice):
    return bytes([dice.randrange(256)]) + settings(dice) + settings(dice) + steps(dice, range(256), dice.randrange(4, 60))


def connection(dice):
    head = bytes([dice.randrange(256)])
    if head[0] & 1:
        head += settings(dice) + settings(dice)
    limits = lambda: dice.choice([dice.randrange(256), 2 | dice.randrange(256) & 0x61])
    head += bytes([limits() & ~4, dice.randrange(64), limits() & ~4, dice.randrange(64)])
    body = b""
    # Behind a link that tampers nothing is compared any more.
    ops = [8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 20, 24, 28] + dice.choice([[], [], [21], [25]])
    for _ in range(dice.randrange(5, 50)):
        side = dice.choice([0, 128])
        op = dice.choice(ops) | dice.randrange(4) << 5
        arguments = dice.randbytes({14: 1, 17: 1, 18: 1, 20: 1, 25: [0, 1, 0, 4][op >> 5]}.get(op & 31, 0))
        if op & 31 in range(8, 17) or op & 31 == 25 and op >> 5 < 3:
            arguments += content(dice)
        body += bytes([side | op]) + arguments
        if dice.random() < 0.15:
            # Long, and read in pieces, some of them where it is assembled.
            body += bytes([side | dice.choice([8, 9])]) + content(dice, long=True) + bytes([side | 1])
            body += b"".join(bytes([(side ^ 128) | 0x27, dice.randrange(10, 40), dice.randrange(256)]) for _ in range(6))
        elif dice.random() < 0.4:
            body += bytes([side | 1, (side ^ 128) | 7 | dice.randrange(4) << 5]) + dice.randbytes(2)
    return head + body + bytes([19]) + b"\0\0\0"


def assembler(dice):
    head = bytes([dice.randrange(256)])
    # Reads of up to 16 KiB; the even ones go where a message is assembled, if they can.
    head += b"".join(bytes([dice.randrange(1, 128), dice.randrange(256)]) for _ in range(1 + head[0] // 16))
    body = b""
    for _ in range(dice.randrange(1, 6)):
        long = dice.random() < 0.5
        for part in range(dice.randrange(1, 5)):
            op = dice.choice([0, 2]) if part == 0 else 4
            spoilt = dice.choice([0, 0, 0, 0x10, 0x20])
            body += bytes([op | dice.choice([0, 8]) | spoilt]) + content(dice, long and part < 2)
            body += dice.randbytes(3) if spoilt == 0x20 else b""
        body += bytes([4 | 64 | dice.choice([0, 8, 0x10])]) + content(dice)
    return head + body


def deflate_negotiation(dice):
    names = ["server_no_context_takeover", "client_no_context_takeover", "server_max_window_bits", "client_max_window_bits", "other"]
    values = ["", "", "=8", "=9", '="10"', "=15", "=16", "=08", '="1\\5"', "=abc"]
    def offer():
        params = dice.sample(names, dice.randrange(4))
        name = dice.choice(["permessage-deflate"] * 5 + ["x-webkit-deflate-frame"])
        return "; ".join([name] + [param + ("" if "takeover" in param else dice.choice(values)) for param in params])
    lines = [", ".join(offer() for _ in range(dice.randrange(1, 4))) for _ in range(dice.randrange(1, 4))]
    return settings(dice) + settings(dice) + "\n".join(lines).encode()


for make in (deflate_in, deflate_out, connection, assembler, deflate_negotiation):
    folder = os.path.join(ROOT, make.__name__)
    os.makedirs(folder, exist_ok=True)
    for number in range(COUNT):
        dice = random.Random(f"{make.__name__} {number}")
        with open(os.path.join(folder, f"seed_{number:02}"), "wb") as file:
            file.write(make(dice))
