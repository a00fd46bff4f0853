"""websockets' sans-I/O layer behind the handshake: a case per line in, an outcome per line out (see rust/src/case.rs)."""

import logging
import sys

from drivers import Outcome, read_case, written_close
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Opcode
from websockets.protocol import CLIENT, SERVER, Protocol

logging.disable(logging.CRITICAL)


def extensions(case):
    deflate = case.deflate
    if deflate is None:
        return []
    client = (deflate.client_no_context_takeover, deflate.client_bits)
    server = (deflate.server_no_context_takeover, deflate.server_bits)
    remote, local = (client, server) if case.server else (server, client)
    return [PerMessageDeflate(remote[0], local[0], remote[1], max(9, local[1]))]


def run(case):
    outcome = Outcome()
    protocol = Protocol(SERVER if case.server else CLIENT, max_size=case.limit)
    protocol.extensions = extensions(case)
    kind, message, wire = None, [], b""
    for piece in case.pieces():
        protocol.receive_data(piece)
        for frame in protocol.events_received():
            if frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                if frame.opcode is not Opcode.CONT:
                    kind, message = frame.opcode, []
                message.append(bytes(frame.data))
                if not frame.fin:
                    continue
                whole = b"".join(message)
                if kind is Opcode.TEXT:
                    # Left to whoever uses the protocol: the library's own connections fail it when they are asked for the message.
                    # What the protocol made of bytes behind it by then depends on the cut, so it is not looked at.
                    try:
                        whole.decode()
                    except UnicodeDecodeError:
                        protocol.fail(1007)
                        wire += b"".join(protocol.data_to_send())
                        return outcome.failed(1007)
                outcome.event("t" if kind is Opcode.TEXT else "b", whole)
            elif frame.opcode is Opcode.PING:
                outcome.event("i", bytes(frame.data))
            elif frame.opcode is Opcode.PONG:
                outcome.event("o", bytes(frame.data))
        wire += b"".join(protocol.data_to_send())
        if protocol.close_rcvd is not None and protocol.parser_exc is None:
            close = protocol.close_rcvd
            return outcome.peer(close.code, close.reason.encode(), written_close(wire, not case.server))
        if protocol.parser_exc is not None:
            return outcome.failed(written_close(wire, not case.server))
    return outcome.open()


for line in sys.stdin:
    case = read_case(line)
    try:
        print(run(case), flush=True)
    except Exception as error:  # a bug of the implementation is an outcome, too
        print(f"| crash {type(error).__name__}", flush=True)
