"""A simulated iseg module: a board with channels that takes frames and gives frames; no bus, no clock.

``step(dt)`` advances the physics and returns what the module sends by itself, ``receive(frame)`` what it answers.
Source: iseg CAN EDCP Programmers guide 2.4. What the guide leaves open is chosen here and marked: a refused read
is silence and sets the input error of the module; blocking events are those of the guide's table.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from devices.iseg.edcp.bits import (
    BLOCKING_EVENTS,
    ChannelControl,
    ChannelEvent,
    ChannelStatus,
    GeneralDetail,
    GeneralStatus,
    ModuleControl,
    ModuleEvent,
    ModuleOption,
    ModuleStatus,
)
from devices.iseg.edcp.protocol import BASE, announcement, general
from devices.iseg.question import Many
from devices.iseg.simulator.channel import Channel, Rules
from devices.links.can_frame import Frame
from devices.model import Value

SUBSTEP = 0.02
"""Seconds; how exactly a long step is followed."""

ANNOUNCE_EVERY = 1.0
LAPSE_AFTER = 60.0
"""Seconds without access after which a registration is forgotten (guide)."""

REFRESH = 0.01
"""Seconds per channel between two measurements (guide)."""

FASTEST, FASTEST_KILL = 20.0, 1.0
"""Limits of the ramp speed in %/s of nominal without and with kill mode (guide)."""

_ERRORS = int(
    ChannelStatus.VOLTAGE_LIMIT
    | ChannelStatus.CURRENT_LIMIT
    | ChannelStatus.TRIP
    | ChannelStatus.INHIBIT
    | ChannelStatus.CURRENT_BOUNDS
    | ChannelStatus.VOLTAGE_BOUNDS
)
"""What spoils NO_SUM_ERROR when any channel has it."""

_UNMASKABLE = int(ChannelEvent.EMERGENCY_OFF)
_BLOCKING_MODULE_EVENTS = ModuleEvent.SAFETY_LOOP_NOT_GOOD | ModuleEvent.TEMPERATURE_NOT_GOOD


@dataclass(frozen=True, slots=True)
class Firmware:
    """What a type of module is and can do.

    ``many`` is how far it understands requests for many channels, ``count_bytes`` the length of its channel number, 0
    when it does not tell. ``ranges``: two current ranges, and the item that tells which. ``switched``: the polarity of
    each channel is chosen by software, while it is off.
    """

    name: str
    release: tuple[int, int, int, int]
    device_class: int
    article: str
    volts: float
    amps: float
    options: ModuleOption = (
        ModuleOption.EDCP | ModuleOption.CURRENT_LIMIT | ModuleOption.VOLTAGE_LIMIT | ModuleOption.INHIBIT
    )
    many: Many = Many.ALL
    words32: bool = True
    groups: bool = True
    channel_ramps: bool = False
    count_bytes: int = 4
    ranges: bool = False
    switched: bool = False


E16C1 = Firmware("E16C1", (5, 1, 0, 0), 70, "EHS E16C1", 6000.0, 1e-3)
"""A board of 16 channels that does everything the guide says."""

E08F2 = Firmware("E08F2", (4, 40, 0, 0), 26, "EHS E08F2", -6000.0, 1e-3, ranges=True)
"""A negative board of 8 channels with two current ranges and signed set points."""

F460N = Firmware(
    "E16D0", (3, 14, 0, 0), 21, "EHS F460n-F", -6000.0, 1e-3,
    many=Many.SINGLE, words32=False, groups=False, count_bytes=1,
)  # fmt: skip
"""Like an EHS F460n of old firmware: single reads only, ramps of channels do nothing, one byte for the channels."""

OLD_MASK = Firmware(
    "E08C0", (4, 2, 0, 0), 24, "EHS 8060p", 6000.0, 1e-3, many=Many.MASK, words32=False, groups=False, count_bytes=0
)
"""Explicit member masks only, and no answer to the question for the number of channels."""

FLEX = Firmware("E16F3", (6, 2, 0, 0), 27, "EHS FLEX", 3000.0, 3e-3, channel_ramps=True, ranges=True)
"""A newer board with a ramp for each channel."""

NHR = Firmware("H101C0", (7, 1, 0, 0), 41, "NHR 4260r", 6000.0, 1e-3, switched=True)
"""A board whose channels switch their polarity by software."""

TYPES = {"E16C1": E16C1, "E08F2": E08F2, "F460n": F460N, "E08C0": OLD_MASK, "FLEX": FLEX, "NHR": NHR}
"""Types by the name that a command line takes."""


class SimulatedIsegModule:
    """One board; a misspelt attribute raises at once.

    Attributes that a test or a back door may set: ``safety_loop``, ``supply24`` and ``supply5`` (V),
    ``temperature`` (degC), ``volts_max`` and ``amps_max`` (front potentiometers, %), ``service`` (hardware
    failure), ``noise_volts`` and ``noise_amps`` (standard deviation of the readings), ``dcp`` (speaks only the older
    protocol), ``unknown`` (DATA_IDs that this module ignores). Settings are kept until ``power_cycle``. ``prepared`` is
    for how many seconds more services that reset or store are accepted, ``idle`` since its last frame.
    """

    __slots__ = (
        "_active", "_announce", "_random", "_refresh", "address", "amps_max", "base", "bit_rate",
        "channel_events", "channel_mask", "channels", "control", "dcp", "events", "firmware", "groups", "idle",
        "input_error", "mask", "measured", "noise_amps", "noise_volts", "prepared", "ramp_speed", "registered",
        "safety_loop", "serial", "service", "stored", "supply5", "supply24", "temperature", "temperatures", "unknown",
        "volts_max",
    )  # fmt: skip

    def __init__(
        self,
        address: int,
        firmware: Firmware = E16C1,
        *,
        channels: int = 16,
        serial: int = 7900016,
        bit_rate: int = 125,
        loads: Sequence[float] = (1000.0,),
        base: int = BASE,
        seed: int = 1,
    ) -> None:
        self.address, self.firmware, self.serial, self.base, self.bit_rate = address, firmware, serial, base, bit_rate
        self.channels = tuple(
            Channel(abs(firmware.volts), firmware.amps, loads[min(n, len(loads) - 1)]) for n in range(channels)
        )
        self.safety_loop, self.service, self.dcp = True, False, False
        self.supply24, self.supply5, self.temperature, self.temperatures = 24.1, 5.02, 31.5, (0.0, -0.2, 0.0)
        self.volts_max = self.amps_max = 100.0
        self.noise_volts = self.noise_amps = 0.0
        self.unknown: set[int] = set()
        self._random = random.Random(seed)
        self.power_cycle()

    def power_cycle(self) -> None:
        """Lose the supply and get it back: outputs off, settings forgotten, registration gone."""
        for channel in self.channels:
            channel.power_cycle()
        self.control = ModuleControl.BIG_ENDIAN | ModuleControl.FINE_ADJUSTMENT
        self.ramp_speed = 10.0
        self.events, self.mask = ModuleEvent(0), ModuleEvent(0)
        self.channel_events = self.channel_mask = 0
        self.groups: dict[int, tuple[int, int]] = {}
        self.stored: dict[str, Value] = {
            "AdcSamplesPerSecond": 500,
            "DigitalFilter": 64,
            "CurrentRampSpeed": 50.0,
            "ThresholdArmErrorDetection": 0.0,
            "ModuleEventGroupStatus": 0,
            "ModuleEventGroupMask": 0,
            "ModuleCommMode": 0,
        }
        self.input_error = self._active = False
        self.measured = [(0.0, 0.0)] * len(self.channels)
        self.reset_can()

    def reset_can(self) -> None:
        """Forget the registration and announce again, outputs as they are."""
        self._refresh = self.prepared = 0.0
        self.register(False)

    def register(self, on: bool) -> None:
        """Obey a host that registers or releases the module."""
        self.registered, self.idle, self._announce = on, 0.0, 0.0

    @property
    def kill(self) -> bool:
        """Kill mode."""
        return ModuleControl.KILL_ENABLE in self.control

    def sign(self, channel: Channel) -> float:
        """Sign of set points and measured volts of a channel on the wire."""
        if self.firmware.switched:
            return float(channel.polarity)
        return -1.0 if self.firmware.volts < 0 else 1.0

    @property
    def speed(self) -> float:
        """Ramp speed in force, %/s of nominal: kill mode allows only a slow one unless configured otherwise."""
        limited = self.kill and ModuleControl.NO_RAMP_SPEED_LIMIT not in self.control
        return min(self.ramp_speed, FASTEST_KILL) if limited else self.ramp_speed

    def rules(self) -> Rules:
        """Return what counts for every channel now."""
        volts = abs(self.firmware.volts)
        return Rules(
            self.kill,
            volts * self.speed / 100,
            volts * self.volts_max / 100,
            self.firmware.amps * self.amps_max / 100,
        )

    def step(self, dt: float) -> list[Frame]:
        """Advance by dt seconds, in steps of at most 20 ms; return active frames and announcements."""
        frames: list[Frame] = []
        steps = math.ceil(dt / SUBSTEP)
        for _ in range(steps):
            self._advance(dt / steps)
            frames += self.notice()
        self.prepared = max(0.0, self.prepared - dt)
        if self.registered:
            self.idle += dt
            if self.idle > LAPSE_AFTER:
                self.reset_can()
        else:
            self._announce -= dt
            if self._announce <= 0:
                self._announce = ANNOUNCE_EVERY
                # 0, 2, 6 and 7 are the classes of the older protocol
                device_class = 7 if self.dcp else self.firmware.device_class
                frames.append(announcement(self.address, self.general()[0], device_class, base=self.base))
        return frames

    def _advance(self, dt: float) -> None:
        rules = self.rules()
        for channel in self.channels:
            if not channel.quiet and channel.step(dt, rules):
                self.all_off()
        self._refresh += dt
        if self._refresh >= REFRESH * len(self.channels):
            self._refresh = 0.0
            self.measure()

    def measure(self) -> None:
        """Renew the measured values, as the board does every few channels' time."""
        noise = self._random.gauss
        self.measured = [
            (channel.volts + noise(0.0, self.noise_volts), channel.amps + noise(0.0, self.noise_amps))
            for channel in self.channels
        ]

    def all_off(self) -> None:
        """Switch every channel off without a ramp."""
        for channel in self.channels:
            channel.shut_off()

    def notice(self) -> list[Frame]:
        """Latch what is the case now; return the active frame when an event has become active by it."""
        self._latch_module()
        self.channel_events |= self._with_events()
        active = self.event_active
        rising, self._active = active and not self._active, active
        return [general(self.address, *self.general(), active=True)] if rising else []

    def _with_events(self) -> int:
        return members(bool(channel.events & (channel.mask | _UNMASKABLE)) for channel in self.channels)

    def forget_channel_events(self) -> None:
        """Drop the marks of channels that have no unmasked event any more."""
        self.channel_events &= self._with_events()
        self._active = self.event_active

    def _latch_module(self) -> None:
        causes = {
            ModuleEvent.SERVICE: self.service,
            ModuleEvent.INPUT_ERROR: self.input_error,
            ModuleEvent.SAFETY_LOOP_NOT_GOOD: not self.safety_loop,
            ModuleEvent.SUPPLY_NOT_GOOD: not self._supply_good,
            ModuleEvent.TEMPERATURE_NOT_GOOD: not self._temperature_good,
        }
        self.events |= ModuleEvent(_word(causes))
        if not (self.safety_loop and self._temperature_good):
            self.all_off()

    @property
    def _supply_good(self) -> bool:
        return abs(self.supply24 - 24.0) <= 2.4 and abs(self.supply5 - 5.0) <= 0.25

    @property
    def _temperature_good(self) -> bool:
        return self.temperature <= 55.0

    @property
    def event_active(self) -> bool:
        """Whether any event that its masks let through is pending."""
        return bool(self.channel_events & self.channel_mask or self.events & self.mask)

    def set_control(self, word: int, width: int) -> None:
        """Obey a module control word; ``width`` is the mask of the bits that it has."""
        self.control = ModuleControl(int(self.control) & ~width | word & ~int(ModuleControl.CLEAR))
        if word & ModuleControl.CLEAR:
            for channel in self.channels:
                channel.clear(0xFFFFFFFF)
            self.events, self.input_error = ModuleEvent(0), False
            self._latch_module()
            self.forget_channel_events()
        if word & ModuleControl.INTERLOCK:
            self.all_off()
            for channel in self.channels:
                channel.events |= int(ChannelEvent.INHIBIT)

    def command(self, channel: Channel, word: int) -> None:
        """Obey a channel control word; a switch-on that an event blocks is ignored."""
        emergency = bool(word & ChannelControl.EMERGENCY_OFF)
        channel.emergency = emergency
        if emergency:
            channel.shut_off()
        elif not word & ChannelControl.ON:
            channel.on = False
        elif not (channel.events & BLOCKING_EVENTS or self.events & _BLOCKING_MODULE_EVENTS):
            channel.on = True
        channel.latch()

    def trip(self, number: int) -> None:
        """Make a channel trip now."""
        self.channels[number].trip()

    def status(self) -> ModuleStatus:
        """Return the 32-bit module status."""
        no_error = not any(channel.status() & _ERRORS for channel in self.channels)
        conditions = {
            ModuleStatus.FINE_ADJUSTMENT: ModuleControl.FINE_ADJUSTMENT in self.control,
            ModuleStatus.HIGH_VOLTAGE_ON: any(channel.on or channel.volts > 0 for channel in self.channels),
            ModuleStatus.NEED_SERVICE: self.service,
            ModuleStatus.INPUT_ERROR: self.input_error,
            ModuleStatus.NO_SUM_ERROR: no_error,
            ModuleStatus.NO_RAMP: not any(channel.ramping for channel in self.channels),
            ModuleStatus.SAFETY_LOOP_GOOD: self.safety_loop,
            ModuleStatus.EVENT_ACTIVE: self.event_active,
            ModuleStatus.MODULE_GOOD: no_error and self._supply_good and self._temperature_good and self.safety_loop,
            ModuleStatus.SUPPLY_GOOD: self._supply_good,
            ModuleStatus.TEMPERATURE_GOOD: self._temperature_good,
            ModuleStatus.KILL_ENABLE: self.kill,
            ModuleStatus.RAMP_SPEED_LIMITED: self.speed < self.ramp_speed,
        }
        return ModuleStatus(_word(conditions))

    def general(self) -> tuple[GeneralStatus, GeneralDetail]:
        """Return both bytes of the general status."""
        module, channels = self.status(), 0
        for channel in self.channels:
            channels |= channel.status()
        flags = {general: module & whole == whole for general, whole in _GENERAL.items()}
        flags[GeneralStatus.NOT_STABLE] = ModuleStatus.NO_RAMP not in module
        details = {detail: bool(channels & bit) for detail, bit in _DETAILS.items()}
        details[GeneralDetail.TEMPERATURE] = not self._temperature_good
        return GeneralStatus(_word(flags)), GeneralDetail(_word(details))


