"""What a self-test makes of the values of a site: pure judgements, nothing is read here."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from devices.model import DeviceSettings
from ioc.database.dbfile import RecordDef
from ioc.database.support import PERIODS, STATUS_SIGNALS, is_of_server
from ioc.records.status import INVALID, MAJOR
from ioc.selftest.findings import Finding, Result
from ioc.selftest.values import Seen
from ioc.site.config import Site
from ioc.site.contract import OUTPUTS
from ioc.site.report import BUSY, wire_loads

LATE_PERIODS, LATE_SECONDS = 3.0, 3.0
"""A scanned value that is older than so many periods and seconds together has not been read for too long."""

NOISE = 0.01
"""Share of the range of a quantity by which a reading may be outside of it."""

_IDENTITY = ("NAME", "SERIAL", "FW", "ARTICLE", "MODEL", "VERSION", "ID")
"""Last parts of the names of texts that say which unit it is."""


def check_device(site: Site, settings: DeviceSettings, records: Mapping[str, RecordDef], seen: Mapping[str, Seen],
                 now: float) -> Iterator[Finding]:  # fmt: skip
    """Yield the findings about one device; ``records`` are its own, by what follows its name."""
    name, base = settings.name, f"{site.prefix}:{settings.name}:"
    values = {suffix: seen.get(base + suffix, Seen(trouble="not read")) for suffix in records}
    if (link := _link(name, values)).result is Result.FAILED:
        yield link
        return
    yield link
    yield _identity(name, records, values)
    yield _period(settings, values)
    wrong = [
        *_each(base, records, values, settings.period, now),
        *(finding for suffix in records for finding in _limits(base, suffix, records[suffix], values[suffix])),
    ]
    yield from wrong
    count = sum(not is_of_server(suffix.replace(":", ".")) and not suffix.endswith(":CMD") for suffix in records)
    if not any(one.area == "signals" and one.result > Result.NOTE for one in wrong):
        count -= sum(one.area == "signals" for one in wrong)
        yield Finding(Result.OK, "signals", name, f"{count} were read and are plausible")
    if not any(one.area == "limits" for one in wrong):
        yield Finding(Result.OK, "limits", name, "every setting lies within the limits in force")


def _link(name: str, values: Mapping[str, Seen]) -> Finding:
    """Judge whether the device answers."""
    link, message = values["COMM"], values.get("COMM:MSG", Seen()).text
    if link.trouble:
        return Finding(Result.FAILED, "link", name, f"COMM: {link.trouble}")
    if values["DISABLE"].number:
        return Finding(Result.FAILED, "link", name, "disabled for maintenance (DISABLE is 1)")
    if not link.number:
        return Finding(Result.FAILED, "link", name, f"no answer: {message or 'nothing is known'}")
    rtt, errors = values["COMM:RTT"], values["COMM:ERRORS"]
    text = f"answers in {rtt.number or 0.0:.1f} ms, {errors.text} errors since the start"
    if rtt.severity:
        return Finding(Result.WARNING, "link", name, f"{text}; slow: more than half the time-out")
    simulated = "; it is simulated" if values.get("SIM", Seen()).number else ""
    return Finding(Result.NOTE if simulated else Result.OK, "link", name, text + simulated)


def _identity(name: str, records: Mapping[str, RecordDef], values: Mapping[str, Seen]) -> Finding:
    """Say which unit it is; the driver raises an alarm where that is not the one of the site file."""
    texts = {
        suffix: values[suffix]
        for suffix, record in records.items()
        if record.rtyp in ("stringin", "lsi") and suffix.rpartition(":")[2] in _IDENTITY
    }
    text = ", ".join(f"{suffix} {one.text}" for suffix, one in texts.items() if one.text) or "it does not tell"
    wrong = [f"{suffix}: {one.trouble or one.alarm}" for suffix, one in texts.items() if one.trouble or one.severity]
    if wrong:
        return Finding(Result.FAILED, "identity", name, f"{text}; {'; '.join(wrong)}")
    return Finding(Result.OK, "identity", name, text)


def _period(settings: DeviceSettings, values: Mapping[str, Seen]) -> Finding:
    """Compare the time of a scan with its period."""
    time, late = values["SCAN:TIME"], values["SCAN:LATE"]
    milliseconds = time.number
    if milliseconds is None or not math.isfinite(milliseconds):
        return Finding(Result.FAILED, "period", settings.name, f"SCAN:TIME: {time.trouble or 'no number'}")
    share = milliseconds / (settings.period * 1000)
    text = f"a scan takes {milliseconds:.0f} ms of {settings.period:g} s ({share:.0%}), {late.text} came late"
    result = Result.FAILED if share > 1 else Result.WARNING if share > BUSY else Result.OK
    return Finding(result, "period", settings.name, text)


def _each(
    base: str, records: Mapping[str, RecordDef], values: Mapping[str, Seen], period: float, now: float
) -> Iterator[Finding]:
    """Yield what is wrong with each value that comes from the device."""
    for suffix, record in records.items():
        signal, seen = suffix.replace(":", "."), values[suffix]
        if signal in STATUS_SIGNALS or is_of_server(signal) or suffix.endswith(":CMD"):
            continue
        if not seen.trouble and not seen.stamp and "core" not in record.info:
            yield Finding(Result.NOTE, "signals", base + suffix, "not read yet, or this unit does not have it")
            continue
        if seen.trouble or seen.severity >= INVALID:
            text = seen.trouble or f"no valid reading: {seen.alarm}"
            yield Finding(Result.FAILED, "signals", base + suffix, text)
            continue
        number = seen.number
        if number is not None and not math.isfinite(number):
            yield Finding(Result.FAILED, "signals", base + suffix, f"found {seen.text}, which is no number")
        elif number is not None and seen.shown is not None and record.rtyp in ("ai", "ao"):
            low, high = seen.shown
            room = NOISE * (high - low)
            if not low - room <= number <= high + room:
                text = f"found {seen.text}, which is outside what the device can show, {low:g} to {high:g}"
                yield Finding(Result.WARNING, "signals", base + suffix, text)
        rate = PERIODS.get(record.fields.get("SCAN", ""))
        if (
            rate
            and record.rtyp not in OUTPUTS
            and (age := now - seen.stamp) > LATE_PERIODS * max(rate, period) + LATE_SECONDS
        ):
            derived = Result.NOTE if number is not None and suffix.endswith("EFFLOAD") else Result.WARNING
            yield Finding(derived, "signals", base + suffix, f"not read for {age:.0f} s, it should be each {rate:g} s")


def _limits(base: str, suffix: str, record: RecordDef, seen: Seen) -> Iterator[Finding]:
    """Yield a setting that is outside of the limits in force: the next put of its value would be refused."""
    if record.rtyp not in ("ao", "longout") or seen.limits is None or seen.number is None or seen.trouble:
        return
    low, high = seen.limits
    if not low <= seen.number <= high:
        text = f"set to {seen.text}, allowed: {low:g} to {high:g}"
        yield Finding(Result.WARNING, "limits", base + suffix, text)


def check_alarms(records: Mapping[str, RecordDef], seen: Mapping[str, Seen]) -> Iterator[Finding]:
    """Yield every alarm that is up, with what to do."""
    up = [(name, one) for name, one in seen.items() if not one.trouble and 0 < one.severity < INVALID]
    for name, one in up:
        advice = records[name].info.get("guidance", "") if name in records else ""
        text = f"{one.alarm}: {one.text}" + (f" ({advice})" if advice else "")
        yield Finding(Result.WARNING if one.severity == MAJOR else Result.NOTE, "alarms", name, text)
    if not up:
        yield Finding(Result.OK, "alarms", "site", "none is up")


def check_wires(site: Site) -> Iterator[Finding]:
    """Yield how busy each wire is by the site file."""
    for wire, (load, names) in wire_loads(site).items():
        text = f"reading {', '.join(names)} takes {load:.0%} of its time"
        yield Finding(Result.WARNING if load > BUSY else Result.OK, "load", wire, text)


def check_server(site: Site, first: Mapping[str, Seen], second: Mapping[str, Seen], now: float) -> Iterator[Finding]:
    """Yield the findings about a running server: two looks at its own PVs, a second or more apart."""
    name = f"{site.prefix}:{site.ioc}"
    beat, again = (look[f"{name}:HEARTBEAT"] for look in (first, second))
    if again.trouble or beat.number is None or again.number is None or again.number <= beat.number:
        yield Finding(Result.FAILED, "server", name, f"its heartbeat stands still: {again.trouble or again.text}")
        return
    lag, release = second[f"{name}:LAG"], second[f"{name}:VERSION"].text
    text = f"release {release}, heartbeat {again.text}, longest pause of the last second {lag.text} ms"
    yield Finding(Result.WARNING if lag.severity else Result.OK, "server", name, text)
    if abs(age := now - again.stamp) > 5.0:
        text = f"the clock of the server differs from that of this computer by {age:.0f} s"
        yield Finding(Result.FAILED, "clock", name, text)
    else:
        yield Finding(Result.OK, "clock", name, "the clock of the server is that of this computer, within 5 s")
    config = second[f"{name}:CFG:ID"].text
    if config != site.identity:
        text = f"the server runs with another site file ({config}) than this one ({site.identity})"
        yield Finding(Result.WARNING, "server", f"{name}:CFG:ID", text)
    if not second[f"{name}:ARMED"].number:
        yield Finding(Result.NOTE, "server", f"{name}:ARMED", "not armed: nothing can be written")
