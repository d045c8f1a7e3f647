"""What console and server say to each other: JSON objects, one a line, over a Unix socket.

Console: ``hello`` (whether a person is there), ``line`` (a command), ``answer`` (to a question), ``cancel`` (Ctrl-C),
``complete`` (the beginning of a line). Server: ``hello`` (prompt) with ``pvs`` (their number), ``out`` (lines, each
with its alarm severity), ``err``, ``ask``, ``done`` (whether the command succeeded), ``candidates``.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from ioc.site.config import Site

Message = dict[str, Any]

LONGEST: Final = 1 << 20
"""Bytes of a message."""

_LONGEST_PATH: Final = 100
"""Bytes of the path of a Unix socket that every system takes (unix(7): 108 on Linux)."""


def encoded(message: Message) -> bytes:
    """Return a message as a line."""
    return json.dumps(message).encode() + b"\n"


def decoded(line: bytes) -> Message:
    """Read a line; what is no message is an empty one."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def socket_path(site: Site, folder: Path) -> Path:
    """Return where the console of an IOC listens, in its state folder."""
    return folder / f"{site.prefix.replace(':', '.')}.{site.ioc}-console"


@contextmanager
def short(path: Path) -> Iterator[str]:
    """Give a path that a Unix socket takes, however long it is. Raises OSError when its folder is not there."""
    if len(os.fsencode(path)) <= _LONGEST_PATH:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def connect(path: Path) -> socket.socket:
    """Connect to a console socket. Raises OSError: FileNotFoundError and ConnectionRefusedError when none listens."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with short(path) as name:
            sock.connect(name)
    except OSError:
        sock.close()
        raise
    return sock
