"""The status word of a channel (STAT): three layouts; the name of the unit decides.

Sources: DT55xxE manual, status table; N1470 and N1471 manuals (UM2027); CAEN's own caen_libs 3.3.0, which
has a table for each system type; 803x manual, which says that these units answer the same protocol.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from devices.caen.protocol import ChannelStatus, Profile
from devices.model import Level
from devices.rules.hv_trip import Conditions

_NAMES: Mapping[str, int] = {str(bit.name): int(bit) for bit in ChannelStatus}


@dataclass(frozen=True, slots=True)
class Layout:
    """What the bits of one family of units mean.

    ``bits`` are masks by the name of the signal that shows them (``STAT.TRIP``). The other masks sort them by what they
    mean; ``disabled`` is the enable switch of a channel where it has a bit of its own. ``alarms`` says what BDALARM is
    made of: the ``status`` bits of all channels, a bit for each of the first four ``channels``, or something else.
    ``switch`` is the parameter that switches an output with the values ON and OFF, empty where ON and OFF are commands.
    ``known`` is False for a layout that has been assumed, because the name of the unit is not known.
    """

    name: str
    bits: Mapping[str, int]
    fault: int
    disabled: int = 0
    hot: int = 0
    unnamed: int = 0
    alarms: str = ""
    switch: str = ""
    known: bool = True

    def unknown(self, word: int) -> int:
        """Return the bits of a word that this layout does not explain."""
        for mask in self.bits.values():
            word &= ~mask
        return word & ~self.unnamed

    def trip_alarm(self, channel: int) -> int:
        """Return the bits of BDALARM that a trip of a channel sets; 0 where it does not tell."""
        if self.alarms == "channels":
            return 1 << channel if channel < _ALARM_CHANNELS else 0
        return self.bits["TRIP"] if self.alarms == "status" else 0

    def protected(self, alarms: int) -> bool:
        """Return whether BDALARM has more than trips and limits: kill, interlock, over-temperature, a fault.

        False where it does not tell, which is also so for the inputs of a unit with a bit for each channel.
        """
        if self.alarms == "channels":
            return alarms >= 1 << _ALARM_CHANNELS
        mask = self.bits["OVT"] | self.bits["KILL"] | self.bits["INTLCK"] | self.fault
        return self.alarms == "status" and bool(alarms & mask)

    def has(self, name: str, word: int) -> bool:
        """Return whether a bit is set, by its name."""
        return bool(word & self.bits[name])

    def level(self, name: str, word: int) -> Level:
        """Return how bad a bit is that is set, apart from those that depend on the ramp: OVC, OVV, UNV."""
        mask = self.bits[name] & word
        if mask & self.disabled:
            return Level.MAJOR if mask & ~self.disabled else Level.OK  # STATE carries the alarm of the switch
        if mask & self.hot or name in ("TRIP", "OVT", "KILL", "INTLCK", "CALERR"):
            return Level.MAJOR
        return Level.MINOR if name in ("MAXV", "MAXPW", "TWARN") else Level.OK

    def conditions(self, word: int, interlock_shown: bool = False) -> Conditions:
        """Translate a status word; ``interlock_shown`` says that BD.ILK carries the alarm of an interlock."""
        found = {name for name, mask in self.bits.items() if word & mask}
        return Conditions(
            on="ON" in found,
            up="UP" in found,
            down="DOWN" in found,
            limiting="OVC" in found,
            undervoltage="UNV" in found,
            inhibited="INTLCK" in found and not interlock_shown,
            interlocked="INTLCK" in found and interlock_shown,
            disabled=bool(word & self.disabled),
            killed="KILL" in found,
            tripped="TRIP" in found,
            fault=bool(word & self.fault),
        )

    def why_off(self, word: int) -> str:
        """Return why the output stays off, in words; empty when the word has none."""
        reasons = (
            (self.bits["TRIP"], "tripped, clear it with CLR:CMD first"),
            (self.bits["KILL"], "killed by the front panel input"),
            (self.bits["INTLCK"], "interlock active"),
            (self.disabled, "disabled by the front panel switch"),
            (
                self.bits["OVT"] & ~self.disabled,
                "over-temperature" if self.disabled else "over-temperature or disabled",
            ),
            (self.bits["CALERR"], "calibration error"),
        )
        return ", ".join(text for mask, text in reasons if word & mask)


_ALARM_CHANNELS = 4  # in BDALARM of profile B (N1470 manual)
_A = Layout("DT55xxE", _NAMES, fault=_NAMES["OVT"] | _NAMES["CALERR"] | _NAMES["MAXPW"], alarms="status")
_B = Layout(
    "N1470",
    _NAMES,
    fault=_NAMES["TWARN"] | _NAMES["CALERR"] | _NAMES["MAXPW"],
    disabled=_NAMES["OVT"],
    hot=_NAMES["TWARN"],
    alarms="channels",
)
_SMART_DISABLED, _SMART_FAIL, _SMART_LOCK = 1 << 12, 1 << 13, 1 << 14
_SMART = Layout(
    "803x",
    {
        **{name: _NAMES[name] for name in ("ON", "UP", "DOWN", "OVC", "OVV", "UNV")},
        "TRIP": 1 << 6,
        "MAXPW": 1 << 7,  # OVP
        "TWARN": 1 << 8,
        "OVT": 1 << 9 | _SMART_DISABLED,
        "KILL": 1 << 10,
        "INTLCK": 1 << 11,
        "MAXV": 1 << 15,
        "CALERR": 1 << 16,
    },
    fault=1 << 7 | 1 << 9 | _SMART_FAIL | 1 << 16,
    disabled=_SMART_DISABLED,
    unnamed=_SMART_FAIL | _SMART_LOCK,
    switch="PW",
)

_BY_NAME = (
    (re.compile(r"DT55[0-9]{2}H?E[A-Z]?"), _A),
    (re.compile(r"[A-Z]{0,3}(803[0-9]|1415)[A-Z]*"), _SMART),
    (re.compile(r"[A-Z]{0,3}(14[0-9]{2}|1570)[A-Z]*"), _B),
)


def layout_of(name: str, profile: Profile) -> Layout:
    """Return the layout of a unit by the name that it gives (BDNAME), or else the usual one of its profile."""
    for pattern, layout in _BY_NAME:
        if pattern.fullmatch(name.strip().upper()):
            return layout
    assumed = _A if profile is Profile.A else _B
    return replace(assumed, known=False)
