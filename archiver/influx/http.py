"""A blocking HTTP/1.1 client with keep-alive, for one server and one thread, that always ends in time.

``http.client`` does the protocol. What it lacks is a deadline for a whole exchange: its timeout starts again with
each byte, so a server that dribbles could hold it for hours. Here the socket below it knows when the exchange ends.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast
from urllib.parse import urlencode, urlsplit

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

_CONNECT_SECONDS = 5.0
_LEAST_SECONDS = 0.001
"""A socket timeout of 0 would mean not to block at all."""


class NoAnswer(Exception):
    """There was no complete answer: the server may or may not have done what was asked."""


class NotTrusted(NoAnswer):
    """The certificate of the server was refused, so nothing was asked; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of the server; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpClient:
    """One server, ``http://host:8086/path``. ``timeout`` is for a whole exchange, connecting included, in seconds.

    ``ca_file`` holds the certificates (PEM) that are trusted instead of those of the system; without ``verify`` any
    certificate will do. Raises OSError when the file cannot be used.
    """

    def __init__(self, url: str, timeout: float, ca_file: str = "", verify: bool = True) -> None:
        parts = urlsplit(url)
        self._tls = _tls_context(ca_file, verify) if parts.scheme == "https" else None
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if self._tls else 80)
        self._base = parts.path.rstrip("/")
        self._timeout = timeout
        self._lock = threading.Lock()
        self._interrupted = False
        self._socket: _Socket | None = None
        self._connection: http.client.HTTPConnection | None = None

    def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        limit: int = 65_536,
    ) -> Answer:
        """Ask, and return the answer with at most ``limit`` bytes of its body.

        A connection that the server closed while it was idle is replaced once. Raises NoAnswer with the reason.
        """
        target = f"{self._base}{path}?{urlencode(query)}" if query else f"{self._base}{path}"
        deadline = time.monotonic() + self._timeout
        kept = self._connection is not None
        try:
            try:
                return self._exchange(method, target, headers or {}, body, limit, deadline)
            except (http.client.RemoteDisconnected, ConnectionError):
                self.close()
                if not kept or self._interrupted:
                    raise
            return self._exchange(method, target, headers or {}, body, limit, deadline)
        except TimeoutError:
            self.close()
            raise NoAnswer(f"no answer in {self._timeout:g} s") from None
        except ssl.SSLCertVerificationError as error:
            self.close()
            raise NotTrusted(
                f"the certificate of {self._host} is not trusted ({error.verify_message}): name the certificate of its"
                f" authority, or its own, as ca_file, or set verify = false"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise NoAnswer(str(error) or type(error).__name__) from error
        except BaseException:
            self.close()
            raise

    def interrupt(self) -> None:
        """End an exchange that is under way in another thread, and every later one, with NoAnswer."""
        with self._lock:
            self._interrupted = True
            self._shut_down()

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        with self._lock:
            old, self._socket, self._connection = self._socket, None, None
        if old is not None:
            old.close()

    def _shut_down(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def _exchange(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes, limit: int, deadline: float
    ) -> Answer:
        connection = self._connection or self._connect(deadline)
        assert self._socket is not None
        self._socket.deadline = deadline
        try:
            connection.request(method, target, body, dict(headers))
        except (BrokenPipeError, ConnectionResetError):
            # A server that does not want the body may answer and close before it has read all of it.
            answer = self._early_answer(connection, limit)
            if answer is None:
                raise
            return answer
        return self._answer(connection, limit)

    def _answer(self, connection: http.client.HTTPConnection, limit: int) -> Answer:
        with connection.getresponse() as response:
            body = response.read(limit)
            complete = response.isclosed() or not response.read(1)
            headers = {name.lower(): value for name, value in response.getheaders()}
            answer = Answer(response.status, headers, body)
            if response.will_close or not complete:
                self.close()
            return answer

    def _early_answer(self, connection: http.client.HTTPConnection, limit: int) -> Answer | None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            answer = self._answer(connection, limit)
            self.close()
            return answer
        return None

    def _connect(self, deadline: float) -> http.client.HTTPConnection:
        left = min(_CONNECT_SECONDS, deadline - time.monotonic())
        plain = socket.create_connection((self._host, self._port), timeout=max(left, _LEAST_SECONDS))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is None:
            wire = _Socket(fileno=plain.detach())
        else:
            try:
                wire = cast("_TlsSocket", self._tls.wrap_socket(plain, server_hostname=self._host))
            except BaseException:
                plain.close()
                raise
        with self._lock:
            self._socket, self._connection = wire, _Connection(self._host, self._port, wire)
            if self._interrupted:
                self._shut_down()
            return self._connection


def _tls_context(ca_file: str, verify: bool) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file or None)
    context.sslsocket_class = _TlsSocket
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class _Connection(http.client.HTTPConnection):
    """A connection over a socket that is open already; it never opens another by itself."""

    auto_open = 0

    def __init__(self, host: str, port: int, wire: socket.socket) -> None:
        super().__init__(host, port)
        self.sock = wire


class _Socket(socket.socket):
    """A socket with one deadline (monotonic seconds) for everything."""

    deadline = 0.0

    def sendall(self, data: ReadableBuffer, flags: int = 0) -> None:
        self._arm()
        super().sendall(data, flags)

    def recv_into(self, buffer: WriteableBuffer, nbytes: int | None = None, flags: int = 0) -> int:
        self._arm()
        return super().recv_into(buffer, nbytes or 0, flags)

    def _arm(self) -> None:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.settimeout(max(left, _LEAST_SECONDS))


class _TlsSocket(_Socket, ssl.SSLSocket):
    """The same with TLS."""
