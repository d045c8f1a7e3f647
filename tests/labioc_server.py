"""labioc's record layer and server alone, as a process for tests: soft records from database files.

Run as ``python -m tests.labioc_server JSON`` with ``[port, [[file, {macro: value}], ...], acf]``; prints
``ready PORT`` and ends when its standard input is closed. A line there has the access security file read anew.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ioc.access import Access, Policy, make_policy
from ioc.clock import SystemClock
from ioc.inputs import Inputs
from ioc.records import Record, RecordSet, Source
from tests.softioc import Databases, ServerProcess, free_port

if TYPE_CHECKING:
    from ioc.database.dbfile import RecordDef


def start_labioc(databases: Databases, deadline: float = 60.0, port: int = 0, acf: Path | None = None) -> ServerProcess:
    """Run labioc's server with database files, each with its macros, and access security; port 0 takes a free one."""
    dbs = [(str(path), dict(macros)) for path, macros in databases]
    arguments = json.dumps([port or free_port(), dbs, str(acf or "")])
    return ServerProcess("labioc", [sys.executable, "-m", "tests.labioc_server", arguments], {}, deadline)


class SoftScan(Source):
    """Processes soft records at their SCAN rate, which the record layer leaves to its caller."""

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


async def serve(port: int, databases: Sequence[tuple[str, Mapping[str, str]]], acf: str = "") -> None:
    """Serve until standard input ends."""
    from ioc.database.dbfile import parse_template
    from ioc.server import Server

    definitions: list[RecordDef] = []
    for path, macros in databases:
        definitions += parse_template(path).expand(macros)
    records = RecordSet.build(definitions)
    records.start()
    os.environ.setdefault("EPICS_CAS_INTF_ADDR_LIST", "127.0.0.1")
    policy = make_policy(Access(acf=Path(acf)), lambda: Inputs(records, SystemClock())) if acf else Policy()
    server = Server(records, policy, port=port)
    await server.start()
    await policy.start()
    scan = SoftScan(records)
    print("ready", server.port, flush=True)
    try:
        while await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline):
            print("done", await policy.reload(), flush=True)
    finally:
        await policy.stop()
        await scan.stop()
        await server.stop()


if __name__ == "__main__":
    asyncio.run(serve(*json.loads(sys.argv[1])))
