"""Limits in force, resolution and scale of Iseg settings, from what the module and the site file say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from devices.iseg.catalogue import MICRO, MODULE_RAMP, NOMINAL, RAMPS, Setting
from devices.iseg.edcp.bits import ModuleOption, ModuleStatus
from devices.iseg.unit import POLARITY, IsegUnit
from devices.model import DeviceSettings, Limits
from devices.rules.settings import tightened

RESOLUTION = 1e-5  # of nominal, half of which a read-back may differ; no EDCP item tells the real one
RAMP_MOST = 20.0  # %/s without kill (EDCP guide)
RAMP_KILL = 1.0  # %/s with kill (EDCP guide)
RAMP_FAST = 75.0  # %/s, the fastest of the fast-ramp options (EDCP guide, ModuleOptionSpec)
RAMP_LEAST = 1e-3  # V/s (EDCP guide)
AMPERES = 0.1  # a CurrentMax below this cannot be percent: drvAsynCan reads amperes
NOT_VALID = 0xFFFFFFFF  # ModuleOption that tells nothing


class IsegLimits:
    """The rules of one module; every method answers from what has been read so far."""

    def __init__(self, unit: IsegUnit, settings: DeviceSettings) -> None:
        self._unit = unit
        self._settings = settings
        self._signs = str(settings.options.get("setpoints", "auto"))

    def nominal(self, item: str, channel: int) -> float | None:
        """Return VoltageNominal in V or CurrentNominal in A as a magnitude, None before it was read."""
        value = self._unit.number(item, channel)
        return None if value is None else abs(value)

    def highest(self, unit: str, channel: int) -> float | None:
        """Return the nominal value of what is measured in a unit, in this unit, None before it was read."""
        nominal = self.nominal(NOMINAL.get(unit, ""), channel)
        return None if nominal is None else float(f"{nominal * (MICRO if unit == 'uA' else 1):.7g}")

    def sign(self, channel: int) -> float:
        """Return what a voltage is multiplied by on its way to the wire.

        No source tells whether negative outputs take signed set points; the polarity decides, unless the site file
        does.
        """
        if self._signs == "magnitude":
            return 1.0
        return -1.0 if self.negative(channel) else 1.0

    def negative(self, channel: int) -> bool:
        """Tell whether the output is negative: by its nominal voltage, or by OutputPolarity where it can be switched.

        Bit 0 of the status, which some programs read as the polarity, is reserved in the guide and not used.
        """
        polarity = self._unit.number(POLARITY, channel)
        if polarity:
            return polarity < 0
        return (self._unit.number("VoltageNominal", channel) or 0.0) < 0

    def ramp_is_own(self) -> bool:
        """Whether channels have a ramp of their own, not only the module's."""
        known = ("VoltageRampSpeedUp", 0) in self._unit.cells
        return known and "VoltageRampSpeedUp" not in self._unit.unsupported

    def shares_ramp(self, setting: Setting) -> bool:
        """Whether a setting stands for the ramp speed of the module."""
        return setting.item == MODULE_RAMP or (setting.suffix in RAMPS and not self.ramp_is_own())

    def resolution(self, setting: Setting, channel: int) -> float:
        """Return the step, in the unit of the setting, half of which a read-back may differ."""
        if setting.unit in NOMINAL:
            nominal = self.nominal(NOMINAL[setting.unit], channel) or 0.0
            return max(nominal * RESOLUTION * setting.scale, 1e-9 if setting.unit == "uA" else 1e-6)
        return 100 * RESOLUTION if setting.item == MODULE_RAMP else 1.0

    def limits(self, setting: Setting, channel: int) -> Limits | None:
        """Return the tightest of nominal, hardware limit and site; None while they are not known."""
        own = self._own(setting, channel)
        if own is None:
            return None
        limits = tightened(own, self._settings.limits_of(channel), setting.suffix)
        for other in sorted(self._unit.followers(setting.item, channel)):
            whose = f"site limit of CH{other:02d}, which follows in a group"
            limits = tightened(limits, self._settings.limits_of(other), setting.suffix, whose)
        if self.shares_ramp(setting) and not self.ramp_is_own() and (ramps := list(self._site_ramps())):
            percent, whose = min(ramps)  # one speed has to serve all channels
            of_module = setting.suffix == "MOD.RAMPV"
            fastest = percent if of_module else percent * (self.nominal("VoltageNominal", channel) or 0.0) / 100
            if fastest < limits.high:
                limits = replace(limits, high=fastest, high_from=f"site limit of {whose}")
        return limits

    def _site_ramps(self) -> Iterator[tuple[float, str]]:
        """Yield the fastest ramps that the site allows, in %/s of nominal, and whose they are."""
        if "MOD.RAMPV" in self._settings.limits:
            yield self._settings.limits["MOD.RAMPV"][1], "MOD:RAMPV"
        nominals = {channel: self.nominal("VoltageNominal", channel) or 0.0 for channel in self._unit.every}
        highest = max(nominals.values(), default=0.0)
        for channel, own in nominals.items():
            nominal = own or highest  # one that is not known, or reads 0, frees the other channels of no limit
            for site in self._settings.limits_of(channel):
                for suffix in RAMPS:
                    if suffix in site and nominal:
                        yield 100 * site[suffix][1] / nominal, f"CH{channel:02d}:{suffix}"

    def _own(self, setting: Setting, channel: int) -> Limits | None:
        """Return what the module itself allows."""
        if setting.whole:
            return Limits(0, 0xFFFF, "lowest possible", "width of the word")
        if setting.suffix in (*RAMPS, "MOD.RAMPV"):
            return self._ramp(setting, channel)
        high, high_from = self.highest(setting.unit, channel), "nominal"
        if high is None:
            return None
        if setting.suffix in ("VSET", "ISET"):
            percent = self.percent("VoltageMax" if setting.suffix == "VSET" else "CurrentMax")
            if percent is not None and percent < 100.0:
                high, high_from = high * percent / 100, f"hardware limit {percent:.4g} %"
        return Limits(0.0, high, "lowest possible", high_from)

    def depends_on(self, setting: Setting, channel: int | None) -> list[tuple[str, int | None]]:
        """Return what else has to be read before a setting is written: what limits it, and what it is made of."""
        match setting.suffix:
            case "VSET":
                return [("VoltageMax", None), (POLARITY, channel)]
            case "ISET":
                return [("CurrentMax", None)]
            case "RAMPUP" | "RAMPDN" | "MOD.RAMPV":
                return [("ModuleStatus", None)]  # kill mode slows the ramp
        return []

    def beyond_site(self, setting: Setting, channel: int, value: float) -> bool:
        """Whether the module holds a value outside the limits of the site."""
        half = 0.5 * self.resolution(setting, channel)
        found = [site[setting.suffix] for site in self._settings.limits_of(channel) if setting.suffix in site]
        return any(not low - half <= value <= high + half for low, high in found)

    def percent(self, item: str) -> float | None:
        """Return VoltageMax or CurrentMax in percent of nominal; None when the board has no such limit.

        The guide says percent; drvAsynCan takes CurrentMax for amperes, and a board without potentiometers may tell
        anything, so only what makes sense limits. The module clips what is above, which the read-back shows.
        """
        value = self._unit.number(item)
        if item == "CurrentMax" and value is not None and 0 < value < AMPERES:
            nominal = self.nominal("CurrentNominal", 0)
            value = 100 * value / nominal if nominal else None
        return value if value is not None and 0 < value <= 110 else None

    def _ramp(self, setting: Setting, channel: int) -> Limits | None:
        nominal = self.nominal("VoltageNominal", channel)
        if not nominal:
            return None
        if setting.suffix in RAMPS and self.ramp_is_own():
            return self._own_ramp(nominal, channel)
        options = int(self._unit.number("ModuleOption") or 0)
        fast = options != NOT_VALID and bool(options & ModuleOption.FAST_RAMP)
        most, why = (RAMP_FAST, "fast ramp option") if fast else (RAMP_MOST, "device limit")
        if self._unit.word("ModuleStatus") & ModuleStatus.KILL_ENABLE:
            most, why = RAMP_KILL, "kill mode allows 1 %/s"
        least = 100 * RAMP_LEAST / nominal
        if setting.suffix in RAMPS:
            return Limits(least * nominal / 100, most * nominal / 100, "device limit", why)
        return Limits(least, most, "device limit", why)

    def _own_ramp(self, nominal: float, channel: int) -> Limits:
        least = self._unit.number("VoltageRampSpeedMin", channel)
        most = self._unit.number("VoltageRampSpeedMax", channel)
        return Limits(
            least if least is not None else RAMP_LEAST,
            most if most else nominal * RAMP_MOST / 100,
            "device VoltageRampSpeedMin" if least is not None else "device limit",
            "device VoltageRampSpeedMax" if most else "device limit",
        )
