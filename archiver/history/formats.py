"""Histories as text: for people, and as the table that Phoebus' Data Browser imports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from typing import TextIO

from archiver.config import PvSpec
from archiver.history.moments import local, zone
from archiver.history.samples import SEVERITIES, Sample, with_severity
from archiver.points.lineprotocol import FieldValue


def value_text(value: FieldValue | None, pv: PvSpec) -> str:
    """Write a value as people read it: the text of a state, a number with its unit."""
    if value is None:
        return "*** no number"
    if pv.states and isinstance(value, int) and 0 <= value < len(pv.states):
        return pv.states[value]
    if isinstance(value, float) and pv.precision is not None:
        short = f"{value:.{pv.precision}f}"
        value = short if abs(float(short) - value) <= abs(value) * 1e-9 else repr(value)
    return f"{value} {pv.unit}".rstrip()


def as_lines(histories: Mapping[str, Sequence[Sample]], pvs: Mapping[str, PvSpec], since: int) -> Iterator[str]:
    """Write samples for people in the order of their stamps, in local time, with the severity in force.

    What held at the beginning already is marked with ``(since then)``. With several PVs their names come first.
    """
    width = max(map(len, histories), default=0)
    merged = [
        (sample.time, name, sample, severity)
        for name, samples in histories.items()
        for sample, severity in with_severity(sorted(samples, key=lambda sample: sample.time))
    ]
    for _, name, sample, severity in sorted(merged, key=itemgetter(0)):
        start = f"{name:<{width}}  {local(sample.time)}" if len(histories) > 1 else local(sample.time)
        end = "  (since then)" if sample.time < since else ""
        if sample.connected is not None:
            yield f"{start}  *** {'connected' if sample.connected else 'disconnected'}{end}"
        else:
            alarm = f"  {SEVERITIES[severity]}" if severity else ""
            yield f"{start}  {value_text(sample.value, pvs[name])}{alarm}{end}"


def write_csv(histories: Mapping[str, Sequence[Sample]], pvs: Mapping[str, PvSpec], file: TextIO) -> int:
    """Write samples as lines of local time, value, severity, and the text of a state, with tabs between.

    The first two columns are what the import of the Data Browser reads; it cuts the time to milliseconds. What has no
    value there is a comment. Several PVs follow one another, each behind a comment with its name. Returns the number
    of samples.
    """
    count = 0
    for name, samples in histories.items():
        pv = pvs[name]
        unit = f" [{pv.unit}]" if pv.unit else ""
        where = f", times {zone(samples[0].time)}" if samples else ""
        file.write(f"# {name}{unit}{where}\n# time\tvalue\tseverity\ttext\n")
        for sample, severity in with_severity(samples):
            count += 1
            time = local(sample.time)[:29]
            alarm = SEVERITIES[severity]
            if sample.connected is not None:
                file.write(f"# {time}\t{'connected' if sample.connected else 'disconnected'}\n")
            elif sample.value is None:
                file.write(f"# {time}\tno number\t{alarm}\n")
            else:
                text = value_text(sample.value, pv) if pv.states else ""
                value = str(sample.value).replace("\t", " ")
                file.write(f"{time}\t{value}\t{alarm}\t{text}".rstrip("\t") + "\n")
    return count
