"""https: the certificate of a server is checked, and one that is not trusted says what to do."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from archiver.config import ServerConfig
from archiver.influx.api import connect
from archiver.influx.http import NoAnswer, NotTrusted
from tests.conftest import unavailable

NEVER = threading.Event()


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self.send_response(204)
        self.end_headers()

    def do_PUT(self) -> None:
        """Answer a byte at a time."""
        self.send_response(200)
        self.send_header("Content-Length", "10000")
        self.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(10_000):
                self.wfile.write(b"x")
                NEVER.wait(0.02)

    def do_POST(self) -> None:
        """Take what is sent slowly, and never all of it."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with contextlib.suppress(OSError):
            while self.rfile.read(4096):
                NEVER.wait(0.02)


class Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A client that does not trust the server ends the connection."""


@pytest.fixture
def https(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A server with a certificate of its own, and that."""
    if shutil.which("openssl") is None:
        unavailable("no openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with Server(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"https://localhost:{server.server_address[1]}", certificate
        finally:
            server.shutdown()
            thread.join()


def status(server: ServerConfig) -> int:
    client = connect(server)
    try:
        return client.request("GET", "/ping").status
    finally:
        client.close()


def test_GIVEN_an_untrusted_certificate_WHEN_it_is_named_or_not_checked_THEN_the_server_is_asked(
    https: tuple[str, Path], tmp_path: Path
) -> None:
    url, certificate = https
    with pytest.raises(NotTrusted, match="name the certificate of its authority, or its own, as ca_file"):
        status(ServerConfig("db", url))
    assert status(ServerConfig("db", url, ca_file=str(certificate))) == 204
    assert status(ServerConfig("db", url, verify=False)) == 204
    with pytest.raises(OSError, match=r"db: ca_file .*missing.pem cannot be used"):
        status(ServerConfig("db", url, ca_file=str(tmp_path / "missing.pem")))


@pytest.mark.parametrize(
    ("method", "body"), [("PUT", b""), ("POST", bytes(8 << 20))], ids=["slow answer", "slow to take the points"]
)
def test_GIVEN_a_server_with_tls_WHEN_it_is_slow_but_never_silent_THEN_the_exchange_ends_in_time(
    https: tuple[str, Path], method: str, body: bytes
) -> None:
    url, certificate = https
    client = connect(ServerConfig("db", url, ca_file=str(certificate), timeout=0.5))
    began = time.monotonic()
    with pytest.raises(NoAnswer, match=r"no answer in 0\.5 s"):
        client.request(method, "/write", body=body)
    assert time.monotonic() - began < 5.0
