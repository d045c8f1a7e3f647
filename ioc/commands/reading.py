"""``labioc get``, ``info`` and ``monitor``: read PVs over Channel Access: once, with all about them, every change."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import stat
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from typing import Any

from ioc.client import Channel, Client, ReadError, Reading
from ioc.client.reading import STRING, TYPE_NAMES
from ioc.commands.output import complain, in_columns
from ioc.commands.pv_arguments import NamesError, Wanted, add_arguments, connected, not_connected, seconds, wanted

_FEW = 5
"""Elements of an array that are shown."""

_CUT = 39
"""Characters of a string that Channel Access shows at most; a long one is read as NAME$."""


def get_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``get``."""
    parser.add_argument("pv", metavar="PV", nargs="+", help="a PV, with its field if any, or a wildcard")
    parser.add_argument("-t", "--terse", action="store_true", help="the values alone, one on a line")
    add_arguments(parser, timeout=3.0)


def get(args: argparse.Namespace) -> int:
    """Print them; 1 when one could not be read. Raises SiteError and NamesError."""
    return asyncio.run(_get(wanted(args, args.pv), args))


async def _get(what: Wanted, args: argparse.Namespace) -> int:
    async with Client(what.env) as client:
        channels = await connected(client, what.names, args.wait)
        found = await asyncio.gather(*(whole(client, channel, args.wait) for channel in channels))
    readings = []
    for channel, one in zip(channels, found, strict=True):
        if isinstance(one, ReadError):
            complain(f"{channel.name}: {one}")
        else:
            readings.append((channel, one))
    if args.json:
        for channel, reading in readings:
            print(json.dumps({"pv": channel.name, **reading.as_json()}))
    elif args.terse:
        for _, reading in readings:
            print(reading.text)
    elif readings:
        now = time.time()
        print(in_columns([(channel.name, *columns(reading, now)) for channel, reading in readings]))
    return int(len(readings) < len(what.names))


def columns(reading: Reading, now: float) -> tuple[str, str, str]:
    """Return value with unit, age and alarm."""
    age, value = reading.age(now), reading.quantity
    if isinstance(reading.value, tuple) and len(reading.value) > _FEW:
        value = f"{len(reading.value)} values: {' '.join(value.split()[:_FEW])} ..."
    return value, f"{age} ago" if reading.stamp else age, reading.alarm


async def whole(client: Client, channel: Channel, timeout: float) -> Reading | ReadError:
    """Read a PV, also a text that is longer than a Channel Access string; an error is returned."""
    try:
        reading = await channel.read(timeout)
    except ReadError as error:
        return error
    if channel.native == STRING and isinstance(reading.value, str) and len(reading.value.encode()) >= _CUT:
        (long,) = await client.connect([f"{channel.name}$"], min(timeout, 1.0))
        if long.connected:
            return await whole(client, long, timeout)
    return reading


_FIELDS = {
    "DESC": "description",
    "RTYP": "record type",
    "NAME": "record",
    "SCAN": "scan",
    "INP": "input",
    "OUT": "output",
    "DISP": "puts disabled",
    "ASG": "access group",
    "ADEL": "archive dead-band",
    "MDEL": "monitor dead-band",
}
_FIELD_SECONDS = 1.0
_OTHERS_SECONDS = 0.3
"""How long fields are looked for that not every type of record has, after the first one has been found."""


