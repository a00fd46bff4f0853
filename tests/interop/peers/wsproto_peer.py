"""Python `wsproto` over asyncio's streams as a puppet (see ../README.md): wsproto_peer.py server|client [DEFLATE]"""

import asyncio
import sys

from puppet import DEFLATE, LARGEST, commands, failed, from_hex, say, to_hex
from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    Pong,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)
from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import RemoteProtocolError


class Puppet:
    def __init__(self, deflate):
        self.deflate = deflate
        self.writer = None
        self.ws = None
        #: The kind of the message whose fragments are being sent.
        self.begun = None
        self.reading = set()

    def extensions(self):
        if self.deflate == "off":
            return []
        return [PerMessageDeflate(**DEFLATE.get(self.deflate, {}))]

    def send(self, event):
        self.writer.write(self.ws.send(event))

    async def serve(self, reader, writer):
        self.writer, self.ws = writer, WSConnection(ConnectionType.SERVER)
        await self.read(reader, writer, self.ws, self.extensions())

    async def connect(self, port):
        reader, self.writer = await asyncio.open_connection("127.0.0.1", port)
        self.ws, extensions = WSConnection(ConnectionType.CLIENT), self.extensions()
        self.send(Request(host=f"127.0.0.1:{port}", target="/", extensions=extensions))
        task = asyncio.ensure_future(self.read(reader, self.writer, self.ws, extensions))
        self.reading.add(task)
        task.add_done_callback(self.reading.discard)

    async def read(self, reader, writer, ws, extensions):
        seen = (1006, b"")
        try:
            seen = await self.read_events(reader, writer, ws, extensions)
        except RemoteProtocolError as error:
            # The library says what to answer.
            failed(error)
            if error.event_hint is not None:
                writer.write(ws.send(error.event_hint))
        except Exception as error:
            failed(error)
        say("closed", seen[0], to_hex(seen[1]))
        writer.close()

    async def read_events(self, reader, writer, ws, extensions):
        """Reads to the end, and returns what the other side's Close frame said."""
        pieces, seen = [], (1006, b"")
        while data := await reader.read(1 << 16):
            ws.receive_data(data)
            for event in ws.events():
                match event:
                    case Request():
                        writer.write(ws.send(AcceptConnection(extensions=extensions)))
                        say("open", agreed(extensions))
                    case AcceptConnection():
                        say("open", agreed(extensions))
                    case RejectConnection() | RejectData():
                        failed(RuntimeError("rejected"))
                    case TextMessage() | BytesMessage():
                        text = isinstance(event, TextMessage)
                        pieces.append(event.data.encode() if text else bytes(event.data))
                        # The library has no limit: whoever puts messages together keeps one.
                        if sum(map(len, pieces)) > LARGEST:
                            if ws.state is ConnectionState.OPEN:
                                writer.write(ws.send(CloseConnection(1009, "too big")))
                            continue
                        if event.message_finished:
                            say("text" if text else "binary", to_hex(b"".join(pieces)))
                            pieces.clear()
                    case Ping():
                        say("ping", to_hex(event.payload))
                        writer.write(ws.send(event.response()))
                    case Pong():
                        say("pong", to_hex(event.payload))
                    case CloseConnection():
                        # In any other state but these it is the answer to our own.
                        seen = (event.code, (event.reason or "").encode())
                        if ws.state in (ConnectionState.REMOTE_CLOSING, ConnectionState.OPEN):
                            # `OPEN`: what came cannot be read, and this is what to send.
                            writer.write(ws.send(event.response()))
            await writer.drain()
            if ws.state is ConnectionState.CLOSED:
                break
        return seen

    def message(self, kind, data, last):
        if kind == "text":
            return TextMessage(data=data.decode(), message_finished=last)
        return BytesMessage(data=data, message_finished=last)

    async def obey(self, command, *words):
        match command:
            case "connect":
                await self.connect(int(words[0]))
            case "text" | "binary":
                self.send(self.message(command, from_hex(words[0]), True))
            case "begin":
                self.begun = words[0]
                self.send(self.message(words[0], from_hex(words[1]), False))
            case "more" | "end":
                self.send(self.message(self.begun, from_hex(words[0]), command == "end"))
            case "ping":
                self.send(Ping(from_hex(words[0])))
            case "pong":
                self.send(Pong(from_hex(words[0])))
            case "close":
                if words:
                    self.send(CloseConnection(int(words[0]), from_hex(words[1]).decode() or None))
                else:
                    self.send(CloseConnection(CloseReason.NO_STATUS_RCVD))
            case "badtext":
                say("cannot", "its text messages are strings")
            case "plain":
                say("cannot", "it compresses every message or none")
        await self.writer.drain()

    async def run(self, role):
        if role == "server":
            server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
            say("listening", server.sockets[0].getsockname()[1])
        else:
            say("ready")
        async for words in commands():
            try:
                await self.obey(*words)
            except UnicodeDecodeError:
                say("cannot", "its text messages are strings")
            except Exception as error:
                failed(error)


def agreed(extensions):
    """What the extension is set to now; it tells no more."""
    for extension in extensions:
        if extension.enabled():
            flags = [name for name in ("server_no_context_takeover", "client_no_context_takeover") if getattr(extension, name)]
            bits = [f"{name}={getattr(extension, name)}" for name in ("server_max_window_bits", "client_max_window_bits")]
            return ";".join(flags + bits)
    return "-"


asyncio.run(Puppet(sys.argv[2] if len(sys.argv) > 2 else "off").run(sys.argv[1]))
