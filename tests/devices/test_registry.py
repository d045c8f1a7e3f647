from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest

import db
from devices.errors import DeviceError
from devices.model import DeviceSettings
from devices.registry import FAMILIES


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
def test_every_family_has_its_template_and_sound_options(family):
    assert FAMILIES[family.type] is family
    assert (Path(db.__file__).parent / family.template).is_file()
    assert 0 <= family.default_channels <= 100  # 0: a device without channels
    for name, schema in family.options.items():
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema["description"][0].isupper(), name
        assert not schema["description"].endswith("."), name
        if "default" in schema:
            jsonschema.validate(schema["default"], schema)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
async def test_every_family_drives_its_own_simulator(family):
    simulator = family.make_simulator(DeviceSettings("X1", family.type, channels=2), 0)
    await simulator.start()
    driver = family.make_driver(DeviceSettings("X1", family.type, simulator.address, channels=2, simulated=True))
    try:
        assert driver.settings.name == "X1"
        await driver.connect()
        names = [name for name, signal in driver.signals().items() if not signal.settable]
        assert set(await driver.read(names)) == set(names)
    finally:
        await driver.close()
        await simulator.stop()
    with pytest.raises(DeviceError):
        await driver.read(names)


@pytest.mark.parametrize(("board", "model"), [(0, "DT5533E"), (5, "NDT1470")])
async def test_a_simulated_supply_with_a_board_is_one_that_has_addresses(board, model):
    family, options = FAMILIES["caen-dt55xx"], {"board": board}
    simulator = family.make_simulator(DeviceSettings("X1", family.type, options=options), 0)
    await simulator.start()
    driver = family.make_driver(DeviceSettings("X1", family.type, simulator.address, options=options))
    try:
        await driver.connect()
        assert (await driver.read(["BD.NAME"]))["BD.NAME"].value == model
    finally:
        await driver.close()
        await simulator.stop()


def test_an_address_of_no_link_is_refused_at_once():
    with pytest.raises(ValueError, match=r"tcp://HOST:PORT"):
        FAMILIES["caen-dt55xx"].make_driver(DeviceSettings("HV1", "caen-dt55xx", "http://x"))
