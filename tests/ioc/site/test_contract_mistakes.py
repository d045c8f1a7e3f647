"""What is reported of a family whose template and driver do not fit together."""

from __future__ import annotations

from pathlib import Path

import pytest

from devices.simple import Line, text_family
from ioc.site.contract import contract_mistakes

GOOD = """
include "device.template"
record(ai, "$(P):$(DEV):TEMP") {
    field(DESC, "Temperature") field(DTYP, "labioc") field(INP, "@$(DEV) TEMP") field(SCAN, "1 second")
    field(EGU, "C") field(ASG, "READONLY") info(access, "R") info(archive, "monitor 0.1")
}
"""


def mistakes(folder: Path, text: str) -> list[str]:
    template = folder / "t.template"
    template.write_text(text)
    rows = [Line("TEMP", ask="T?", unit="C")]
    example = {"name": "T1", "address": "tcp://h:1"}
    return contract_mistakes(text_family(type="t", title="T", template=str(template), example=example, rows=rows))


@pytest.mark.parametrize(
    ("change", "mistake"),
    [
        (("", ""), None),
        ((":TEMP", ":TEM"), "P:D:TEM: the driver has no such signal"),
        ((":TEMP", ":TEM"), "no record for signal TEMP"),
        (("(ai", "(longin"), "P:D:TEMP: found longin, allowed for a float: ai, ao"),
        (("(ai", "(ao"), "P:D:TEMP: found ao, but the signal is a reading"),
        (('EGU, "C"', 'EGU, "F"'), "P:D:TEMP: found EGU 'F', the driver has 'C'"),
        (("Temperature", ""), "P:D:TEMP: found DESC '', allowed: 1 to 40 characters"),
        (("READONLY", "EXPERT"), "P:D:TEMP: found access 'R' with ASG 'EXPERT'"),
        (("monitor 0.1", "often"), "P:D:TEMP: found info(archive, 'often')"),
        (
            ("field(EGU", 'field(HIGH, "1") field(HSV, "MINOR") field(EGU'),
            "P:D:TEMP: what can alarm by",
        ),
        (("include", "exclude"), "t.template:2: column 1"),
    ],
)
def test_each_mistake_is_reported(tmp_path: Path, change: tuple[str, str], mistake: str | None):
    found = mistakes(tmp_path, GOOD.replace(*change, 1) if change[0] else GOOD)
    if mistake is None:
        assert found == []
    else:
        assert [text for text in found if mistake in text], found
