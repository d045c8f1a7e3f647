"""The page of the bridge over HTTP: ``/metrics`` for Prometheus, ``/status`` for ``labioc archive SITE status``."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from archiver.influx.http import HttpClient, NoAnswer

log = logging.getLogger("labioc.archiver")

ADDRESS_FILE = "status-address"
"""In the folder of the log: where the page of the running bridge is served."""

_REQUEST_SECONDS = 5.0
_LARGEST_HEAD = 16_384
_LARGEST_STATUS = 100_000_000


class StatusPage:
    """Serves what the two functions return; a client gets one answer a connection."""

    def __init__(self, directory: Path, status: Callable[[], dict[str, Any]], metrics: Callable[[], str]) -> None:
        self._address_file = directory / ADDRESS_FILE
        self._status = status
        self._metrics = metrics
        self._server: asyncio.Server | None = None
        self._announced = False
        self._reported = False
        self._clients: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int) -> None:
        """Serve, and leave a note where. Raises OSError."""
        self._server = await asyncio.start_server(self._accept, host, port, limit=_LARGEST_HEAD)
        self.announce()

    def announce(self) -> None:
        """Leave a note where the page is, unless there is one; on a full disk it can be tried again later."""
        if self._announced:
            return
        fresh = self._address_file.with_name(f".{ADDRESS_FILE}.new")
        try:
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
        """Close the door and end what is being answered."""
        if self._server is not None:
            self._server.close()
            self._address_file.unlink(missing_ok=True)
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._answer(reader, writer), name="status page")
        self._clients.add(task)
        task.add_done_callback(self._clients.discard)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                status, kind, body = self._page(head.split(b" ", 2))
                writer.write(
                    f"HTTP/1.1 {status}\r\nContent-Type: {kind}; charset=utf-8\r\n"
                    f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
                    + body
                )
                await writer.drain()
        except (OSError, TimeoutError, EOFError, asyncio.LimitOverrunError):
            pass  # the client went away, or sent no request
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _page(self, request: list[bytes]) -> tuple[str, str, bytes]:
        if request[0] != b"GET" or len(request) < 3:
            return "405 Method Not Allowed", "text/plain", b"GET only\n"
        match request[1].split(b"?")[0]:
            case b"/metrics":
                return "200 OK", "text/plain; version=0.0.4", self._metrics().encode()
            case b"/status":
                return "200 OK", "application/json", json.dumps(self._status()).encode()
        return "404 Not Found", "text/plain", b"There are /metrics and /status\n"


def fetch_status(directory: Path) -> dict[str, Any]:
    """Ask the bridge that writes the log in a folder. Raises NoAnswer, saying so, when none is running there."""
    try:
        url = (directory / ADDRESS_FILE).read_text(encoding="ascii").strip()
    except OSError:
        raise NoAnswer(f"no bridge is running on {directory}") from None
    client = HttpClient(url, _REQUEST_SECONDS)
    try:
        answer = client.request("GET", "/status", limit=_LARGEST_STATUS)
    except NoAnswer as error:
        raise NoAnswer(f"no bridge is running on {directory} any more ({url}: {error})") from error
    finally:
        client.close()
    status: dict[str, Any] = json.loads(answer.body)
    return status


def _authority(address: tuple[str, int]) -> str:
    host, port = address
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
