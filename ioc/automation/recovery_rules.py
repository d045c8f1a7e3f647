"""When a channel that has tripped may be switched on again by the server, and how: the rules alone.

No I/O and no clock: each call is given what one scan shows, or what came of a put, with the monotonic time in seconds.
What comes back is the next put, if there is one to be made. In doubt it is none. This is no safety system.

After a trip that qualifies: WAIT; then, in RAMP, clear the unit, set a fraction of the voltage, switch on, let it
settle, wait, set the voltage as it was, let it settle; then IDLE again. HOLD: a fault or an operator has ended it, the
channel stays as it is. LOCKOUT: there must be, or may be, no further attempt. A person ends HOLD by acknowledging the
trip, and LOCKOUT by arming anew.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from devices.rules.hv_channel import State
from devices.rules.hv_trip import LOST_ABOVE
from ioc.site.recovery import RecoverySettings

HOUR: Final = 3600.0
LATCH_SECONDS: Final = 15.0
"""Seconds within which a trip is counted after its first sign, and within which a unit has to be cleared."""

TICK: Final = 1e-3
"""Seconds by which a reading has to be newer than a change to count as one after it: stamps are rounded."""

SETTING_VOLTS, SETTING_SHARE = 1.0, 0.002
"""V, share of the setting: a setting that reads back further away has been changed by another client."""

_NOT_READ: Final = "the protections have not been read in time"

_SAFE_STATES: Final = {State.INHIBITED, State.KILLED, State.FAULT}


class Phase(IntEnum):
    """The states of REC:STATE."""

    IDLE = 0
    WAIT = 1
    RAMP = 2
    HOLD = 3
    LOCKOUT = 4


class Step(IntEnum):
    """Where an attempt is: what is to be put next, or waited for."""

    CLEAR = 0
    LOW = 1
    SWITCH_ON = 2
    RISE = 3
    DWELL = 4
    END = 5


@dataclass(frozen=True, slots=True)
class Look:
    """What one scan shows of a channel. Nothing else counts unless ``known``: each reading is there and valid.

    ``demanded`` is the value of ON, ``trips`` that of TRIP:COUNT, ``reported`` whether the unit itself reports the
    trip, ``vset`` the setting in V as read back, ``settled_at`` the monotonic time of the reading of SETTLED.
    ``forbidden`` says which protection has acted, ``objection`` what else is against it; both are empty when all is
    well. ``guarded_at`` is the monotonic time of the oldest reading of a protection: some are read more seldom.
    """

    now: float
    known: bool
    state: int = State.UNKNOWN
    demanded: bool = False
    on: bool = False
    trips: int = 0
    reported: bool = False
    settled: bool = False
    settled_at: float = 0.0
    vset: float = 0.0
    forbidden: str = ""
    guarded_at: float = 0.0
    objection: str = ""


@dataclass(frozen=True, slots=True)
class Put:
    """A put to be made: the name of the PV in the channel, and the value."""

    suffix: str
    value: float | int


class RecoveryRules:
    """The rules for one channel; ``reason`` says in words how it came to its phase."""

    def __init__(self, settings: RecoverySettings) -> None:
        self.settings = settings
        self.tries = settings.tries
        self.armed = False
        self.phase = Phase.IDLE
        self.reason = "off since the server started"
        self.putting: Put | None = None
        """The put whose end is waited for."""
        self._used = 0  # attempts in a row
        self._begun: deque[float] = deque()  # times of the attempts of the last hour
        self._trips: int | None = None
        self._good: float | None = None  # voltage setting at which the channel has been seen in order
        self._good_since = 0.0
        self._setting: float | None = None  # VSET:RBV since ``_setting_since``, and no put of others after that
        self._setting_since = 0.0
        self._gone: float | None = None  # since when it is off without a known reason
        self._target = self._expected = 0.0  # setting to go back to; what VSET:RBV has to be now
        self._reported = False
        self._step = Step.CLEAR
        self._since = 0.0

    @property
    def active(self) -> bool:
        """Whether a recovery is under way."""
        return self.phase in (Phase.WAIT, Phase.RAMP)

    def left(self, now: float) -> int:
        """Return how many attempts there may still be."""
        while self._begun and now - self._begun[0] >= HOUR:
            self._begun.popleft()
        return max(0, min(self.tries - self._used, self.settings.per_hour - len(self._begun)))

    # ---- people

    def arm(self) -> None:
        """Let trips from now on be recovered from; leaves HOLD and LOCKOUT. Attempts of the last hour still count."""
        if not (self.armed and self.active):
            self._leave(Phase.IDLE, "armed")
            self.armed, self._used = True, 0

    def disarm(self) -> None:
        """Do nothing from now on."""
        self._leave(Phase.IDLE, "off")
        self.armed = False

    def allow(self, tries: int) -> None:
        """Set how many attempts in a row there may be; one that is beyond it now is ended."""
        self.tries = tries
        if self.active and self._used > tries:
            self._leave(Phase.LOCKOUT, f"{tries} attempts in a row (REC:TRIES)")

    def other_put(self, who: str) -> None:
        """Give way to a put to the channel that is not of this recovery."""
        if self.active:
            self._leave(Phase.HOLD, f"ended by a put of {who}")
        self._good = self._setting = None

    def acknowledged(self) -> None:
        """Leave HOLD: the trip has been acknowledged."""
        if self.phase is Phase.HOLD:
            self._leave(Phase.IDLE, "armed")

    # ---- puts

    def done(self, put: Put, now: float) -> None:
        """Go on after a put that has been applied and read back."""
        if put is self.putting:
            self.putting = None
            self._step, self._since = Step(self._step + 1), now

    def refused(self, put: Put, reason: str) -> None:
        """End the recovery after a put that was not applied, or of which that is not known."""
        if put is self.putting:
            self._leave(Phase.HOLD, f"{put.suffix} was refused: {reason}")

    # ---- scans

    def take(self, look: Look) -> Put | None:
        """Take what a scan shows; returns the next put, to be made at once."""
        tripped = look.known and self._trips is not None and look.trips > self._trips
        if look.known:
            self._trips = look.trips
        if not self.armed or not (self.active or self.phase is Phase.IDLE):
            self._good = None
        elif self.phase is Phase.IDLE:
            self._idle(look, tripped)
        elif (end := self._end(look)) is not None:
            self._leave(*end)
        elif tripped:
            self._tripped_again(look)
        elif self.phase is Phase.WAIT:
            self._wait(look)
        if self.phase is Phase.RAMP and self.putting is None:
            self.putting = self._next(look)
            return self.putting
        return None

    def _idle(self, look: Look, tripped: bool) -> None:
        if not look.known:
            self._good = None
        elif tripped:
            self._begin(look)
        else:
            self._remember(look)

    def _remember(self, look: Look) -> None:
        """Note at which setting the channel is on and settled: only from there a trip can be recovered from."""
        if self._setting is None or _differ(self._setting, look.vset):
            self._setting, self._setting_since = look.vset, look.now
        settled = look.settled and look.settled_at - self._setting_since > TICK  # and not at the setting before
        against = look.forbidden or look.objection
        in_order = look.demanded and look.on and settled and look.state == State.ON and not against
        if in_order and look.vset >= LOST_ABOVE:
            if self._good is None or _differ(self._good, look.vset):
                self._good_since = look.now
            self._good, self._gone = look.vset, None
            if look.now - self._good_since >= self.settings.calm:
                self._used = 0
        elif not look.demanded or against or (self._good is not None and _differ(self._good, look.vset)):
            self._good = None
        elif look.on:
            self._gone = None
        elif self._gone is None:
            self._gone = look.now
        elif look.now - self._gone > LATCH_SECONDS:
            self._good = None

    def _begin(self, look: Look) -> None:
        """Decide whether a trip qualifies."""
        volts, self._good, self._gone = self._good, None, None
        self._target = self._expected = volts or 0.0
        self._reported = look.reported
        if (end := self._end(look) or self._used_up(look.now)) is not None:
            self._leave(*end)
        elif volts is None:
            self._leave(Phase.HOLD, "it had not settled since the last put, connection, change or objection")
        else:
            self._leave(Phase.WAIT, f"tripped at {volts:g} V", look.now)

    def _tripped_again(self, look: Look) -> None:
        if self.phase is Phase.WAIT:
            self._leave(Phase.HOLD, "it has tripped while it was off")
            return
        self._reported = look.reported
        end = self._used_up(look.now)
        self._leave(*end or (Phase.WAIT, f"tripped again on the way to {self._target:g} V"), look.now)

    def _used_up(self, now: float) -> tuple[Phase, str] | None:
        if self.left(now):
            return None
        if self._used >= self.tries:
            return Phase.LOCKOUT, f"{self._used} attempts in a row (REC:TRIES)"
        return Phase.LOCKOUT, f"{len(self._begun)} attempts within an hour"

    def _end(self, look: Look) -> tuple[Phase, str] | None:
        """Return where a recovery ends for what this scan shows, None when it may go on."""
        if not look.known:
            return Phase.HOLD, "the device was lost, or a reading that counts is INVALID"
        if look.forbidden:
            return Phase.LOCKOUT, look.forbidden
        if look.state in _SAFE_STATES:
            return Phase.LOCKOUT, f"the channel is {State(look.state).name}"
        if not look.demanded:
            return Phase.HOLD, "ON is to be off"
        if look.objection:
            return Phase.HOLD, look.objection
        if self.putting is None and self.phase is not Phase.IDLE and _differ(self._expected, look.vset):
            return (
                Phase.HOLD,
                f"the setting is {look.vset:g} V, not {self._expected:g} V: it has been changed meanwhile",
            )
        return None

    def _wait(self, look: Look) -> None:
        self._reported, due = self._reported or look.reported, self._since + self.settings.wait
        if look.on:
            self._leave(Phase.HOLD, "it has been switched on meanwhile")
        elif look.now < due:
            return
        elif look.guarded_at - due <= TICK:  # one that has acted for a moment is in the unit's memory until the clear
            self._late(look.now - due, self.settings.timeout, _NOT_READ)
        elif not self._reported:
            self._leave(Phase.HOLD, "the unit itself reports no trip: its output has gone for another reason")
        elif (end := self._used_up(look.now)) is not None:
            self._leave(*end)
        else:
            self._used += 1
            self._begun.append(look.now)
            self._step = Step.CLEAR
            self._leave(Phase.RAMP, f"attempt {self._used} of {self.tries} to go back to {self._target:g} V", look.now)

    def _next(self, look: Look) -> Put | None:
        """Return the next put of an attempt; None while something is waited for."""
        lasted = look.now - self._since
        if self._step is Step.CLEAR:
            return Put("CLR:CMD", 1)
        if self._step <= Step.SWITCH_ON:
            return self._while_off(look, lasted)
        if not look.on:
            self._late(lasted, LATCH_SECONDS, "it is off, and no trip is known")
            return None
        arrived = look.settled and look.settled_at - self._since > TICK
        if self._step is Step.RISE and arrived:
            self._step, self._since = Step.DWELL, look.now
        elif self._step is Step.DWELL and lasted >= self.settings.dwell and look.settled:
            self._expected = self._target
            return Put("VSET", self._target)
        elif self._step is Step.END and arrived:
            self._good, self._good_since, self._setting = self._target, look.now, look.vset
            self.phase, self.reason = Phase.IDLE, f"armed; back at {self._target:g} V"
        else:
            more = self.settings.dwell if self._step is Step.DWELL else 0.0
            self._late(lasted, self.settings.timeout + more, "the voltage has not settled in time")
        return None

    def _while_off(self, look: Look, lasted: float) -> Put | None:
        """Return the puts before the output is on, once the unit is cleared."""
        if look.on:
            self._leave(Phase.HOLD, "it has been switched on meanwhile")
        elif look.state >= State.TRIPPED:
            self._late(lasted, LATCH_SECONDS, "the unit still reports the trip after it was cleared")
        elif self._step is Step.LOW:
            self._expected = round(self._target * self.settings.fraction, 3)
            return Put("VSET", self._expected)
        elif look.guarded_at - self._since > TICK:
            return Put("ON", 1)
        else:
            self._late(lasted, self.settings.timeout, _NOT_READ)
        return None

    def _late(self, lasted: float, most: float, reason: str) -> None:
        if lasted > most:
            self._leave(Phase.HOLD, reason)

    def _leave(self, phase: Phase, reason: str, now: float | None = None) -> None:
        """Go to another phase; a put that is under way is no longer waited for."""
        self.phase, self.reason, self.putting, self._good = phase, reason, None, None
        if now is not None:
            self._since = now


def _differ(one: float, other: float) -> bool:
    """Whether two voltage settings are not the same."""
    return abs(one - other) > max(SETTING_VOLTS, SETTING_SHARE * abs(one))
