"""Limits in force, resolution and decimals of a CAEN setting, from what the unit and the site file say.

Also what is read immediately before a write, because the last scan may be seconds old: the front panel has a say, too.
A write must not bring an output beyond the limits of the site file, whichever setting does it: switching on, raising
MAXV above a VSET that is too high, leaving the low current range.
"""

from __future__ import annotations

import math

from devices.caen.catalogue import CHANNEL, SETTINGS, TRIP_INFINITE, Setting
from devices.caen.unit import CaenUnit
from devices.errors import DeviceError, LinkDown, NotReady, OutOfLimits
from devices.model import DeviceSettings, Limits
from devices.rules.settings import tightened

HIGH_RANGE, LOW_RANGE = 0, 1  # indexes among the words of IMRANGE
LONGEST_TRIP = 999.9  # s, highest finite trip time of the family


class ChannelLimits:
    """The rules of one channel, which answer from what has been read so far; nothing here changes the unit."""

    def __init__(self, unit: CaenUnit, channel: int, settings: DeviceSettings) -> None:
        self._unit = unit
        self._channel = channel
        self._known = unit.cells[channel]
        self._site = settings.limits_of(channel)

    def _first(self, parameters: tuple[str, ...]) -> tuple[float, str] | None:
        """Return the value of the first of these parameters that is known, and its name."""
        for parameter in parameters:
            cell = self._known.get(parameter)
            if cell is not None and not isinstance(cell.value, str):
                return float(cell.value), parameter
        return None

    def range(self) -> str:
        """Return the range of the current meter as names of parameters end: L for the low one, H for the high one."""
        cell = self._known.get("IMRANGE")
        return "L" if cell is not None and cell.value == LOW_RANGE else "H"

    def _highest(self, setting: Setting) -> tuple[str, ...]:
        return (f"IMAX{self.range()}", "IMAX") if setting.name == "ISET" else setting.high

    def of_unit(self, setting: Setting) -> tuple[float, float] | None:
        """Return the range that the unit itself gives a setting, None while it is not known."""
        low, high = self._first(setting.low), self._first(self._highest(setting))
        return None if high is None else (low[0] if low else 0.0, high[0])

    def site_high(self, suffix: str) -> float:
        """Return the highest value that the site allows, infinite when it does not limit it."""
        return tightened(Limits(-math.inf, math.inf), self._site, suffix).high

    def beyond_site(self, suffix: str, value: float) -> bool:
        """Whether a value that the unit holds is outside what the site allows, by more than half a step."""
        hair = 0.5001 * self.resolution(suffix)
        site = tightened(Limits(-math.inf, math.inf), self._site, suffix)
        return not site.low - hair <= value <= site.high + hair

    def limits(self, setting: Setting) -> Limits | None:
        """Return the tightest of device, MAXV and site; a side without a limit is infinite (the low one 0).

        None while the setting, or what limits it, has not been read; what this firmware does not know is left out.
        """
        highest = self._highest(setting)
        for name in (*setting.limited_with, *setting.low, *highest):
            if name not in self._known and not self._unit.settled(name, self._channel):
                return None
        low, low_from = 0.0, "lowest possible"
        high, high_from = math.inf, "no limit"
        if (own := self._first(setting.low)) is not None:
            low, low_from = own[0], f"device {own[1]}"
        if (own := self._first(highest)) is not None:
            high, high_from = own[0], f"device {own[1]}"
        if setting.name == "TRIPTIME" and LONGEST_TRIP <= high < TRIP_INFINITE:
            high = TRIP_INFINITE  # a unit may tell its longest finite time; "never" is allowed beyond it
        if setting.name == "VSET" and (own := self._first(("MAXV",))) is not None and own[0] < high:
            high, high_from = own[0], "MAXV"
        return tightened(Limits(low, high, low_from, high_from), self._site, setting.name)

    def decimals(self, suffix: str) -> int | None:
        """Return the decimals that the unit shows for a quantity given by its suffix, None when it does not tell."""
        parameters = CHANNEL[suffix].decimals
        found = self._first((f"IMDEC{self.range()}", *parameters) if "IMDEC" in parameters else parameters)
        return None if found is None or not 0 <= found[0] <= 9 else int(found[0])

    def resolution(self, suffix: str) -> float:
        """Return the smallest step of a quantity given by its suffix, in its own unit."""
        found = self._first((f"IMRES{self.range()}",) if suffix == "IMON" else CHANNEL[suffix].resolution)
        if found is not None and found[0] > 0:
            return found[0]
        decimals = self.decimals(suffix)
        if decimals is None:
            decimals = CHANNEL[suffix].digits
        return float(f"1e-{decimals}")

    def low_range_end(self) -> float | None:
        """Return the full scale of the low current range in uA, None when it is not known."""
        if (found := self._first(("IMAXL", "IMAX"))) is None:
            return None
        end, parameter = found
        # Profile B has one IMAX; its low range is a tenth of the full one (NDT14xx manual, UM2027).
        return end if parameter == "IMAXL" else end / 10

    # Immediately before a write

    async def before_setting(self, setting: Setting) -> None:
        """Read a setting, its limits and its resolution, as far as they have not been read yet. Raises NotReady."""
        wanted = {setting.wire, *setting.low, *setting.high, *setting.resolution, *setting.decimals}
        context = set(setting.limited_with if setting.numeric else ()) - self._known.keys()
        outdated = {name for name in wanted if self._unit.outdated(name, self._channel)}
        await self._read(setting.name, *sorted(outdated | context), fresh=False)

    async def before_on(self) -> None:
        """Refuse ON while the unit holds a voltage or a current limit above that of the site."""
        if "STAT" not in self._known:
            await self._read("ON", "STAT", fresh=False)
        high = self.site_high("VSET")
        if math.isfinite(high):
            await self._read("ON", "VSET", "MAXV")
            if self._output() > high:
                raise _excess("ON", "VSET", self._number("VSET"), high)
        await self._refuse_current("ON")

    async def before_choice(self, setting: Setting, index: int) -> None:
        """Refuse the high current range while the unit holds a current limit above that of the site."""
        if setting.name == "IRANGE" and index == HIGH_RANGE:
            await self._refuse_current("IRANGE HIGH")

    async def before_number(self, setting: Setting, number: float) -> None:
        """Refuse a MAXV that lifts the output above the limit of the site."""
        high = self.site_high("VSET")
        if setting.name != "MAXV" or not math.isfinite(high):
            return
        await self._read("MAXV", "VSET", "MAXV")
        lifted = min(self._number("VSET"), number)
        if lifted > max(high, self._output()):
            raise _excess(f"MAXV {number:.10g} V", "VSET", self._number("VSET"), high)

    async def _refuse_current(self, what: str) -> None:
        if math.isfinite(high := self.site_high("ISET")):
            await self._read(what, "ISET")
            if self.beyond_site("ISET", iset := self._number("ISET")) and iset > high:
                raise _excess(what, "ISET", iset, high)

    def _output(self) -> float:
        """Return the voltage to which the output goes while it is on, in steps of the unit."""
        volts = min(self._number("VSET"), self._number("MAXV"))
        return volts if self.beyond_site("VSET", volts) else min(volts, self.site_high("VSET"))

    def _number(self, parameter: str) -> float:
        found = self._first((parameter,))
        return math.inf if found is None else found[0]

    async def _read(self, what: str, *parameters: str, fresh: bool = True) -> None:
        """Read parameters; of this channel alone when they have to be ``fresh``. Raises NotReady or LinkDown."""
        try:
            for parameter in parameters:
                if parameter in self._unit.unsupported:
                    continue
                if fresh:
                    await self._unit.read_back(parameter, self._channel)
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
