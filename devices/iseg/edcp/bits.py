"""Status, event, control and option words of EDCP modules, bit by bit.

Names are those of the manufacturer without ``is``, ``Event`` and ``set`` (CAN EDCP Programmers guide 2.4). The
32-bit words hold the 16-bit ones in their low half. Words with bits that no table names keep them: every value
decodes and turns back into itself.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag


class ChannelStatus(IntFlag):
    """ChannelStatus; bits 16 and up only in ChannelStatus32.

    CURRENT_CONTROL and VOLTAGE_CONTROL mean something only while the channel does not ramp.
    """

    REGULATION_ERROR = 1 << 1
    INPUT_ERROR = 1 << 2
    ON = 1 << 3
    RAMPING = 1 << 4
    EMERGENCY_OFF = 1 << 5
    CURRENT_CONTROL = 1 << 6
    VOLTAGE_CONTROL = 1 << 7
    LOW_RANGE = 1 << 8
    ARC_ERROR = 1 << 9
    CURRENT_BOUNDS = 1 << 10
    VOLTAGE_BOUNDS = 1 << 11
    INHIBIT = 1 << 12
    TRIP = 1 << 13
    CURRENT_LIMIT = 1 << 14
    VOLTAGE_LIMIT = 1 << 15
    CURRENT_RAMPING = 1 << 16
    CURRENT_RAMP_UP = 1 << 17
    CURRENT_RAMP_DOWN = 1 << 18
    VOLTAGE_RAMP_UP = 1 << 19
    VOLTAGE_RAMP_DOWN = 1 << 20
    VOLTAGE_BOUND_UPPER = 1 << 21
    VOLTAGE_BOUND_LOWER = 1 << 22
    POWER_CONTROL = 1 << 23


class ChannelControl(IntFlag):
    """ChannelControl; the other bits are reserved and written as 0."""

    ON = 1 << 3
    EMERGENCY_OFF = 1 << 5


class ChannelEvent(IntFlag):
    """ChannelEventStatus and ChannelEventMask: latched until 1 is written to the bit."""

    REGULATION_ERROR = 1 << 1
    INPUT_ERROR = 1 << 2
    ON_TO_OFF = 1 << 3
    END_OF_RAMP = 1 << 4
    EMERGENCY_OFF = 1 << 5
    CURRENT_CONTROL = 1 << 6
    VOLTAGE_CONTROL = 1 << 7
    ARC_ERROR = 1 << 9
    CURRENT_BOUNDS = 1 << 10
    VOLTAGE_BOUNDS = 1 << 11
    INHIBIT = 1 << 12
    TRIP = 1 << 13
    CURRENT_LIMIT = 1 << 14
    VOLTAGE_LIMIT = 1 << 15
    END_OF_CURRENT_RAMP = 1 << 16
    CURRENT_RAMP_UP = 1 << 17
    CURRENT_RAMP_DOWN = 1 << 18
    VOLTAGE_RAMP_UP = 1 << 19
    VOLTAGE_RAMP_DOWN = 1 << 20
    VOLTAGE_BOUND_UPPER = 1 << 21
    VOLTAGE_BOUND_LOWER = 1 << 22
    POWER_CONTROL = 1 << 23
    MAXIMUM_POWER = 1 << 24


BLOCKING_EVENTS = (
    ChannelEvent.VOLTAGE_LIMIT
    | ChannelEvent.CURRENT_LIMIT
    | ChannelEvent.TRIP
    | ChannelEvent.INHIBIT
    | ChannelEvent.EMERGENCY_OFF
)
"""Events that the guide's table calls blocking: the channel cannot be switched on before they are cleared."""

CLEARABLE_EVENTS = 0xFEFE
"""Every event of a channel that has a meaning in the 16-bit word."""


