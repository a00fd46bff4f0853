"""The language of puppets (see ../README.md) for the peers in Python."""

import asyncio
import os
import sys

LARGEST = 1 << 20

#: What the names of compression mean, in the words of RFC 7692: the parameters that a side asks for.
DEFLATE = {
    "takeover": {},
    "no-takeover": {"server_no_context_takeover": True, "client_no_context_takeover": True},
    **{f"bits-{bits}": {"server_max_window_bits": bits, "client_max_window_bits": bits} for bits in range(9, 16)},
}

PARAMETERS = (
    "server_no_context_takeover",
    "client_no_context_takeover",
    "server_max_window_bits",
    "client_max_window_bits",
)


def say(event, *words):
    os.write(1, (" ".join([event, *map(str, words)]) + "\n").encode())


def to_hex(data):
    return bytes(data).hex() or "-"


def from_hex(word):
    return b"" if word == "-" else bytes.fromhex(word)


def failed(error):
    say("failed", f"{type(error).__name__}: {error}".replace("\n", " "))


async def commands():
    """The lines of standard input, taken apart."""
    reader = asyncio.StreamReader(limit=1 << 24)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield line.decode().split()
