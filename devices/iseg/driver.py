"""Driver of an Iseg module on CAN (EDCP): batches of signals in, readings out.

Connecting registers the module, which EDCP asks for before anything else; apart from that, nothing but requests is
sent by connecting and reading. Writing is in devices.iseg.writer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

from can.interfaces import BACKENDS

from devices.clock import DriverClock
from devices.errors import DeviceError, LinkDown, ReplyTimeout
from devices.iseg.catalogue import CHANGED_BY_EVENTS, CHANNEL, LIVE, MODULE, MODULE_RAMP, RAMPS, SETTINGS
from devices.iseg.channel import IsegChannel
from devices.iseg.edcp.items import BY_NAME
from devices.iseg.limits import IsegLimits
from devices.iseg.link import ModuleLink
from devices.iseg.module import IsegModule
from devices.iseg.raw import USAGE, IsegRaw, iseg_request
from devices.iseg.unit import IsegUnit, Wanted
from devices.iseg.writer import IsegWriter
from devices.model import DeviceSettings, Limits, RawRequest, Reading, Value, Way
from devices.rules.channels import ChannelDriver, channel_prefix
from devices.rules.hv_trip import Activity

log = logging.getLogger("labioc.iseg")

DEFAULT_CHANNELS = 16
ROOM = 8
"""Writes under way on one bus: most of their time goes into waiting for a status that a board renews by itself."""

_BUS = ("BUS.STATE",)


class IsegDriver(ChannelDriver[IsegChannel]):
    """One module, as ``devices.model.Driver`` describes it.

    Options of the site file: ``can`` (section of the adapter), ``module`` (address), ``serial`` (the one expected),
    ``settle`` (seconds), ``setpoints`` (``auto``, ``signed`` or ``magnitude``), ``allow_kill_off``,
    ``allow_configuration``. A simulated device has an address instead, INTERFACE:CHANNEL.
    """

    raw_usage: Final = USAGE
    """The words that ``raw_request`` takes."""

    def __init__(
        self, settings: DeviceSettings, clock: DriverClock | None = None, link: ModuleLink | None = None
    ) -> None:
        clock = clock or DriverClock()
        self._link = link or _make_link(settings, clock)
        self._link.on_event, self._link.on_loss = self._event, self._loss
        count = settings.channels or DEFAULT_CHANNELS
        self._unit = IsegUnit(self._link, count)
        self._limits = IsegLimits(self._unit, settings)
        self._module = IsegModule(self._unit, self._limits, settings)
        activity = Activity()
        channels = [IsegChannel(self._unit, number, self._limits, settings, activity) for number in range(count)]
        super().__init__(settings, self._link.stats, clock, self._module, channels, MODULE, CHANNEL)
        self._writer: IsegWriter = IsegWriter(self._unit, self._module, channels, self._limits, settings, clock)
        self._raw = IsegRaw(self._unit, settings, clock)
        self._limits_found: dict[str, Limits | None] = {}
        self._limits_of = 0  # revision of the unit
        self._report: Callable[[Collection[str]], None] = lambda _: None
        self._last_state_pending = False
        self._to_learn = False
        self._learning: asyncio.Task[None] | None = None

    def notify(self, hook: Callable[[Collection[str]], None]) -> None:
        """Call ``hook`` from now on with signals that are worth reading before the next scan."""
        self._report = hook

    def _event(self) -> None:
        changed = [prefix + suffix for prefix in self._prefixes for suffix in CHANGED_BY_EVENTS]
        self._report([*changed, "MOD.STAT"])

    def _loss(self) -> None:
        self._last_state_pending = True
        self._report(_BUS)

    async def connect(self) -> None:
        """Join the bus, register the module, learn identity, limits and what its firmware can do.

        Raises LinkDown, ReplyTimeout, or Garbled when it is no module of this kind.
        """
        self._forget_connection()
        await self._link.connect()
        try:
            self._to_learn = await self._unit.identify()
        except ReplyTimeout as error:
            await self._link.close()
            raise ReplyTimeout(f"{error}; check its power, its address and the bit rate of the bus") from error
        except DeviceError:
            await self._link.close()
            raise
        for channel in self._channels:
            channel.connected(same=self._to_learn)
        release = self._unit.value("FirmwareRelease")
        log.info(
            "%s: %s, serial %s, firmware %s, %d channels, at %s",
            self.settings.name,
            self._unit.value("FirmwareName"),
            self._unit.value("SerialNumber"),
            ".".join(map(str, release)) if isinstance(release, tuple) else release,
            self._unit.channels,
            self._link,
        )

    async def close(self) -> None:
        """Leave the bus; safe to call at any time and more than once. Outputs stay as they are."""
        if self._learning is not None:
            self._learning.cancel()
            await asyncio.gather(self._learning, return_exceptions=True)
            self._learning = None
        await self._link.close()
        self._forget_connection()

    async def _learn(self) -> None:
        """Learn what the module can do beyond what it answered before, and have it read when that is more."""
        try:
            async for item in self._unit.learn():
                self._report([name for name, row in MODULE.items() if item in row.items])
        except DeviceError as error:
            log.debug("%s: %s", self.settings.name, error)  # the next scan finds out what it means

    def _forget_connection(self) -> None:
        super()._forget_connection()
        self._last_state_pending = False

    async def read(self, names: Collection[str]) -> Mapping[str, Reading]:
        """Read a batch of signals with the fewest frames that the firmware allows, several requests under way.

        A signal whose answer did not come is left out the first time and INVALID from the second in a row. Raises
        LinkDown or ReplyTimeout when the module is lost.
        """
        if not self._link.connected:
            if self._last_state_pending and set(names) == set(_BUS):
                # The state of a bus that is lost is read once more; the next batch reports the loss.
                self._last_state_pending = False
                self._report(_BUS)
                return self.readings(names)
            raise LinkDown(self._link.stats.last_error or f"{self._link}: not connected")
        wanted = self._wanted(names)
        await self._unit.read(wanted)
        if self._to_learn and self._learning is None:  # behind the first values, which cannot wait
            self._learning = asyncio.create_task(self._learn(), name=f"{self.settings.name} learn")
        now = self._clock.monotonic()
        of_module = {item.name for item in wanted.module if not self._unit.missed(item.name, None)}
        self._module.polled(of_module, now)
        for channel in self._channels[: self._unit.channels]:
            fresh = {
                item.name
                for item, channels in (wanted.channels or {}).items()
                if channel.number in channels and not self._unit.missed(item.name, channel.number)
            }
            channel.polled(fresh | (of_module & {MODULE_RAMP}), now)
        if switched := [f"{channel_prefix(one.number)}POL" for one in self._channels if one.polarity_changed()]:
            self._report(switched)
        return self.readings([*names, *self.moved()])

    def _wanted(self, names: Collection[str]) -> Wanted:
        """Collect the items behind signals; the values of one look belong together, the status last."""
        module: dict[str, None] = {}
        channels: dict[str, set[int]] = {}
        for name in names:
            channel, suffix = self.find(name)
            if channel is not None:
                for item in channel.items(suffix):
                    if item == MODULE_RAMP:
                        module[item] = None
                    else:
                        channels.setdefault(item, set()).add(channel.number)
            elif name in MODULE:
                module |= dict.fromkeys(self._module.items(name))
        if "ChannelStatus" in channels:
            module["ModuleStatus"] = None
        order = [*(item for item in channels if item not in LIVE), *(item for item in LIVE if item in channels)]
        return Wanted(
            tuple(BY_NAME[item] for item in module),
            {BY_NAME[name]: frozenset(channels[name]) for name in order},
        )

    def way(self, name: str, value: Value) -> Way:
        """Several writes at a time on the bus, one to each channel; off and emergency off do not wait."""
        off = name.endswith(".ON") and not value
        wire = self.settings.address or f"can {self.settings.options.get('can', '')}"
        return Way(wire, self._writer.place(name), off or (name.endswith(".EMCY.CMD") and bool(value)), ROOM)

    async def raw(
        self, item: str | int, index: int | None = None, value: Value | None = None
    ) -> Mapping[int | None, Value]:
        """Read any item by its name or DATA_ID, or set it; see devices.iseg.raw for what is refused."""
        return await self._raw.access(item, index, value)

    def raw_request(self, words: Sequence[str], value: str | None) -> RawRequest:
        """Understand a raw access in words; see devices.model.RawAccess."""
        return iseg_request(self.raw, self.way, words, value)

    def limits(self, name: str) -> Limits | None:
        """Return the tightest of nominal, hardware limit and site; None when there is none or it is not known."""
        if self._limits_of != self._unit.revision:
            self._limits_of, self._limits_found = self._unit.revision, {}
        if name not in self._limits_found:
            self._limits_found[name] = self._find_limits(name)
        return self._limits_found[name]

    def _find_limits(self, name: str) -> Limits | None:
        channel, suffix = self.find(name)
        setting = SETTINGS.get(suffix)
        if setting is None or setting.labels or not self._unit.channels:
            return None
        if channel is not None and channel.number >= self._unit.channels:
            return None
        return self._limits.limits(setting, channel.number if channel else 0)

    def portions(self, names: Sequence[str]) -> Sequence[Collection[str]]:
        """Divide signals by the items that have to be asked for them: one request brings an item of every channel."""
        found: dict[tuple[str, ...], list[str]] = {}
        for name in names:
            channel, suffix = self.find(name)
            items = channel.items(suffix) if channel else self._module.items(name) if name in MODULE else ()
            found.setdefault(items, []).append(name)
        return [found[items] for items in sorted(found, key=len)]

    def display_range(self, name: str) -> tuple[float, float] | None:
        """Return the range of a reading: nominal values of its channel, or what the module allows for a ramp."""
        channel, suffix = self.find(name)
        if channel is None or suffix.removesuffix(".RBV") in RAMPS:
            limits = self.limits(name.removesuffix(".RBV"))
            return None if limits is None else (0.0, limits.high)
        highest = self._limits.highest(CHANNEL[suffix].unit, channel.number)
        return (-highest if suffix == "VDIFF" else 0.0, highest) if highest else None

    def precision(self, name: str) -> int | None:
        """Return None: EDCP does not tell how many decimals make sense."""
        return None


def _make_link(settings: DeviceSettings, clock: DriverClock) -> ModuleLink:
    """Return the link that the settings describe. Raises ValueError when they do not."""
    module = int(settings.options.get("module", 0))
    if settings.address:
        interface, separator, channel = settings.address.partition(":")
        if not separator or interface not in BACKENDS:
            raise ValueError(f"found {settings.address!r}, allowed: none; can and module say where it is")
        options: Mapping[str, Any] = {"interface": interface, "channel": channel}
        return ModuleLink(settings.address, options, module, settings.timeout, clock)
    return ModuleLink(str(settings.options.get("can", "")), settings.bus, module, settings.timeout, clock)
