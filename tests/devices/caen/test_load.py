"""How full the connection of a supply is, as estimated, against the requests of a scan."""

from __future__ import annotations

from collections import defaultdict

import pytest

from devices.caen.load import SLOW, line_load
from devices.caen.protocol import Profile
from devices.caen.simulator.model import CaenModel
from devices.model import DeviceSettings
from devices.registry import FAMILIES
from ioc.database.dbfile import Template
from ioc.site.templates import family_templates
from tests.devices.caen.bench import bench

TYPE = "caen-dt55xx"


def settings(address: str = "tcp://127.0.0.1:1470", **more: object) -> DeviceSettings:
    return DeviceSettings("HV1", TYPE, address, **{"channels": 4, **more})  # type: ignore[arg-type]


def periodic(template: Template | None, **macros: str) -> dict[str, list[str]]:
    """Return the signals of a template by their period."""
    assert template is not None
    found: defaultdict[str, list[str]] = defaultdict(list)
    for record in template.expand({"P": "LAB", "DEV": "HV1", **macros}):
        scan, source = record.fields.get("SCAN", "Passive"), record.fields.get("INP", "").partition(" ")[2]
        if scan != "Passive" and source:
            found[scan].append(source)
    return found


async def test_the_estimate_counts_what_the_scans_ask_for():
    templates = family_templates(TYPE)
    rig = bench(CaenModel(Profile.B))
    await rig.start()
    await rig.driver.read(rig.everything())
    channels = [periodic(templates.channel, CH=f"{number:02d}", FAST="1 second") for number in range(4)]
    for scan, seconds in (("5 second", 5.0), ("10 second", 10.0)):
        signals = [*periodic(templates.device)[scan], *(name for one in channels for name in one[scan])]
        known = rig.driver.signals().keys()
        since = len(rig.link.log)
        await rig.driver.read([name for name in signals if name in known])
        asked = {line.partition("PAR:")[2].partition(",")[0] for line in rig.sent(since)}
        unknown = rig.driver._unit.unsupported
        assert asked == {name for name, period in SLOW.items() if period == seconds} - unknown


def test_faster_scans_and_slower_lines_take_more():
    assert 0.2 < line_load(settings()) < 0.4
    assert FAMILIES[TYPE].load(settings()) == line_load(settings())
    assert line_load(settings()) < line_load(settings(period=0.5)) < line_load(settings(period=0.1))
    assert line_load(settings(period=0.1)) > 1.0  # cannot be done
    serial = settings("serial:///dev/ttyUSB0?baudrate=9600")
    assert line_load(settings("serial:///dev/ttyACM0")) == line_load(settings()) < line_load(serial) < 0.8
    with pytest.raises(ValueError, match="allowed is"):
        line_load(settings("http://x"))
