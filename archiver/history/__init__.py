"""Histories: what PVs did, from the log of a bridge or from an InfluxDB. ``read`` is for programs and notebooks."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from archiver.config import ServerConfig
from archiver.history.moments import moments
from archiver.history.samples import SEVERITIES, HistoryError, Sample, from_influxdb, from_log, names, with_severity
from archiver.points.catalogue import Catalogue, load

__all__ = ["HistoryError", "Sample", "histories", "read"]


def read(
    pvs: str | Sequence[str],
    directory: str | Path,
    since: str = "1h",
    until: str = "",
    server: ServerConfig | None = None,
) -> dict[str, list[Any]]:
    """Return the history of PVs as columns: ``pandas.DataFrame(read("LAB:HV1:CH0?:VMON", "/var/lib/.../archive"))``.

    ``pvs`` are names or wildcards, ``directory`` is the folder of the log, ``since`` and ``until`` are as on the
    command line (``1h``, ``2026-01-31T12:00``). With ``server`` the samples are those of that InfluxDB. Columns:
    ``time`` (Unix ns; ``pandas.to_datetime`` reads it), ``pv``, ``value`` (None where there is none), ``severity``
    (0 to 3, the one in force), ``alarm`` (its name) and ``connected``. What was in force at the beginning comes first,
    with its own time. Raises HistoryError, and ValueError for a time that cannot be read.
    """
    begin, end = moments(since, until, time.time_ns())
    table: dict[str, list[Any]] = {name: [] for name in ("time", "pv", "value", "severity", "alarm", "connected")}
    wanted = [pvs] if isinstance(pvs, str) else pvs
    for name, samples in histories(Path(directory), server, known_in(Path(directory)), wanted, begin, end).items():
        connected = True
        for sample, severity in with_severity(samples):
            connected = connected if sample.connected is None else sample.connected
            row = (sample.time, name, sample.value, severity, SEVERITIES[severity], connected)
            for column, entry in zip(table.values(), row, strict=True):
                column.append(entry)
    return table


def histories(
    directory: Path, server: ServerConfig | None, known: Catalogue, patterns: Sequence[str], since: int, until: int
) -> Mapping[str, list[Sample]]:
    """Return the samples of each PV that the names or wildcards mean, between two times (Unix ns).

    From the log in a folder, or from a server when there is one. Raises HistoryError.
    """
    history = partial(from_influxdb, server) if server is not None else partial(from_log, directory)
    return {name: list(history(known, name, since, until)) for name in names(known, patterns)}


def known_in(directory: Path) -> Catalogue:
    """Return what the bridge has left beside its log about its PVs. Raises HistoryError, ValueError."""
    try:
        return load(directory)
    except FileNotFoundError:
        raise HistoryError(f"nothing has been archived in {directory}") from None