def info_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``info``."""
    parser.add_argument("pv", metavar="PV", nargs="+", help="a PV, or a wildcard")
    add_arguments(parser, timeout=3.0)


def info(args: argparse.Namespace) -> int:
    """Print it; 1 when a PV could not be read. Raises SiteError and NamesError."""
    return asyncio.run(_info(wanted(args, args.pv), args))


async def _info(what: Wanted, args: argparse.Namespace) -> int:
    shown = 0
    async with Client(what.env) as client:
        for channel in await connected(client, what.names, args.wait):
            reading = await whole(client, channel, args.wait)
            if isinstance(reading, ReadError):
                complain(f"{channel.name}: {reading}")
                continue
            about = _about(channel, reading) | await _fields(client, channel)
            if args.json:
                print(json.dumps({"pv": channel.name, **reading.as_json(), **about}))
            else:
                print(*_lines(channel, reading, about), sep="\n")
            shown += 1
    return int(shown < len(what.names))


def _about(channel: Channel, reading: Reading) -> dict[str, Any]:
    host, port = channel.address or ("", 0)
    limits = {f"{name} limits": list(span) for name, span in reading.meta.limits.items()}
    return {
        "server": f"{host}:{port}",
        "type": TYPE_NAMES[channel.native] if channel.native < len(TYPE_NAMES) else str(channel.native),
        "elements": channel.count,
        "writable": channel.writable,
        "states": list(reading.meta.states),
        **limits,
    }


async def _fields(client: Client, channel: Channel) -> dict[str, str]:
    """Read the fields of the record; another server may have none."""
    base = channel.name.partition("{")[0].partition(".")[0].rstrip("$")
    (kind,) = await client.connect([f"{base}.RTYP"], _FIELD_SECONDS)
    if not kind.connected:
        return {}
    channels = await client.connect([f"{base}.{field}" for field in _FIELDS], _OTHERS_SECONDS)
    found = {}
    for name, one in zip(_FIELDS.values(), channels, strict=True):
        if one.connected and isinstance(reading := await whole(client, one, _FIELD_SECONDS), Reading) and reading.text:
            found[name] = reading.text
    return found


def _lines(channel: Channel, reading: Reading, about: dict[str, Any]) -> Iterator[str]:
    yield channel.name
    age = reading.age(time.time())
    yield _row("value", f"{reading.quantity}  ({age}{' ago' if reading.stamp else ''})")
    yield _row("alarm", reading.alarm or "none")
    for name, value in about.items():
        text = _text(value, reading.meta.units)
        if text:
            yield _row(name, text)


def _text(value: Any, units: str) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and value and isinstance(value[0], int | float):
        low, high = value
        return f"{low:.10g} to {high:.10g} {units}".rstrip() if low < high else ""  # equal ones are not set
    return ", ".join(value) if isinstance(value, list) else str(value)


def _row(name: str, text: str) -> str:
    return f"  {name:<18}{text}"


_PERIOD = 0.25
"""Seconds between two drawings of the table."""

_OUTPUT = 1
"""File descriptor of standard output."""

_MOST_WAITING = 100_000
"""Changes that wait for a slow reader of the output; more are counted and left out."""


def monitor_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``monitor``."""
    parser.add_argument("pv", metavar="PV", nargs="+", help="a PV, with its field if any, or a wildcard")
    parser.add_argument("--table", action="store_true", help="one line for each PV, rewritten in place")
    parser.add_argument("-n", "--count", type=int, metavar="N", help="end after so many changes")
    parser.add_argument("-s", "--seconds", type=seconds, metavar="S", help="end after so many seconds")
    add_arguments(parser, timeout=3.0)


def monitor(args: argparse.Namespace) -> int:
    """Show changes until Ctrl-C; 1 when no PV ever connected. Raises SiteError and NamesError."""
    if args.table and args.json:
        raise NamesError(["--table and --json cannot be had together"])
    shown = _Monitor(wanted(args, args.pv), args)
    try:
        asyncio.run(shown.run())
    except KeyboardInterrupt:
        complain(f"{shown.shown} changes in {time.monotonic() - shown.began:.1f} s")
    return int(not shown.ever_connected)


