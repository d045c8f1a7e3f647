"""A site whose tuned fields are kept in a folder."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from ioc.clock import local_time
from ioc.puts import PutPath
from ioc.records import PutContext, Record, RecordSet, fields_of
from ioc.services.state import StateStore
from ioc.services.statistics import IocStatistics
from ioc.site.config import Site, parse_site
from ioc.site.expansion import expand
from tests.ioc.fakes import EPOCH, FakeClock

VMON = "LAB:HV1:CH00:VMON"

NOW = local_time(EPOCH)

DEVICE: dict[str, Any] = {"name": "HV1", "type": "caen-dt55xx", "address": "tcp://127.0.0.1:23", "channels": 2}


def site(hihi: float | None = 1500, names: tuple[str, ...] = ("HV1",), **keys: Any) -> Site:
    alarms = {} if hihi is None else {"alarms": {"VMON": {"HIHI": hihi}}}
    return parse_site(
        {
            "site": {"prefix": "LAB"},
            "device": [
                DEVICE | {"name": name, "address": f"tcp://{name.lower()}:23"} | alarms | keys for name in names
            ],
        }
    )


def file(folder: Path) -> Path:
    return folder / "LAB-state.json"


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def saved(folder: Path, section: str = "HV1") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file(folder).read_text())[section]
    return found


def keep(folder: Path, entries: object, section: str = "HV1") -> None:
    file(folder).write_text(json.dumps({section: entries}))


def put(record: Record, field: str, value: float | str, user: str = "ann") -> None:
    spec = fields_of(record.rtyp)[field]
    converted = record.convert(spec, value.encode() if isinstance(value, str) else value)
    record.put_by(spec, converted, PutContext(user, "desk", ("10.0.0.7", 1)))


@asynccontextmanager
async def started(folder: Path | None, of: Site) -> AsyncIterator[RecordSet]:
    """Make the records of a site with what is kept of them, as a server does at start, and end as it does."""
    records, clock = RecordSet.build(expand(of).records.values()), FakeClock()
    store = StateStore(of, records, folder, clock)
    store.start()
    puts = PutPath({}, IocStatistics([], clock, {}), clock)
    puts.notes.on_applied = store.note
    for record in records.values():
        puts.attach(record)
    yield records
    await store.close()
