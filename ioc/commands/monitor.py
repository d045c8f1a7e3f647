"""``labioc monitor PV...``: show every change of PVs, as lines or as a table in place."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import stat
import sys
import time
from collections.abc import Iterable
from datetime import datetime

from ioc.client import Channel, Client, Reading
from ioc.commands.get import columns
from ioc.commands.pv_arguments import NamesError, Wanted, add_arguments, complain, not_connected, seconds, wanted
from ioc.commands.pvs import in_columns

_PERIOD = 0.25
"""Seconds between two drawings of the table."""

_OUTPUT = 1
"""File descriptor of standard output."""

_MOST_WAITING = 100_000
"""Changes that wait for a slow reader of the output; more are counted and left out."""


def register(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("pv", metavar="PV", nargs="+", help="a PV, with its field if any, or a wildcard")
    parser.add_argument("--table", action="store_true", help="one line for each PV, rewritten in place")
    parser.add_argument("-n", "--count", type=int, metavar="N", help="end after so many changes")
    parser.add_argument("-s", "--seconds", type=seconds, metavar="S", help="end after so many seconds")
    add_arguments(parser, timeout=3.0)


def run(args: argparse.Namespace) -> int:
    """Show changes until Ctrl-C; 1 when no PV ever connected. Raises SiteError, NamesError and BrokenPipeError."""
    if args.table and args.json:
        raise NamesError(["--table and --json cannot be had together"])
    monitor = _Monitor(wanted(args, args.pv), args)
    try:
        asyncio.run(monitor.run())
    except KeyboardInterrupt:
        complain(f"{monitor.shown} changes in {time.monotonic() - monitor.began:.1f} s")
    return int(not monitor.ever_connected)


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
        async with Client(self._what.env) as client, asyncio.TaskGroup() as tasks:
            try:
                channels = client.channels(self._what.names)
            except ValueError as error:
                raise NamesError([str(error)]) from error
            for channel in channels:
                channel.monitor(self._take)
            work = [
                tasks.create_task(self._draw() if self._args.table else self._print()),
                tasks.create_task(self._report(client, channels)),
                tasks.create_task(_output_closed()),
            ]
            await asyncio.wait([work[0], work[2]], timeout=self._args.seconds, return_when=asyncio.FIRST_COMPLETED)
            for task in work:
                task.cancel()

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
