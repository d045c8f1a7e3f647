"""What is published in which detail, and how full the line gets."""

from __future__ import annotations

import pytest

from devices.errors import Refused
from devices.eurotherm.blocks import FRAME, LATENCY, line_load
from devices.eurotherm.catalogue import BASIC, QUANTITIES
from devices.model import DeviceSettings
from devices.registry import FAMILIES
from ioc.database.dbfile import Template
from ioc.database.support import STATUS_SIGNALS as STATUS
from ioc.site.templates import family_templates
from tests.devices.eurotherm.bench import PERIODIC, Bench

TYPE = "eurotherm-3200"


def signals_in(template: Template | None) -> set[str]:
    assert template is not None
    records = template.expand({"P": "LAB", "DEV": "FURN1", "FAST": "1 second"})
    return {(one.fields.get("INP") or one.fields["OUT"]).partition(" ")[2] for one in records} - STATUS


def test_the_templates_have_the_signals_of_their_detail():
    templates = family_templates(TYPE)
    assert signals_in(templates.device) == BASIC
    assert signals_in(templates.full) == QUANTITIES.keys() - BASIC


def settings(**options: object) -> DeviceSettings:
    return DeviceSettings("FURN1", TYPE, "serial:///dev/none?baudrate=9600", options=options)


def test_one_furnace_in_basic_detail_takes_a_fraction_of_the_line():
    basic, full = line_load(settings()), line_load(settings(detail="full"))
    print(f"basic {basic:.0%}, full {full:.0%} of a 9600 baud line")
    assert basic < 0.25 < full < 0.6
    assert FAMILIES[TYPE].load(settings()) == basic
    slow = DeviceSettings("FURN1", TYPE, "serial:///dev/none?baudrate=1200&parity=even")
    assert line_load(slow) > 1.0  # cannot be done


async def test_registers_of_other_signals_are_not_reached_in_basic_detail():
    bench = Bench(options={"detail": "basic"})
    await bench.start()
    assert bench.driver.signals().keys() == BASIC
    assert bench.driver.setting_at(2, 1000) == ("TSET", 100.0)
    for register, word in ((24, 1000), (23, 1)):
        with pytest.raises(Refused, match="full"):
            bench.driver.setting_at(register, word)
    with pytest.raises(Refused, match="not among"):
        bench.driver.word(24)
    assert bench.driver.word(1) == 250
    await bench.driver.close()


@pytest.mark.parametrize("detail", ["basic", "full"])
async def test_the_estimate_is_what_a_scan_sends(detail: str):
    bench = Bench(options={"detail": detail})
    await bench.start()
    await bench.run(10.0)
    bench.link.requests.clear()
    names = [name for name in PERIODIC if detail == "full" or name in BASIC]
    fast, slow = [name for name in names if name in bench.fast], [name for name in names if name not in bench.fast]
    medium = [name for name in slow if name in bench.medium]
    for second in range(60):
        await bench.scan(1.0, fast)
        due = slow if second % 10 == 0 else medium if second % 5 == 0 else []
        for portion in bench.driver.portions(due):
            await bench.scan(0.0, portion)
    character = 10 / 9600
    seconds = sum((FRAME + 2 * one.count) * character + LATENCY for one in bench.link.requests)
    assert seconds / 60 == pytest.approx(line_load(settings(detail=detail)), rel=0.25)
    await bench.driver.close()
