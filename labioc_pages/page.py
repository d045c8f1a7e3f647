"""Small pages over HTTP about a running process, and the file beside its data that says where they are."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Final, NamedTuple

log = logging.getLogger("labioc")

TEXT: Final = "text/plain"
JSON: Final = "application/json"
METRICS: Final = "text/plain; version=0.0.4"
"""Content types; the last one is that of the Prometheus text format."""

MOST_CLIENTS: Final = 32
"""Connections at the same time; a further one is closed."""

_REQUEST_SECONDS: Final = 5.0
_LARGEST_HEAD: Final = 16_384
_LARGEST_ANSWER: Final = 100_000_000


class Answer(NamedTuple):
    """What a page answers with; ``status`` is that of HTTP."""

    kind: str
    body: str
    status: int = 200


class NotRunning(Exception):
    """No process answers; the text says where it was looked for."""


class StatusPages:
    """Serves pages by path, each of which is made when it is asked for; a client gets one answer a connection.

    ``address_file`` is where a note of the address is left for ``fetch``.
    """

    def __init__(self, pages: Mapping[str, Callable[[], Answer]], address_file: Path) -> None:
        self._pages = pages
        self._address_file = address_file
        self._server: asyncio.Server | None = None
        self._announced = False
        self._reported = False
        self._clients: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int) -> None:
        """Serve, and leave a note where; port 0 is any. Raises OSError."""
        self._server = await asyncio.start_server(self._accept, host, port, limit=_LARGEST_HEAD)
        self.announce()

    def announce(self) -> None:
        """Leave a note where the pages are, unless there is one; on a full disk it can be tried again later."""
        if self._announced or self._server is None:
            return
        fresh = self._address_file.with_name(f".{self._address_file.name}.new")
        try:
            self._address_file.parent.mkdir(parents=True, exist_ok=True)
            fresh.write_text(f"http://{_authority(self.address)}\n", encoding="ascii")
            fresh.replace(self._address_file)  # at once: a reader finds no file, or a whole address
            self._announced = True
        except OSError as error:
            if not self._reported:
                self._reported = True
                log.error("%s: not written yet (%s): the status can't be asked for", self._address_file, error)

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens, once started."""
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()[:2]
        return str(host), int(port)

    async def stop(self) -> None:
        """Listen no more and end what is being answered."""
        if self._server is not None:
            self._server.close()
            self._server = None
            with contextlib.suppress(OSError):
                self._address_file.unlink(missing_ok=True)
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._clients) >= MOST_CLIENTS:
            writer.close()
            return
        task = asyncio.create_task(self._answer(reader, writer), name="status page")
        self._clients.add(task)
        task.add_done_callback(self._clients.discard)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                answer = self._page((await reader.readuntil(b"\r\n\r\n")).split(b" ", 2))
                body = answer.body.encode(errors="backslashreplace")
                writer.write(
                    f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}\r\n"
                    f"Content-Type: {answer.kind}; charset=utf-8\r\n"
                    f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
                    + body
                )
                writer.close()
                await writer.wait_closed()
        except (OSError, TimeoutError, EOFError, asyncio.LimitOverrunError):
            pass  # the client went away, sent no request, or did not read its answer
        finally:
            writer.transport.abort()

    def _page(self, request: list[bytes]) -> Answer:
        if request[0] != b"GET" or len(request) < 3:
            return Answer(TEXT, "GET only\n", 405)
        make = self._pages.get(request[1].split(b"?")[0].decode("latin-1"))
        if make is None:
            return Answer(TEXT, f"There are {', '.join(self._pages)}\n", 404)
        try:
            return make()
        except Exception:
            log.exception("the page %s cannot be made", request[1].decode("latin-1"))
            return Answer(TEXT, "internal error, see the log\n", 500)


def fetch(address_file: Path, path: str, what: str) -> tuple[int, bytes]:
    """Ask the process that has left a note in a file for a page; returns the status and the answer.

    Raises NotRunning, saying ``what`` is not running, when there is no note or no answer.
    """
    import http.client  # noqa: PLC0415  takes long to import, and what reads a site file asks for no page

    try:
        url = address_file.read_text(encoding="ascii").strip()
    except OSError:
        raise NotRunning(f"no {what} is running") from None
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=_REQUEST_SECONDS)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read(_LARGEST_ANSWER)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NotRunning(f"no {what} is running any more ({url}: {error or type(error).__name__})") from error
    finally:
        connection.close()


def listen_address(text: str) -> tuple[str, int]:
    """Read ``HOST:PORT`` of a site file."""
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def _authority(address: tuple[str, int]) -> str:
    host, port = address
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
