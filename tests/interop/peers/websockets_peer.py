"""Python `websockets` (its asyncio side) as a puppet (see ../README.md): websockets_peer.py server|client [DEFLATE]"""

import asyncio
import sys

from puppet import DEFLATE, LARGEST, commands, failed, from_hex, say, to_hex
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory, ServerPerMessageDeflateFactory


class Puppet:
    def __init__(self, deflate):
        self.deflate = deflate
        self.current = None
        #: The fragments of the message that is being sent; `None` ends them.
        self.fragments = None
        self.tasks = set()

    def settings(self, factory):
        common = {"max_size": LARGEST, "ping_interval": None}
        if self.deflate == "off":
            return {**common, "compression": None}
        if self.deflate == "default":
            return common
        return {**common, "compression": None, "extensions": [factory(**DEFLATE[self.deflate])]}

    def spawn(self, coroutine):
        task = asyncio.ensure_future(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def read(self, connection, response):
        self.current = connection
        say("open", agreed(response))
        try:
            async for message in connection:
                if isinstance(message, str):
                    say("text", to_hex(message.encode()))
                else:
                    say("binary", to_hex(message))
        except ConnectionClosed:
            pass
        await connection.wait_closed()
        say("closed", connection.close_code, to_hex((connection.close_reason or "").encode()))

    async def obey(self, command, *words):
        match command:
            case "connect":
                settings = self.settings(ClientPerMessageDeflateFactory)
                connection = await connect(f"ws://127.0.0.1:{words[0]}/", proxy=None, **settings)
                self.spawn(self.read(connection, connection.response))
            case "text":
                await self.current.send(from_hex(words[0]).decode())
            case "binary":
                await self.current.send(from_hex(words[0]))
            case "badtext":
                await self.current.send(from_hex(words[0]), text=True)
            case "begin":
                # Bytes in a text message may be cut anywhere.
                self.fragments = asyncio.Queue()
                self.fragments.put_nowait(from_hex(words[1]))
                self.spawn(self.send_fragments(text=words[0] == "text"))
            case "more":
                self.fragments.put_nowait(from_hex(words[0]))
            case "end":
                # The library ends a message with an empty fragment of its own.
                self.fragments.put_nowait(from_hex(words[0]))
                self.fragments.put_nowait(None)
            case "ping":
                # Behind the fragments that were asked for before.
                await asyncio.sleep(0.01)
                self.spawn(self.report_pong(from_hex(words[0])))
            case "pong":
                await self.current.pong(from_hex(words[0]))
            case "close":
                if words:
                    self.spawn(self.current.close(int(words[0]), from_hex(words[1]).decode()))
                else:
                    say("cannot", "it sends a code with every Close frame")
            case "plain":
                say("cannot", "it compresses every message or none")

    async def send_fragments(self, text):
        async def all_fragments():
            while (fragment := await self.fragments.get()) is not None:
                yield fragment

        try:
            await self.current.send(all_fragments(), text=text)
        except ConnectionClosed as error:
            failed(error)

    async def report_pong(self, payload):
        await (await self.current.ping(payload))
        say("pong", to_hex(payload))

    async def run(self, role):
        if role == "server":
            handler = lambda connection: self.read(connection, connection.response)  # noqa: E731
            server = await serve(handler, "127.0.0.1", 0, **self.settings(ServerPerMessageDeflateFactory))
            say("listening", server.sockets[0].getsockname()[1])
        else:
            say("ready")
        async for words in commands():
            try:
                await self.obey(*words)
            except Exception as error:
                failed(error)


def agreed(response):
    """What the answer to the handshake says."""
    value = response.headers.get("Sec-WebSocket-Extensions")
    if value is None:
        return "-"
    return ";".join(word.strip() for word in value.split(";")[1:]) or "yes"


asyncio.run(Puppet(sys.argv[2] if len(sys.argv) > 2 else "off").run(sys.argv[1]))