class ModuleStatus(IntFlag):
    """ModuleStatus; bits 16 and up only in ModuleStatus32. Inverted logic: ``GOOD`` and ``NO_`` bits are 1 when well.

    HARDWARE_LIMIT_GOOD is 0 on boards that do not measure it, HIGH_VOLTAGE_ON on those with six-digit serials.
    """

    FINE_ADJUSTMENT = 1 << 0
    LIVE_INSERTION = 1 << 2
    HIGH_VOLTAGE_ON = 1 << 3
    NEED_SERVICE = 1 << 4
    HARDWARE_LIMIT_GOOD = 1 << 5
    INPUT_ERROR = 1 << 6
    NO_SUM_ERROR = 1 << 8
    NO_RAMP = 1 << 9
    SAFETY_LOOP_GOOD = 1 << 10
    EVENT_ACTIVE = 1 << 11
    MODULE_GOOD = 1 << 12
    SUPPLY_GOOD = 1 << 13
    TEMPERATURE_GOOD = 1 << 14
    KILL_ENABLE = 1 << 15
    FAST_RAMP_DOWN = 1 << 16
    RAMP_SPEED_LIMITED = 1 << 21


class ModuleControl(IntFlag):
    """ModuleControl. A write replaces the whole word: read it, change one bit, write it back.

    CLEAR reads as 0.
    """

    MULTIPLEX = 1 << 4
    INTERLOCK = 1 << 5
    CLEAR = 1 << 6
    RELAY_1 = 1 << 7
    BIG_ENDIAN = 1 << 11
    FINE_ADJUSTMENT = 1 << 12
    RELAY_2 = 1 << 13
    KILL_ENABLE = 1 << 14
    NO_RAMP_SPEED_LIMIT = 1 << 16
    RELAY_3 = 1 << 17


KEPT_CONTROL = ModuleControl.BIG_ENDIAN | ModuleControl.FINE_ADJUSTMENT
"""What has to stay set in ModuleControl."""


class ModuleEvent(IntFlag):
    """ModuleEventStatus and ModuleEventMask."""

    LIVE_INSERTION = 1 << 2
    SERVICE = 1 << 4
    HARDWARE_LIMIT_NOT_GOOD = 1 << 5
    INPUT_ERROR = 1 << 6
    SAFETY_LOOP_NOT_GOOD = 1 << 10
    SUPPLY_NOT_GOOD = 1 << 13
    TEMPERATURE_NOT_GOOD = 1 << 14


class GeneralStatus(IntFlag):
    """First byte of the general status, in alarm frames and in announcements; 0x37 when well and idle."""

    NO_SUM_ERROR = 1 << 0
    NO_RAMP = 1 << 1
    SAFETY_LOOP_GOOD = 1 << 2
    NOT_STABLE = 1 << 3
    FINE_ADJUSTMENT = 1 << 4
    SUPPLY_TEMPERATURE_GOOD = 1 << 5
    KILL_ENABLE = 1 << 6
    SAVE = 1 << 7


class GeneralDetail(IntFlag):
    """Second byte of the general status."""

    TRIP = 1 << 0
    REGULATION_ERROR = 1 << 1
    CURRENT_LIMIT = 1 << 2
    VOLTAGE_LIMIT = 1 << 3
    TEMPERATURE = 1 << 6
    INHIBIT = 1 << 7


class ModuleOption(IntFlag):
    """ModuleOption; all ones mean that the word is not valid."""

    FAST_RAMP = 1 << 21
    RELAY = 1 << 22
    INHIBIT = 1 << 23
    VOLTAGE_LIMIT = 1 << 24
    CURRENT_LIMIT = 1 << 25
    TWO_BOARDS = 1 << 26
    EDCP = 1 << 31


class CrateStatus(IntFlag):
    """Status word of a crate controller: the bits that are known to the simulated one, of 28."""

    POWER_ON = 1 << 16
    ENABLED = 1 << 20


class Action(IntEnum):
    """DelayedTripAction and ExternalInhibitAction."""

    NONE = 0
    RAMP_DOWN = 1
    OFF = 2
    MODULE_OFF = 3
    FUNCTION_OFF = 4


def bit_names(word: IntFlag) -> tuple[str, ...]:
    """Return the names of the bits set, lowest first; those without a name as ``BIT0``."""
    known = {int(bit): str(bit.name) for bit in type(word)}
    bits = (1 << n for n in range(word.bit_length()) if word >> n & 1)
    return tuple(known.get(bit, f"BIT{bit.bit_length() - 1}") for bit in bits)
