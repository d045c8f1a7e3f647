"""``<P>:ARCH:*``: the bridge to the databases as process variables.

The bridge is a program of its own, often on the computer of an IOC that owns the Channel Access port. Its server never
takes a search away from that: it is a guest there.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from archiver.status import BridgeState, Snapshot
from ioc.access import Policy
from ioc.records import PutContext, Record, RecordSet, Value
from ioc.records.status import MAJOR, MINOR, NO_ALARM, alarm_status
from ioc.server import Server
from ioc.site.config import ServerSettings
from ioc.site.templates import template

log = logging.getLogger("labioc.archiver")

_LARGEST_LONG: Final = 2**31 - 1
_VALUES: Final[dict[str, Callable[[Snapshot], Value]]] = {
    "STATE": lambda bridge: int(bridge.state),
    "QUEUE": lambda bridge: min(bridge.queue, _LARGEST_LONG),
    "SPOOL": lambda bridge: bridge.spool / 1e6,
    "LOST": lambda bridge: min(bridge.lost, _LARGEST_LONG),
    "LAG": lambda bridge: bridge.lag,
    "RATE": lambda bridge: bridge.rate,
    "REFUSED": lambda bridge: min(bridge.refused_points, _LARGEST_LONG),
    "CONFLICTS": lambda bridge: min(bridge.conflicts, _LARGEST_LONG),
    "MSG": lambda bridge: bridge.message,
}


class ReadOnly(Policy):
    """The policy of the bridge's PVs."""

    def may_put(self, record: Record, field: str, client: PutContext) -> str | None:
        """Refuse it: they show how the bridge is."""
        return "the PVs of the bridge are read only"


class ArchiverPvs:
    """Serves the PVs, if asked for this computer only; ``port`` is that of circuits and unicast searches, 0 for any.

    ``ioc`` says where the IOC of the site listens: at the same addresses, and for broadcasts at the same port.
    """

    def __init__(self, prefix: str, port: int = 0, local_only: bool = False, ioc: ServerSettings | None = None) -> None:
        self.records = RecordSet.build(template("archiver").expand({"P": prefix}))
        self._by_signal = {record.signal: record for record in self.records.values()}
        self._wanted_port = port
        self._local_only = local_only
        self._ioc = ioc or ServerSettings()
        self._server: Server | None = None

    @property
    def port(self) -> int:
        """The port of the circuits and of unicast searches, once started."""
        return self._server.port if self._server is not None else 0

    async def start(self) -> None:
        """Serve. Raises OSError when the port is taken, NetworkError for a bad setting of the environment."""
        self.records.start()
        interfaces = ["127.0.0.1"] if self._local_only else self._ioc.interfaces
        self._server = Server(
            self.records, ReadOnly(), interfaces, self._ioc.port, self._local_only, guest_port=self._wanted_port
        )
        await self._server.start()

    async def stop(self) -> None:
        """End the server."""
        if self._server is not None:
            await self._server.stop()

    def show(self, snapshot: Snapshot) -> None:
        """Post the values of a snapshot."""
        now = time.time()
        severities = {
            "STATE": MINOR if snapshot.refusing or snapshot.cut_off else NO_ALARM,
            "LOST": MAJOR if snapshot.state is BridgeState.LOSING else NO_ALARM,
        }
        for signal, value in _VALUES.items():
            severity = severities.get(signal, NO_ALARM)
            status = alarm_status("STATE") if severity else 0
            self._by_signal[signal].post(value(snapshot), now, severity, status)
