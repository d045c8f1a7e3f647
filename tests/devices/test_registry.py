"""The families of devices: their templates and options, their simulators, families of other packages."""

from __future__ import annotations

import re
import subprocess
import sys
import tokenize
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

import db
from devices.errors import DeviceError
from devices.family import Families
from devices.model import DeviceSettings
from devices.registry import FAMILIES
from devices.simple import Line, text_family


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


@pytest.mark.parametrize("detail", ["basic", "full"])
@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
def test_what_is_known_of_a_device_without_a_driver_is_what_its_driver_says(family, detail):
    for channels in (1, 12):
        example = family.example_settings(channels=channels)
        settings = replace(example, options={**example.options, "detail": detail})
        found, of_driver = family.signals(settings), family.make_driver(settings).signals()
        assert list(found.items()) == list(of_driver.items())


@pytest.mark.parametrize("address", ["http://x", "tcp://x", "tcp://x:1?a=b", "serial://", "serial:///dev/x?parity=odd",
                                     "serial:///dev/x?baudrate=9601", "serial:///dev/x?x=1"])  # fmt: skip
@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
def test_an_address_is_checked_without_a_driver_as_by_the_driver(family, address):
    try:
        family.make_driver(replace(family.example_settings(channels=1), address=address))
    except ValueError as error:
        with pytest.raises(ValueError, match=re.escape(str(error))):
            family.check_address(address)
    else:
        if family.type != "iseg-edcp":  # whose drivers of simulated modules have an address of python-can
            family.check_address(address)


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


class Point:
    """An entry point of another package."""

    def __init__(self, name: str, value: str, loaded: object) -> None:
        self.name, self.value, self._loaded = name, value, loaded

    def load(self) -> object:
        if isinstance(self._loaded, Exception):
            raise self._loaded
        return self._loaded

    def __lt__(self, other: Point) -> bool:
        return self.name < other.name


def test_families_of_other_packages_come_after_ours_and_broken_ones_are_left_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    mine = text_family(type="x-good", title="X", template="x", rows=[Line("A", ask="A?")])
    points = [
        Point("x-good", "x:FAMILY", mine),
        Point("x-missing", "x:NONE", ImportError("no module named x")),
        Point("x-other", "x:FAMILY", mine),
        Point("x-string", "x:TEXT", "no family"),
        Point("caen-dt55xx", "x:CAEN", replace(mine, type="caen-dt55xx")),
    ]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: points if group == "labioc.families" else [])
    families = Families(FAMILIES.built_in)
    assert list(families) == [*families.built_in, "x-good"]
    assert families["x-good"] is mine
    assert families["caen-dt55xx"] is FAMILIES["caen-dt55xx"]
    assert sorted(record.getMessage().split(":")[0] for record in caplog.records) == [
        f"device family {name} cannot be used" for name in ("caen-dt55xx", "x-missing", "x-other", "x-string")
    ]
    with pytest.raises(KeyError):
        families["x-missing"]


def test_a_server_loads_the_drivers_it_serves_and_no_simulator():
    code = (
        "import asyncio, sys; from ioc.app import App; from ioc.site.config import parse_site;"
        "app = App(parse_site({'site': {'prefix': 'LAB'},"
        " 'device': [{'name': 'HV1', 'type': 'caen-dt55xx', 'address': 'tcp://127.0.0.1:1'}]}), 0, local_only=True)\n"
        "async def serve():\n  await app.start()\n  await app.stop()\n"
        "asyncio.run(serve())\n"
        "print(*sorted(name for name in sys.modules if name.startswith('devices.')))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "devices.caen.driver" in loaded
    assert not [name for name in loaded if "simulat" in name or name.endswith(("iseg.driver", "eurotherm.driver"))]


NAMES = re.compile(r"caen|iseg|eurotherm|dt55xx|edcp", re.IGNORECASE)
OWN = {"caen", "iseg", "eurotherm", "registry.py", "zabbix"}  # the last one for the keys of an older furnace server


@pytest.mark.parametrize("room", ["ioc", "archiver", "devices"])
def test_no_code_outside_its_folder_names_a_family(room: str):
    for path in (Path(db.__file__).parents[1] / room).rglob("*.py"):
        if OWN & {*path.parts}:
            continue
        with path.open("rb") as file:
            for token in tokenize.tokenize(file.readline):
                is_text = token.type == tokenize.STRING and token.string.startswith(('"""', 'r"""'))
                if token.type in (tokenize.NAME, tokenize.STRING) and not is_text:
                    assert not NAMES.search(token.string), f"{path}:{token.start[0]}: {token.string}"
