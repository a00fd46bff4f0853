"""wsproto behind the handshake: a case per line in, an outcome per line out (see rust/src/case.rs)."""

import sys

from drivers import Outcome, read_case, written_close
from wsproto.connection import CLIENT, SERVER, Connection, ConnectionState
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage
from wsproto.extensions import PerMessageDeflate


def extensions(deflate):
    if deflate is None:
        return []
    extension = PerMessageDeflate(
        client_no_context_takeover=deflate.client_no_context_takeover,
        client_max_window_bits=deflate.client_bits,
        server_no_context_takeover=deflate.server_no_context_takeover,
        server_max_window_bits=deflate.server_bits,
    )
    extension._enabled = True  # as `accept` and `finalize` leave it
    return [extension]


def run(case):
    outcome = Outcome()
    connection = Connection(SERVER if case.server else CLIENT, extensions(case.deflate))
    message, wire = [], b""
    for piece in case.pieces():
        connection.receive_data(piece)
        for event in connection.events():
            if isinstance(event, TextMessage):
                message.append(event.data.encode())
                if event.message_finished:
                    outcome.event("t", b"".join(message))
                    message = []
            elif isinstance(event, BytesMessage):
                message.append(bytes(event.data))
                if event.message_finished:
                    outcome.event("b", b"".join(message))
                    message = []
            elif isinstance(event, Ping):
                outcome.event("i", bytes(event.payload))
                wire += connection.send(event.response())
            elif isinstance(event, Pong):
                outcome.event("o", bytes(event.payload))
            elif isinstance(event, CloseConnection):
                peers = connection.state is ConnectionState.REMOTE_CLOSING
                wire += connection.send(event.response())
                code = written_close(wire, not case.server)
                if peers:
                    return outcome.peer(event.code, event.reason.encode(), code)
                return outcome.failed(code)
    return outcome.open()


for line in sys.stdin:
    case = read_case(line)
    try:
        print(run(case), flush=True)
    except Exception as error:  # a bug of the implementation is an outcome, too
        print(f"| crash {type(error).__name__}", flush=True)
