"""The CAEN DT55xxE / N1470 family, as the rest of labioc knows it."""

from __future__ import annotations

from devices.family import Family
from devices.rules.options import HV_DISABLED_SEVERITY, HV_SETTLE, HV_SETTLED_BAND, between, flag, text

FAMILY = Family(
    type="caen-dt55xx",
    title="CAEN DT55xxE / N1470 high voltage",
    template="caen-dt55xx.substitutions",
    channel_template="hv-channel.substitutions",
    driver="devices.caen.driver:CaenDriver",
    simulated_by="devices.caen.simulator.command:SIMULATION",
    found_by="devices.caen.discovery:DISCOVERY",
    address="tcp://HOST:PORT or serial:///dev/NAME?baudrate=9600, with &xonxoff=1 for software flow control",
    read_address="devices.links.line:parse_address",
    default_channels=4,
    signals_by="devices.caen.catalogue:signals",
    load_by="devices.caen.load:line_load",
    example={"name": "HV1", "address": "tcp://127.0.0.1:23"},
    demo=True,
    measurement="DT5533E",
    options={
        "board": between(0, 31, "Address set at the unit; units without addresses ignore it", 0, "integer"),
        "serial": text("Serial number expected, leading zeros included; another one raises a MAJOR alarm"),
        "settle": HV_SETTLE,
        "settled_band": HV_SETTLED_BAND,
        "disabled_severity": HV_DISABLED_SEVERITY,
        "allow_infinite_trip": flag(False, "Do not warn when the trip time is infinite (overcurrent protection off)"),
    },
)