_GENERAL = {
    GeneralStatus.NO_SUM_ERROR: ModuleStatus.NO_SUM_ERROR,
    GeneralStatus.NO_RAMP: ModuleStatus.NO_RAMP,
    GeneralStatus.SAFETY_LOOP_GOOD: ModuleStatus.SAFETY_LOOP_GOOD,
    GeneralStatus.FINE_ADJUSTMENT: ModuleStatus.FINE_ADJUSTMENT,
    GeneralStatus.SUPPLY_TEMPERATURE_GOOD: ModuleStatus.SUPPLY_GOOD | ModuleStatus.TEMPERATURE_GOOD,
    GeneralStatus.KILL_ENABLE: ModuleStatus.KILL_ENABLE,
}
_DETAILS = {
    GeneralDetail.TRIP: ChannelStatus.TRIP,
    GeneralDetail.REGULATION_ERROR: ChannelStatus.REGULATION_ERROR,
    GeneralDetail.CURRENT_LIMIT: ChannelStatus.CURRENT_LIMIT,
    GeneralDetail.VOLTAGE_LIMIT: ChannelStatus.VOLTAGE_LIMIT,
    GeneralDetail.INHIBIT: ChannelStatus.INHIBIT,
}


def members(flags: Iterable[bool]) -> int:
    """Return a word with a bit for each channel, in their order."""
    return sum(1 << n for n, flag in enumerate(flags) if flag)


def _word(bits: Mapping[Any, bool]) -> int:
    return sum(int(bit) for bit, is_set in bits.items() if is_set)
