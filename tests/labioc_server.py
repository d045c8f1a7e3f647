"""labioc's record layer and server alone, as a process for tests: soft records from database files.

Run as ``python -m tests.labioc_server JSON`` with ``[port, [[file, {macro: value}], ...]]``; prints
``ready PORT`` and ends when its standard input is closed.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ioc.records import Record, RecordSet, Source
from tests.softioc import Databases, ServerProcess, free_port

if TYPE_CHECKING:
    from ioc.database.dbfile import RecordDef


class OpenPolicy:
    """Everybody may write everything, like an IOC without an access security file."""

    def may_put(self, record: object, field: str, client: object) -> str | None:
        """Refuse nothing."""
        return None


def start_labioc(databases: Databases, deadline: float = 20.0, port: int = 0) -> ServerProcess:
    """Run labioc's server with database files, each with its macros; port 0 takes a free one."""
    arguments = json.dumps([port or free_port(), [(str(path), dict(macros)) for path, macros in databases]])
    return ServerProcess("labioc", [sys.executable, "-m", "tests.labioc_server", arguments], {}, deadline)


class SoftScan(Source):
    """Processes soft records at their SCAN rate, which the record layer leaves to whoever runs it."""

    def __init__(self, records: RecordSet) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}
        for record in records.values():
            record.source = self
            self.rescan(record)

    def rescan(self, record: Record) -> None:
        """Scan the record at the rate it has now."""
        task = self._tasks.pop(record.name, None)
        if task is not None:
            task.cancel()
        if record.scan.endswith("second"):
            self._tasks[record.name] = asyncio.create_task(self._scan(record, float(record.scan.split()[0])))

    async def _scan(self, record: Record, period: float) -> None:
        while True:
            await asyncio.sleep(period)
            record.process()

    async def stop(self) -> None:
        """End all scanning."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)


async def serve(port: int, databases: Sequence[tuple[str, Mapping[str, str]]]) -> None:
    """Serve until standard input ends."""
    from ioc.database.dbfile import parse_template
    from ioc.server import Server

    definitions: list[RecordDef] = []
    for path, macros in databases:
        definitions += parse_template(path).expand(macros)
    records = RecordSet.build(definitions)
    records.start()
    os.environ.setdefault("EPICS_CAS_INTF_ADDR_LIST", "127.0.0.1")
    server = Server(records, OpenPolicy(), port=port)
    await server.start()
    scan = SoftScan(records)
    print("ready", server.port, flush=True)
    try:
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    finally:
        await scan.stop()
        await server.stop()


if __name__ == "__main__":
    asyncio.run(serve(*json.loads(sys.argv[1])))
