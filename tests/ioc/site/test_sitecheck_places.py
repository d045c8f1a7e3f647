"""Two devices at one place are refused: the same module or unit behind the same adapter or port, or one address."""

from __future__ import annotations

from typing import Any

import pytest

from ioc.site.check import mistakes as found_in

HV: dict[str, Any] = {"type": "caen-dt55xx", "address": "tcp://hv.lab:23"}
ISEG: dict[str, Any] = {"type": "iseg-edcp", "can": "main", "module": 3}
FURNACE: dict[str, Any] = {"type": "eurotherm-3200", "address": "serial:///dev/ttyUSB0"}

ONE = "a connection serves one device"


def mistakes(*devices: dict[str, Any]) -> list[str]:
    named = [{"name": f"D{number}"} | device for number, device in enumerate(devices)]
    adapters = {name: {"interface": "virtual"} for name in ("main", "other")}
    return [str(one) for one in found_in({"site": {"prefix": "LAB"}, "can": adapters, "device": named})]


@pytest.mark.parametrize(
    ("first", "second", "mistake"),
    [
        (HV, HV, f"device D1.address: {ONE}, and tcp://hv.lab:23 is already that of device D0"),
        (HV, HV | {"board": 1}, f"device D1.address: {ONE}, and tcp://hv.lab:23 is already that of device D0"),
        (HV, HV | {"address": "tcp://HV.lab:23"}, f"device D1.address: {ONE}, and tcp://hv.lab:23 is already"),
        (ISEG, ISEG, "device D1.module: module 3 on CAN adapter main is already that of device D0"),
        (
            FURNACE,
            FURNACE | {"unit": 1},
            "device D1.unit: unit 1 on serial:///dev/ttyUSB0 is already that of device D0",
        ),
        (FURNACE, FURNACE | {"address": "serial:///dev/ttyUSB0?baudrate=19200"}, "device D1.address: unit 1 on"),
    ],
)
def test_GIVEN_a_device_WHEN_another_has_its_place_THEN_both_are_named(
    first: dict[str, Any], second: dict[str, Any], mistake: str
) -> None:
    (found,) = mistakes(first, second)
    assert found.startswith(mistake)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (HV, HV | {"address": "tcp://hv2.lab:23"}),
        (HV, HV | {"simulated": True}),
        (ISEG, ISEG | {"module": 4}),
        (ISEG, ISEG | {"can": "other"}),
        (ISEG | {"simulated": True}, ISEG | {"simulated": True}),
        (FURNACE, FURNACE | {"unit": 2}),
        (FURNACE, FURNACE | {"address": "serial:///dev/ttyUSB1"}),
    ],
)
def test_GIVEN_a_device_WHEN_another_is_elsewhere_THEN_nothing_is_said(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    assert mistakes(first, second) == []


def test_GIVEN_three_at_one_place_WHEN_checked_THEN_each_of_the_later_ones_names_the_first() -> None:
    found = mistakes(HV, HV, HV)
    assert [text.partition(":")[0] for text in found] == ["device D1.address", "device D2.address"]
    assert all(text.endswith("is already that of device D0") for text in found)


def test_two_sections_for_one_can_adapter_and_an_adapter_on_the_port_of_a_device_are_refused():
    adapters = {
        "a": {"interface": "socketcan", "channel": "can0"},
        "b": {"interface": "socketcan", "channel": "can1"},
        "c": {"interface": "socketcan", "channel": "can0"},
        "d": {"interface": "slcan", "channel": "/dev/no-port@115200"},
    }
    furnace = {"name": "F1", "type": "eurotherm-3200", "address": "serial:///dev/no-port"}
    data = {"site": {"prefix": "LAB"}, "can": adapters, "device": [furnace]}
    assert [str(one) for one in found_in(data)] == [
        'can.c.channel: found "can0", already that of [can.a]',
        'can.d.channel: found "/dev/no-port@115200", the port of device F1',
    ]
    assert found_in({**data, "can": {"d": adapters["d"]}, "device": [{**furnace, "simulated": True}]}) == []


def test_GIVEN_a_module_with_an_address_WHEN_it_is_checked_THEN_that_is_refused_and_not_taken_for_its_adapter() -> None:
    wrong = "device D0.address: found 'serial:///dev/ttyS0', allowed: none; can and module say where it is"
    assert mistakes(ISEG | {"address": "serial:///dev/ttyS0"}) == [wrong]
