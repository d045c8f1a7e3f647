"""Programs elsewhere that a server reports to, when the site file names them."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from ioc.clock import Clock
from ioc.database.dbfile import RecordDef
from ioc.records import RecordSet
from ioc.services.journal import Journal
from ioc.services.putlog import PutLog
from ioc.services.reccaster import RecCaster
from ioc.services.remote import Remote
from ioc.services.statistics import protocol_version
from ioc.site.config import Site


def remotes(
    site: Site,
    served: Mapping[str, RecordDef],
    records: RecordSet,
    journal: Journal,
    clock: Clock,
    port: Callable[[], int],
) -> list[Remote]:
    """Return those that a site wants; ``served`` is everything that it serves, ``port`` the TCP port, once it does."""
    found: list[Remote] = []
    if site.putlog is not None:
        putlog = PutLog(site.putlog, clock)
        journal.on_put = putlog.add
        found.append(putlog)
    if site.recsync is not None:
        found.append(RecCaster(site.recsync, lambda: _as_now(served, records), lambda: _variables(site, port()), clock))
    return found


def _as_now(served: Mapping[str, RecordDef], records: RecordSet) -> Iterator[RecordDef]:
    """Yield the records with the descriptions that they have now."""
    for name, definition in served.items():
        record = records.get(name)
        if record is None:
            yield definition
        else:
            yield replace(definition, fields={"DESC": str(record.get("DESC"))})


def _variables(site: Site, port: int) -> dict[str, str]:
    """Return what an IOC says about itself beside its records, by the names of the variables of a C IOC."""
    return {
        "EPICS_VERSION": protocol_version(),
        "HOSTNAME": socket.gethostname(),
        "IOCNAME": os.environ.get("IOCNAME") or f"{site.prefix}:{site.ioc}",
        "RSRV_SERVER_PORT": str(port),
        "ENGINEER": site.engineer,
        "LOCATION": site.location,
    }
