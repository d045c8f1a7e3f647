"""What is read immediately before a write, because the last scan may be seconds old: the front panel has a say, too.

A write must not bring an output beyond the limits of the site file, whichever setting does it: switching on, raising
MAXV above a VSET that is too high, leaving the low current range.
"""

from __future__ import annotations

import math

from devices.caen.catalogue import SETTINGS, Setting
from devices.caen.channel import CaenChannel
from devices.caen.unit import CaenUnit
from devices.errors import DeviceError, LinkDown, NotReady, OutOfLimits

_HIGH_RANGE = 0  # index of HIGH among the words of IMRANGE


class FreshLook:
    """Reads and checks for the writer of one supply. Nothing here changes the unit."""

    def __init__(self, unit: CaenUnit) -> None:
        self._unit = unit

    async def at_setting(self, setting: Setting, channel: CaenChannel) -> None:
        """Read a setting, its limits and its resolution, as far as they have not been read yet. Raises NotReady."""
        wanted = {setting.wire} if self._unit.outdated(setting.wire, channel.number) else set()
        if setting.numeric:
            parts = (f"{setting.suffix}.HI", f"{setting.suffix}.RES")
            wanted.update(name for part in parts for name in channel.parameters(part))
        await self._read(setting.suffix, channel, *sorted(wanted), fresh=False)

    async def before_on(self, channel: CaenChannel) -> None:
        """Refuse ON while the unit holds a voltage or a current limit above that of the site."""
        if self._unit.value("STAT", channel.number) is None:
            await self._read("ON", channel, "STAT", fresh=False)
        high = channel.limits.site_high("VSET")
        if math.isfinite(high):
            await self._read("ON", channel, "VSET", "MAXV")
            if self._output(channel) > high:
                raise _excess("ON", "VSET", self._number("VSET", channel), high)
        await self._refuse_current("ON", channel)

    async def before_choice(self, setting: Setting, channel: CaenChannel, index: int) -> None:
        """Refuse the high current range while the unit holds a current limit above that of the site."""
        if setting.suffix == "IRANGE" and index == _HIGH_RANGE:
            await self._refuse_current("IRANGE HIGH", channel)

    async def before_number(self, setting: Setting, channel: CaenChannel, number: float) -> None:
        """Refuse a MAXV that lifts the output above the limit of the site."""
        high = channel.limits.site_high("VSET")
        if setting.suffix != "MAXV" or not math.isfinite(high):
            return
        await self._read("MAXV", channel, "VSET", "MAXV")
        lifted = min(self._number("VSET", channel), number)
        if lifted > max(high, self._output(channel)):
            raise _excess(f"MAXV {number:.10g} V", "VSET", self._number("VSET", channel), high)

    async def _refuse_current(self, what: str, channel: CaenChannel) -> None:
        if math.isfinite(high := channel.limits.site_high("ISET")):
            await self._read(what, channel, "ISET")
            if channel.limits.beyond_site("ISET", iset := self._number("ISET", channel)) and iset > high:
                raise _excess(what, "ISET", iset, high)

    def _output(self, channel: CaenChannel) -> float:
        """Return the voltage to which the output goes while it is on, in steps of the unit."""
        volts = min(self._number("VSET", channel), self._number("MAXV", channel))
        return volts if channel.limits.beyond_site("VSET", volts) else min(volts, channel.limits.site_high("VSET"))

    def _number(self, parameter: str, channel: CaenChannel) -> float:
        found = self._unit.number(parameter, channel.number)
        return math.inf if found is None else found

    async def _read(self, what: str, channel: CaenChannel, *parameters: str, fresh: bool = True) -> None:
        """Read parameters; of this channel alone when they have to be ``fresh``. Raises NotReady or LinkDown."""
        try:
            for parameter in parameters:
                if parameter in self._unit.unsupported:
                    continue
                if fresh:
                    await self._unit.read_back(parameter, channel.number)
                else:
                    await self._unit.read_channels(parameter)
        except LinkDown:
            raise
        except DeviceError as error:
            raise NotReady(f"{what}: nothing was sent, since {parameter} cannot be read: {error}") from error


def _excess(what: str, setting: str, value: float, high: float) -> OutOfLimits:
    unit = SETTINGS[setting].unit
    return OutOfLimits(
        f"{what}: {setting} is {value:.10g} {unit}, above {high:.10g} {unit} (site limit); set {setting} first"
    )
