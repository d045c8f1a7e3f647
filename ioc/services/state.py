"""What clients tune at run time and no device keeps: stored on disk, and in force again after a restart.

That is every field of a record that clients may change, and the value of those records of the server itself that have
the tag ``info(keep, "FIRST VALUE")``. Never the value of a record with a device behind it: demands come from the
devices.

One file for each site. It has a section for each device and one for the server itself, so that several IOCs that share
a site out write each their own, and a device takes its section along when another IOC serves it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from devices.rules.state_file import SharedStateFile, default_folder, load_object
from ioc.clock import Clock, local_time
from ioc.database.support import KEEP_TAG
from ioc.records import FieldSpec, FieldValue, PutRefused, Record, fields_of
from ioc.records.convert import parse_text
from ioc.services.journal import Entry
from ioc.site.config import Site

log = logging.getLogger("labioc.state")

IN_FORCE: Final = ""
"""``Finding.reason`` of an entry whose value is in force."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """A field as a client tuned it: its value, that of the site file or template at the time, when, and who."""

    value: str
    site: str
    when: str
    by: str


@dataclass(frozen=True, slots=True)
class Finding:
    """An entry of the file beside what is served.

    ``key`` is the PV, with its field unless that is the value. ``tuned`` is None when the entry makes no sense, and
    ``record`` and ``spec`` are None when nothing of this name is served. ``site`` is what the site file, or else the
    template, says now. ``reason`` is why the entry is not in force, or ``IN_FORCE``; a ``superseded`` one ends.
    """

    key: str
    tuned: Tuned | None
    reason: str
    record: Record | None = None
    spec: FieldSpec | None = None
    site: str = ""
    superseded: bool = False


def state_folder(site: Site) -> Path:
    """Return the folder of a site for what must survive a restart."""
    return Path(site.server.state_dir) if site.server.state_dir else default_folder()


def state_path(site: Site, folder: Path) -> Path:
    """Return the file of a site, which all its IOCs on one computer share."""
    return folder / f"{site.prefix.replace(':', '.')}-state.json"


def sections(site: Site) -> dict[str, str]:
    """Return the section of each device that an IOC serves, and of the server itself, by their part of a PV name.

    A simulated device has a section of its own: what is tried out there must not get to the real one.
    """
    devices = {one.name: f"{one.name}-simulated" if one.simulated else one.name for one in site.devices}
    return {site.ioc: site.ioc} | devices


def weigh(records: Mapping[str, Record], entries: Mapping[str, Any]) -> Iterator[Finding]:
    """Compare the entries of a section with the records."""
    for key, entry in entries.items():
        tuned = _tuned(entry)
        name, _, field = key.partition(".")
        record = records.get(name)
        if tuned is None:
            yield Finding(key, None, "cannot be used: it is no entry of value, site, when and by")
        elif record is None:
            yield Finding(key, tuned, "not served")
        elif (spec := fields_of(record.rtyp).get(field or "VAL")) is None or not is_kept(record, spec):
            yield Finding(key, tuned, "cannot be used: it is nothing that is kept")
        else:
            yield _weighed(key, tuned, record, spec)


def is_kept(record: Record, spec: FieldSpec) -> bool:
    """Whether what a client puts to this field of a record survives a restart."""
    return KEEP_TAG in record.defn.info if spec.name == "VAL" else record.is_tunable(spec)


def _weighed(key: str, tuned: Tuned, record: Record, spec: FieldSpec) -> Finding:
    site = _of_site(record, spec)
    try:
        before = as_text(record, spec, _value(record, spec, tuned.site))
        tuned = Tuned(as_text(record, spec, _value(record, spec, tuned.value)), before, tuned.when, tuned.by)
    except (ValueError, PutRefused) as error:
        return Finding(key, None, f"cannot be used: {error}", record, spec, site)
    superseded = tuned.site != site
    reason = f"dropped at the next start: the site file had {tuned.site} then" if superseded else IN_FORCE
    return Finding(key, tuned, reason, record, spec, site, superseded)


class StateStore:
    """Keeps what clients tune of the records of a site; ``folder`` None keeps nothing.

    Making it puts what was kept into the records, which must not be served yet. Each record with a tag ``keep`` has a
    value then, the last one or the first one, and who is made afterwards to own it begins with that. The file is not
    changed before ``start``: a server that may not serve leaves it to the one that does.
    """

    def __init__(self, site: Site, records: Mapping[str, Record], folder: Path | None, clock: Clock) -> None:
        self._records = records
        self._clock = clock
        self._start = len(site.prefix) + 1
        self._sections = sections(site)
        self._own = self._sections[site.ioc]
        self._file = SharedStateFile(state_path(site, folder) if folder is not None else None)
        self._entries: dict[str, dict[str, Any]] = {section: {} for section in self._sections.values()}
        for record in records.values():
            if KEEP_TAG in record.defn.info:
                spec = fields_of(record.rtyp)["VAL"]
                record.post(_value(record, spec, record.defn.info[KEEP_TAG]), clock.time())
        self._file.hold()
        self._ended = False
        self._earlier: list[Path] = []
        if folder is not None:
            self._restore(folder / site.prefix.replace(":", "."))

    def _restore(self, old: Path) -> None:
        """Put the kept values into the records; ``old`` begins the names of the files of earlier releases."""
        found = self._file.load_now() or {}
        earlier = {section: Path(f"{old}.{section}-tuned.json") for section in self._entries if section not in found}
        for section in self._entries:
            entries = found.get(section)
            if section in earlier:
                entries = load_object(earlier[section])
                self._ended |= entries is not None
            if not isinstance(entries, dict):
                if entries is not None:
                    log.error("section %s of %s cannot be used: found %r", section, self._file.path, entries)
                continue
            ended = [finding.key for finding in weigh(self._records, entries) if not self._apply(finding)]
            self._entries[section] = {key: entry for key, entry in entries.items() if key not in ended}
            self._ended |= bool(ended)
        self._earlier = list(earlier.values())

    def start(self) -> None:
        """Take out of the file what has ended, and take over the files of earlier releases."""
        if self._ended and self._file.store_now(self._entries):
            for path in self._earlier:
                path.unlink(missing_ok=True)

    def _apply(self, finding: Finding) -> bool:
        """Put a tuned value in force if it holds; return whether its entry stays in the file."""
        key, tuned, record, spec = finding.key, finding.tuned, finding.record, finding.spec
        if tuned is None:
            log.error("%s: the entry %s; it is left as it is", key, finding.reason)
        elif record is None or spec is None:
            log.info("%s: %s, its tuned value %s stays in the file", key, finding.reason, tuned.value)
        elif finding.superseded:
            log.warning("%s %s from the site file, where it was %s before: the %s that %s tuned it to on %s is dropped",
                        key, finding.site, tuned.site, tuned.value, tuned.by, tuned.when)  # fmt: skip
            return False
        else:
            value = _value(record, spec, tuned.value)
            if spec.name == "VAL":
                record.post(value, self._clock.time())
            else:
                record.preset(spec, value)
            log.info("%s %s from the site file, %s as tuned on %s by %s is in force",
                     key, finding.site, tuned.value, tuned.when, tuned.by)  # fmt: skip
        return True

    def note(self, entry: Entry) -> None:
        """Keep what a put has changed, if it is something to keep; forget it when the site file says the same."""
        name, _, field = entry.pv.partition(".")
        record = self._records.get(name)
        spec = fields_of(record.rtyp).get(field or "VAL") if record is not None else None
        if self._file.path is None or record is None or spec is None or not is_kept(record, spec):
            return
        key = name if spec.name == "VAL" else f"{name}.{spec.name}"
        section = self._section(name)
        entries = self._entries[section]
        new, site = as_text(record, spec, record.get(spec.name)), _of_site(record, spec)
        before = entries.pop(key, None)
        if new != site:
            entries[key] = asdict(Tuned(new, site, local_time(self._clock.time()), f"{entry.user}@{entry.host}"))
        if before != entries.get(key):
            log.info("%s: %s -> %s%s by %s", key, entry.old, new, "" if new != site else ", as in the site file,",
                     f"{entry.user}@{entry.host}")  # fmt: skip
            self._file.save({section: dict(entries) for section, entries in self._entries.items()})

    def _section(self, name: str) -> str:
        return self._sections.get(name[self._start :].partition(":")[0], self._own)

    async def close(self) -> None:
        """Wait until everything is on the disk, also what it did not take before.

        When that is cancelled a thread may still write, and the file stays held until the process ends.
        """
        await self._file.flush()
        self._file.release()


def field_text(spec: FieldSpec, value: FieldValue) -> str:
    """Write a field as a site file does: ``1450``, ``0.5``, ``MAJOR``."""
    if isinstance(value, int) and 0 <= value < len(spec.choices):
        return spec.choices[value]
    text = value if isinstance(value, str) else repr(value)
    return text.removesuffix(".0") if isinstance(value, float) else text


def as_text(record: Record, spec: FieldSpec, value: FieldValue) -> str:
    """Write a field, or a value by the text of its state where it has one."""
    states = record.enum_strings() if spec.name == "VAL" else ()
    if isinstance(value, int) and 0 <= value < len(states) and states[value]:
        return states[value]
    return field_text(spec, value)


def _value(record: Record, spec: FieldSpec, text: str) -> FieldValue:
    """Read what ``as_text`` wrote. Raises PutRefused or ValueError for what cannot be a value of the field."""
    if spec.name != "VAL":
        return parse_text(spec, text)
    value = record.convert(spec, text.encode("utf-8", "surrogateescape"))
    low, high = record.number_limits()
    if isinstance(value, (int, float)) and not (math.isfinite(value) and low <= value <= high):
        raise ValueError(f"{text} is outside {low:g} .. {high:g}")
    return value


def _of_site(record: Record, spec: FieldSpec) -> str:
    """Return what the site file, or else the template, says."""
    text = record.defn.info[KEEP_TAG] if spec.name == "VAL" else record.defn.fields.get(spec.name, "")
    return as_text(record, spec, _value(record, spec, text))


def _tuned(entry: Any) -> Tuned | None:
    found = [entry.get(part) for part in ("value", "site", "when", "by")] if isinstance(entry, dict) else []
    texts = [part for part in found if isinstance(part, str)]
    return Tuned(*texts) if len(texts) == 4 else None
