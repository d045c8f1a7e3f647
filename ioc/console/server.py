"""The console of a running server: a Unix socket in the state folder, for those who may write there.

The rights of the socket are those of the folder. Who is at the other end is what the system says (SO_PEERCRED), not
what the console says.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pwd
import socket
import stat
import struct
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from ioc.app import App
from ioc.console.pvs import Line
from ioc.console.session import Session
from ioc.console.wire import LONGEST, Message, connect, decoded, encoded, short, socket_path
from ioc.records import PutContext

log = logging.getLogger("labioc.console")

MOST_CONSOLES: Final = 20
PAUSE: Final = 1.0
"""Seconds until the next attempt after a connection could not be taken."""

READ_SECONDS: Final = 3.0
"""How long the devices may take to be read before the first command of a server that was started for its console."""

_KNOWS_PEERS: Final = hasattr(socket, "SO_PEERCRED")
"""Whether the system says who is at the other end; else it can only be the user of the server."""

_PEER: Final = struct.Struct("3i")


class RemoteTerminal:
    """The terminal at the other end of a connection."""

    interactive = False

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._answer: asyncio.Future[str] | None = None

    async def send(self, message: Message) -> None:
        """Send a message, at the pace at which it is read. Raises ConnectionError."""
        self._writer.write(encoded(message))
        await self._writer.drain()

    async def ask(self, question: str) -> str:
        """Ask, and wait for the answer."""
        self._answer = asyncio.get_running_loop().create_future()
        await self.send({"ask": question})
        return await self._answer

    async def show(self, lines: Iterable[Line]) -> None:
        """Show lines of an answer."""
        await self.send({"out": [(line.text, line.severity) for line in lines]})

    async def complain(self, text: str) -> None:
        """Show why a command failed."""
        await self.send({"err": text})

    def answered(self, text: str) -> None:
        """Take the answer to the question that was asked, if there is one."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(text)


class Consoles:
    """The consoles of one server."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._tasks: set[asyncio.Task[None]] = set()

    def accept(self, sock: socket.socket, starting: bool = False) -> asyncio.Task[None]:
        """Serve a connection until it ends; ``starting`` waits until the devices have been read."""
        task = asyncio.create_task(self._serve(sock, starting), name="console")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """End every console."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @asynccontextmanager
    async def listening(self, folder: Path) -> AsyncIterator[None]:
        """Listen in a folder meanwhile. That it is not possible is logged, and the server goes on without."""
        path = socket_path(self._app.site, folder)
        try:
            listener = await asyncio.to_thread(listen, path)
        except OSError as error:
            log.warning("no console at %s: %s", path, error.strerror or error)
            yield
            return
        loop = asyncio.get_running_loop()
        loop.add_reader(listener, self._connection, listener)
        mine = os.stat(path).st_ino
        try:
            yield
        finally:
            loop.remove_reader(listener)
            listener.close()
            with suppress(OSError):
                if os.stat(path).st_ino == mine:
                    path.unlink()

    def _connection(self, listener: socket.socket) -> None:
        try:
            sock, _ = listener.accept()
        except BlockingIOError:  # the client has gone
            return
        except OSError as error:  # as without descriptors: trying at once would be tried for ever
            log.warning("no console can be opened: %s", error.strerror or error)
            loop = asyncio.get_running_loop()
            loop.remove_reader(listener)
            loop.call_later(PAUSE, self._listen_again, listener)
            return
        if len(self._tasks) >= MOST_CONSOLES:
            sock.close()
        else:
            self.accept(sock)

    def _listen_again(self, listener: socket.socket) -> None:
        if listener.fileno() >= 0:
            asyncio.get_running_loop().add_reader(listener, self._connection, listener)

    async def _serve(self, sock: socket.socket, starting: bool) -> None:
        user = user_at(sock)
        reader, writer = await asyncio.open_unix_connection(sock=sock, limit=LONGEST)
        terminal = RemoteTerminal(writer)
        session = Session(self._app, terminal, PutContext(user, socket.gethostname(), ("127.0.0.1", 0), callback=True))
        try:
            if starting:
                await self._app.wait_until_read(READ_SECONDS)
            else:
                log.info("console: opened by %s", user)
            await terminal.send({"hello": f"{self._app.site.prefix}> ", "pvs": len(self._app.records)})
            await self._talk(reader, terminal, session)
        except (ConnectionError, ValueError):  # gone, or a line without end
            pass
        finally:
            writer.close()
            if not starting:
                log.info("console: closed by %s", user)

    @staticmethod
    async def _talk(reader: asyncio.StreamReader, terminal: RemoteTerminal, session: Session) -> None:
        """Take messages until the connection ends; a command that is under way then is given up."""
        command: asyncio.Task[None] | None = None
        try:
            while line := await reader.readline():
                message = decoded(line)
                if "line" in message and (command is None or command.done()):
                    command = asyncio.create_task(_carry_out(terminal, session, str(message["line"])), name="command")
                elif "cancel" in message and command is not None:
                    command.cancel()
                elif "answer" in message:
                    terminal.answered(str(message["answer"]))
                elif "complete" in message:
                    await terminal.send({"candidates": session.candidates(str(message["complete"]))})
                elif "hello" in message:
                    terminal.interactive = bool(message["hello"])
        finally:
            if command is not None:
                command.cancel()
                await asyncio.gather(command, return_exceptions=True)


async def _carry_out(terminal: RemoteTerminal, session: Session, line: str) -> None:
    with suppress(ConnectionError):
        try:
            succeeded = await session.take(line)
        except asyncio.CancelledError:
            if not line.lstrip().startswith("watch"):
                await terminal.complain("given up; a put that has begun is finished all the same, get shows what holds")
            await terminal.send({"done": True})
            return
        await terminal.send({"done": succeeded})


@asynccontextmanager
async def consoles(
    app: App, folder: Path, ended: asyncio.Event, sock: socket.socket | None = None
) -> AsyncIterator[None]:
    """Have consoles meanwhile: at the socket in a folder, and over a connection at whose end the event is set."""
    served = Consoles(app)
    try:
        async with served.listening(folder):
            if sock is not None:
                served.accept(sock, starting=True).add_done_callback(lambda _: ended.set())
            yield
    finally:
        await served.close()


def user_at(sock: socket.socket) -> str:
    """Return the user of the operating system at the other end of a Unix socket; a number that has no name as such."""
    if _KNOWS_PEERS:
        _, uid, _ = _PEER.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    else:
        uid = os.getuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def listen(path: Path) -> socket.socket:
    """Listen with the rights of the folder. Raises OSError, also when another server has a console there."""
    try:
        connect(path).close()
    except OSError:
        pass
    else:
        raise FileExistsError(0, "another server has one there")
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.parent.stat()
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        with short(new) as name:
            listener.bind(name)
        # A client can connect from listen() on: by then the rights are set.
        permitted = 0o660 if _KNOWS_PEERS else 0o600
        try:
            os.chown(new, -1, folder.st_gid)
        except PermissionError:
            permitted = 0o600  # its group is that of this process, which may be everybody's
        os.chmod(new, stat.S_IMODE(folder.st_mode) & permitted)
        listener.listen()
        new.replace(path)
    except OSError:
        listener.close()
        new.unlink(missing_ok=True)
        raise
    return listener
