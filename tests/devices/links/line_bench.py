"""A line on a bench: what is asked, and a server on the loopback that answers as a test tells it."""

import asyncio
from contextlib import asynccontextmanager, suppress

from devices.links.line import open_link

ASK = b"$CMD:MON,CH:0,PAR:VMON\r\n"
SET = b"$CMD:SET,CH:0,PAR:VSET,VAL:500.0\r\n"
TIMEOUT = 0.3  # seconds; long enough for a busy machine


class Peer:
    """A server that follows a script: ``script`` gets every request and the writer."""

    def __init__(self, script):
        self.script = script
        self.requests = []
        self.connections = 0
        self.writers = []
        self._sessions = set()

    async def serve(self, reader, writer):
        self.connections += 1
        self.writers.append(writer)
        self._sessions.add(asyncio.current_task())
        with suppress(ConnectionError, asyncio.CancelledError):
            while line := await reader.readline():
                self.requests.append(line)
                await self.script(len(self.requests), writer)
        writer.close()

    async def stop(self):
        for session in self._sessions:
            session.cancel()
        await asyncio.gather(*self._sessions, return_exceptions=True)


class Held:
    """A transport whose opening takes until it is let: a host that is slow to accept."""

    remembers = False

    def __init__(self):
        self.let = asyncio.Event()
        self.opening = self.is_open = False
        self.sent = []

    async def open(self):
        self.opening = True
        await self.let.wait()
        self.opening, self.is_open = False, True

    async def close(self):
        self.is_open = False

    async def write(self, data):
        self.sent.append(data)

    async def read(self, seconds):
        await asyncio.sleep(seconds)
        return b""

    def take_back(self):
        pass


@asynccontextmanager
async def talking_to(script, timeout=TIMEOUT):
    peer = Peer(script)
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    link = open_link(f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}", timeout)
    await link.connect()
    try:
        yield link, peer
    finally:
        await link.close()
        server.close()
        await peer.stop()
