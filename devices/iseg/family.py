"""The Iseg EDCP family, as the rest of labioc knows it."""

from __future__ import annotations

from devices.family import Family, Keys, Place
from devices.rules.options import HV_SETTLE, HV_SETTLED_BAND, choice, flag, key, text


def _place(device: Keys) -> Place | None:
    """Return the place of a module: its address on the bus of an adapter."""
    adapter, module = device.get("can"), device.get("module")
    if not isinstance(adapter, str) or not isinstance(module, int):
        return None
    return Place(wire=f"CAN adapter {adapter}", key="module", protocol="EDCP", number=module, text=f"module {module}")


def _no_address(address: str) -> None:
    raise ValueError(f"found {address!r}, allowed: none; can and module say where it is")


FAMILY = Family(
    type="iseg-edcp",
    title="Iseg high voltage modules on CAN (EDCP)",
    template="iseg-edcp.substitutions",
    channel_template="hv-channel.substitutions",
    driver="devices.iseg.driver:IsegDriver",
    read_address=_no_address,
    signals_by="devices.iseg.catalogue:signals",
    load_by="devices.iseg.load:bus_load",
    simulated_by="devices.iseg.simulator.command:SIMULATION",
    found_by="devices.iseg.discovery:DISCOVERY",
    place=_place,
    required=("can", "module"),
    default_channels=16,
    example={"name": "ISEG1", "can": "main", "module": 1},
    demo=True,
    measurement="ISEG",
    options={
        "can": text("Name of the [can.NAME] section of the adapter"),
        "module": key("integer", "Address of the module on the bus, usually its slot", minimum=0, maximum=63),
        "serial": key("string", "Serial number expected; another one raises a MAJOR alarm", pattern="^[0-9]+$"),
        "settle": HV_SETTLE,
        "settled_band": HV_SETTLED_BAND,
        "setpoints": choice(
            ("auto", "signed", "magnitude"),
            "Sign of voltage settings on negative outputs; auto: that of the polarity",
            default="auto",
        ),
        "allow_configuration": flag(
            False, "Allow raw writes by which a module may be lost: its bit rate, its way of communication"
        ),
        "allow_kill_off": flag(False, "Do not warn when kill is off (trips do not switch off)"),
    },
)
