"""What a site needs of the computer it is on: its clock, its disk, and databases that answer. Only reads."""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from archiver.config import ServerConfig
from archiver.influx.api import authorization, connect
from archiver.influx.http import NoAnswer
from ioc.selftest.findings import Finding, Result

LEAST_FREE = 1_000_000_000
"""Bytes that should be free where something is kept."""

_TIME_ERROR = 5
"""What adjtimex returns while the clock is not synchronised (adjtimex(2))."""


def check_clock() -> Finding:
    """Ask the kernel whether the clock of this computer is synchronised; nothing is set (modes is 0)."""
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))
    except (OSError, AttributeError):
        state = -1
    if state == _TIME_ERROR:
        text = "not synchronised: run an NTP client, or time stamps of the archive will drift"
        return Finding(Result.WARNING, "clock", "computer", text)
    if state < 0:
        return Finding(Result.NOTE, "clock", "computer", "the system does not say whether it is synchronised")
    return Finding(Result.OK, "clock", "computer", "synchronised")


def check_folder(what: str, path: Path) -> Finding:
    """Judge the place where something is kept: there, or to be made, writable, and with room."""
    there = path
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        return Finding(Result.FAILED, "disk", str(path), f"{what} cannot be written there")
    free = shutil.disk_usage(there).free
    text = f"{what}: {free / 1e9:.1f} GB free"
    return Finding(Result.WARNING if free < LEAST_FREE else Result.OK, "disk", str(path), text)


def check_databases(servers: Sequence[ServerConfig]) -> Iterator[Finding]:
    """Yield whether each InfluxDB answers (``/ping``); what is not one is left out."""
    for server in servers:
        if server.version not in (1, 2, 3):
            yield Finding(Result.NOTE, "database", server.name, f"{server.url} is no InfluxDB and was not asked")
            continue
        try:
            client = connect(server)
        except OSError as error:
            yield Finding(Result.FAILED, "database", server.name, str(error))
            continue
        try:
            answer = client.request("GET", "/ping", headers=authorization(server))
        except NoAnswer as error:
            yield Finding(Result.FAILED, "database", server.name, f"{server.url}: {error}")
        else:
            release = answer.headers.get("x-influxdb-version", "of unknown release")
            good = answer.status < 300
            text = f"{server.url} answers, {release}" if good else f"{server.url}: refused with {answer.status}"
            yield Finding(Result.OK if good else Result.FAILED, "database", server.name, text)
        finally:
            client.close()