class _Monitor:
    """One run of the command."""

    def __init__(self, what: Wanted, args: argparse.Namespace) -> None:
        self.began = time.monotonic()
        self.shown = 0
        self.ever_connected = False
        self._what = what
        self._args = args
        self._queue: asyncio.Queue[tuple[Channel, Reading | None]] = asyncio.Queue(_MOST_WAITING)
        self._left_out = 0
        self._rows: dict[str, Reading | None] = dict.fromkeys(what.names)
        self._drawn = 0

    async def run(self) -> None:
        """Show until the end that was asked for, or until the output is closed."""
        async with Client(self._what.env) as client:
            try:
                channels = client.channels(self._what.names)
            except ValueError as error:
                raise NamesError([str(error)]) from error
            async with asyncio.TaskGroup() as tasks:
                for channel in channels:
                    channel.monitor(self._take)
                work = [
                    tasks.create_task(self._show()),
                    tasks.create_task(self._report(client, channels)),
                    tasks.create_task(_output_closed()),
                ]
                await asyncio.wait([work[0], work[2]], timeout=self._args.seconds, return_when=asyncio.FIRST_COMPLETED)
                for task in work:
                    task.cancel()

    async def _show(self) -> None:
        with suppress(BrokenPipeError):  # a change came before _output_closed has seen that the reader is gone
            await (self._draw() if self._args.table else self._print())

    def _take(self, channel: Channel, reading: Reading | None) -> None:
        self.ever_connected = self.ever_connected or reading is not None
        try:
            self._queue.put_nowait((channel, reading))
        except asyncio.QueueFull:
            self._left_out += 1

    async def _report(self, client: Client, channels: list[Channel]) -> None:
        """Say once what is not there; it goes on being looked for."""
        await asyncio.sleep(self._args.wait)
        missing = [channel.name for channel in channels if not channel.connected]
        if missing:
            complain(not_connected(missing, client, self._args.wait) + "; they are looked for all the time")

    async def _print(self) -> None:
        while self._args.count is None or self.shown < self._args.count:
            channel, reading = await self._queue.get()
            print(_json(channel, reading) if self._args.json else _line(channel, reading), flush=self._queue.empty())
            self.shown += 1
            if self._left_out:
                complain(f"{self._left_out} changes left out: the output takes them too slowly")
                self._left_out = 0
        sys.stdout.flush()

    async def _draw(self) -> None:
        while self._args.count is None or self.shown < self._args.count:
            while not self._queue.empty():
                channel, reading = self._queue.get_nowait()
                self._rows[channel.name] = reading
                self.shown += 1
            self._redraw(self._rows.items())
            await asyncio.sleep(_PERIOD)

    def _redraw(self, rows: Iterable[tuple[str, Reading | None]]) -> None:
        """Write the table over the last one; what the screen does not hold is counted."""
        size, now = shutil.get_terminal_size(), time.time()
        lines = in_columns(
            [(name, *(columns(reading, now) if reading else ("", "", "not connected"))) for name, reading in rows]
        ).split("\n")
        room = max(size.lines - 2, 1)
        if len(lines) > room:
            lines[room - 1 :] = [f"... and {len(lines) - room + 1} more"]
        up = f"\x1b[{self._drawn}A" if self._drawn else ""
        print(up + "".join(f"{line[: size.columns - 1]}\x1b[K\n" for line in lines), end="", flush=True)
        self._drawn = len(lines)


def _line(channel: Channel, reading: Reading | None) -> str:
    if reading is None:
        return f"{_stamp(time.time())}  {channel.name}  (not connected)"
    return f"{_stamp(reading.stamp)}  {channel.name}  {reading.quantity}  {reading.alarm}".rstrip()


def _json(channel: Channel, reading: Reading | None) -> str:
    return json.dumps({"pv": channel.name, "connected": reading is not None, **(reading.as_json() if reading else {})})


def _stamp(stamp: float) -> str:
    """Return a time with milliseconds, in the time zone of the computer."""
    if not stamp:
        return "never read".ljust(23)
    return datetime.fromtimestamp(stamp).isoformat(" ", "milliseconds")


async def _output_closed() -> None:
    """Return when the reader of the output, ``head`` for example, has gone, though nothing is being written."""
    gone, loop = asyncio.Event(), asyncio.get_running_loop()
    if stat.S_ISFIFO(os.fstat(_OUTPUT).st_mode):
        loop.add_reader(_OUTPUT, gone.set)
    try:
        await gone.wait()
    finally:
        loop.remove_reader(_OUTPUT)
