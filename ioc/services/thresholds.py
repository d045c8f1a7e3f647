"""Alarm limits that clients tune at run time: kept in files, and in force again after a restart.

One file for each device, and one for the server itself, so that several IOCs that share a site out write each their
own, and a device takes its limits along when another IOC serves it. A limit is a matter of the record alone: nothing
of this reaches a device.

``ADEL`` and ``MDEL`` are not kept: they decide which samples the archiver gets, and one that somebody forgot would thin
them out for ever. They belong into the site file.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devices.rules.state_file import StateFile, default_folder
from ioc.clock import Clock, local_time
from ioc.database.support import SERVER
from ioc.records import FieldSpec, FieldValue, Record, fields_of
from ioc.records.analog import THRESHOLDS, NumberRecord
from ioc.records.convert import parse_text
from ioc.site.config import Site

log = logging.getLogger("labioc.thresholds")


@dataclass(frozen=True, slots=True)
class Tuned:
    """A limit as a client tuned it: its value, the value of the site file at that time, when, and who; all as text."""

    value: str
    site: str
    when: str
    by: str


@dataclass(frozen=True, slots=True)
class Finding:
    """An entry of a file beside what is served: ``limit`` is None where it makes no sense.

    ``record`` is None where no record of that name is served; ``site`` is what the site file, or else the template,
    says now.
    """

    key: str
    limit: Tuned | None
    record: NumberRecord | None
    spec: FieldSpec | None
    site: str = ""

    @property
    def holds(self) -> bool:
        """Whether the tuned value is in force; the site file wins where it has been changed since."""
        return self.record is not None and self.limit is not None and self.limit.site == self.site


def state_folder(site: Site) -> Path:
    """Return the folder of a site for what must survive a restart."""
    return Path(site.server.state_dir) if site.server.state_dir else default_folder()


def files(site: Site, folder: Path) -> dict[str, Path]:
    """Return the file for each device of a site, and for the server itself, by the name in record links.

    A simulated device has a file of its own: what is tried out there must not get to the real one.
    """
    own = {SERVER: site.ioc} | {
        device.name: f"{device.name}-simulated" if device.simulated else device.name for device in site.devices
    }
    prefix = site.prefix.replace(":", ".")
    return {device: folder / f"{prefix}.{name}-tuned.json" for device, name in own.items()}


def weigh(records: Mapping[str, Record], entries: Mapping[str, Any]) -> Iterator[Finding]:
    """Compare the entries of a file with the records."""
    for key, entry in entries.items():
        name, _, field = key.rpartition(".")
        record = records.get(name)
        limit = _tuned(entry)
        if not isinstance(record, NumberRecord) or field not in THRESHOLDS or limit is None:
            yield Finding(key, limit, None, None)
            continue
        spec = fields_of(record.rtyp)[field]
        try:
            as_found = as_text(spec, parse_text(spec, limit.site))
            limit = Tuned(as_text(spec, parse_text(spec, limit.value)), as_found, limit.when, limit.by)
        except ValueError:
            limit = None
        yield Finding(key, limit, record, spec, _of_site(record, spec))


class Thresholds:
    """Keeps what clients tune of the records of a site; ``folder`` None keeps nothing.

    ``who`` returns, while a put is being applied, who puts.
    """

    def __init__(
        self, site: Site, records: Mapping[str, Record], folder: Path | None, clock: Clock, who: Callable[[], str]
    ) -> None:
        self._records = records
        self._clock = clock
        self._who = who
        paths = files(site, folder) if folder is not None else {}
        self._files = {device: StateFile(path, readable=True) for device, path in paths.items()}
        self._entries: dict[str, dict[str, Any]] = {device: {} for device in paths}

    async def restore(self) -> None:
        """Put the tuned values into the records, which must not be served yet, and keep what is tuned from now on."""
        for device, file in self._files.items():
            entries = await file.load() or {}
            dropped = [finding.key for finding in weigh(self._records, entries) if not self._apply(finding)]
            self._entries[device] = {key: entry for key, entry in entries.items() if key not in dropped}
            if dropped:
                file.save(dict(self._entries[device]))
        for record in self._records.values():
            if isinstance(record, NumberRecord) and record.device in self._files:
                record.tuned_hook = self._note

    async def flush(self) -> None:
        """Wait until everything is on the disk."""
        for file in self._files.values():
            await file.flush()

    @staticmethod
    def _apply(finding: Finding) -> bool:
        """Put a tuned value in force if it holds; return whether its entry stays in the file."""
        key, limit, record, spec = finding.key, finding.limit, finding.record, finding.spec
        if limit is None:
            log.error("%s: the entry cannot be used and is left as it is", key)
        elif record is None or spec is None:
            log.info("%s: nothing of this name is served, its tuned value %s is kept", key, limit.value)
        elif finding.holds:
            record.preset(spec.name, parse_text(spec, limit.value))
            log.info("%s %s from the site file, %s as tuned on %s by %s is in force",
                     key, finding.site, limit.value, limit.when, limit.by)  # fmt: skip
        else:
            log.warning("%s %s from the site file, where it was %s before: the %s that %s tuned it to on %s is dropped",
                        key, finding.site, limit.site, limit.value, limit.by, limit.when)  # fmt: skip
            return False
        return True

    def _note(self, record: NumberRecord, spec: FieldSpec, before: FieldValue) -> None:
        """Keep what a client has put to a threshold; forget it when it is that of the site file again."""
        device, key = record.device or "", f"{record.name}.{spec.name}"
        entries = self._entries[device]
        old, new, site = as_text(spec, before), as_text(spec, record.get(spec.name)), _of_site(record, spec)
        if old == new:
            return
        entries.pop(key, None)
        if new != site:
            entries[key] = {"value": new, "site": site, "when": local_time(self._clock.time()), "by": self._who()}
        log.info("%s: %s -> %s%s by %s", key, old, new, "" if new != site else ", as in the site file,", self._who())
        self._files[device].save(dict(entries))


def as_text(spec: FieldSpec, value: FieldValue) -> str:
    """Write a threshold as a site file does: ``1450``, ``0.5``, ``MAJOR``."""
    if spec.choices and isinstance(value, int) and value < len(spec.choices):
        return spec.choices[value]
    text = repr(value)
    return text.removesuffix(".0") if isinstance(value, float) else text


def _of_site(record: Record, spec: FieldSpec) -> str:
    return as_text(spec, parse_text(spec, record.defn.fields.get(spec.name, "")))


def _tuned(entry: Any) -> Tuned | None:
    found = [entry.get(part) for part in ("value", "site", "when", "by")] if isinstance(entry, dict) else []
    texts = [part for part in found if isinstance(part, str)]
    return Tuned(*texts) if len(texts) == 4 else None
