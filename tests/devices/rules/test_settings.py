"""A setting from the demand to what became of it, over a device in memory."""

from __future__ import annotations

import pytest

from devices.errors import Garbled, LinkDown, OutOfLimits, Refused, ReplyTimeout, TakenOtherwise
from devices.model import Cause, Level
from devices.permit import Permit
from devices.rules.settings import Asked, Demand, apply, moved

ASKED = Asked("VSET", 4000.0, "V", 0.1, device="module", place="CH03.")


class Module:
    """A device with one setting; ``clip`` is the most that it takes, ``lost`` what gets lost on the way."""

    def __init__(self, value: float = 1000.0, clip: float = 5000.0, acknowledges: bool | None = True) -> None:
        self.value, self.clip, self.acknowledges = value, clip, acknowledges
        self.sent: list[float] = []
        self.ignores = False
        self.trouble: dict[str, Exception] = {}
        self.demand = Demand()
        self.demand.observe(value, 0.1)

    async def look(self) -> float:
        if "look" in self.trouble:
            raise self.trouble["look"]
        return self.value

    async def read_back(self) -> float:
        if "read back" in self.trouble:
            raise self.trouble["read back"]
        return self.value

    async def send(self) -> bool | None:
        if "send" in self.trouble:
            raise self.trouble["send"]
        self.sent.append(ASKED.value)
        if not self.ignores:
            self.value = min(ASKED.value, self.clip)
        return self.acknowledges

    async def set(self) -> float:
        return await apply(ASKED, self.demand, self.look, self.send, self.read_back)


@pytest.mark.parametrize("acknowledges", [True, False, None])
async def test_what_is_read_back_as_asked_is_confirmed(acknowledges: bool | None) -> None:
    module = Module(acknowledges=acknowledges)
    assert await module.set() == 4000.0
    reading = module.demand.reading(1.0)
    assert (reading.value, reading.level) == (4000.0, Level.OK)
    assert module.sent == [4000.0]


async def test_a_module_that_clips_fails_the_put_and_shows_what_it_took_until_it_is_set_again() -> None:
    module = Module(clip=3000.0)
    with pytest.raises(TakenOtherwise, match=r"^VSET: the module took 3000 V instead of 4000 V$"):
        await module.set()
    assert module.sent == [4000.0]
    assert moved({"VSET": module.demand}, "CH03.") == ["CH03.VSET"]
    reading = module.demand.reading(1.0)
    assert (reading.value, reading.level, reading.cause) == (3000.0, Level.MINOR, Cause.STATE)
    assert moved({"VSET": module.demand}) == []
    module.demand.link_lost()
    assert module.demand.observe(3000.0, 0.1) == ()
    assert (module.demand.lasting, module.demand.reading(2.0).level) == (True, Level.MINOR)
    module.clip = 5000.0
    await module.set()
    assert (module.demand.lasting, module.demand.reading(3.0).level) == (False, Level.OK)


@pytest.mark.parametrize(
    ("acknowledges", "words"),
    [(True, "answered OK but reads back"), (False, "gave no answer and reads back"), (None, "reads back")],
)
async def test_a_device_that_keeps_what_it_had_refuses(acknowledges: bool | None, words: str) -> None:
    module = Module(acknowledges=acknowledges)
    module.ignores = True
    with pytest.raises(Refused, match=rf"^VSET 4000 V: the module {words} 1000 V$"):
        await module.set()
    assert module.demand.reading(1.0) == module.demand.reading(1.0)
    assert (module.demand.value, module.demand.lasting, module.demand.moved) == (1000.0, False, False)


@pytest.mark.parametrize("trouble", [OutOfLimits("VSET 4000 V is above 3000 V"), LinkDown("cable out"), Garbled("?")])
async def test_what_cannot_be_looked_at_or_is_outside_its_limits_is_never_sent(trouble: Exception) -> None:
    module = Module()
    module.trouble["look"] = trouble
    with pytest.raises((OutOfLimits, LinkDown), match=r"above 3000 V|nothing was sent"):
        await module.set()
    assert module.sent == []
    assert module.demand.observe(4000.0, 0.1) == ()  # nothing to come true


@pytest.mark.parametrize(
    ("place", "trouble"),
    [
        ("send", ReplyTimeout("VSET: outcome unknown, cable out")),
        ("read back", LinkDown("cable out")),
        ("read back", Refused("busy")),
    ],
)
async def test_an_unknown_outcome_that_comes_true_is_taken_over_with_an_alarm(place: str, trouble: Exception) -> None:
    module = Module()
    module.trouble[place] = trouble
    with pytest.raises(ReplyTimeout, match="outcome unknown"):
        await module.set()
    assert module.demand.reading(1.0).value == 1000.0
    module.demand.link_lost()
    assert module.demand.observe(1000.0, 0.1) == ()
    (message,) = module.demand.observe(4000.0, 0.1)
    assert message == "CH03:VSET 4000 V, whose outcome was unknown, has come true"
    assert module.demand.moved
    reading = module.demand.reading(2.0)
    assert (reading.value, reading.level) == (4000.0, Level.MINOR)
    assert module.demand.observe(4000.0, 0.1) == ()


async def test_an_unknown_outcome_that_becomes_something_else_is_taken_over_too() -> None:
    module = Module()
    module.trouble["read back"] = LinkDown("cable out")
    with pytest.raises(ReplyTimeout):
        await module.set()
    (message,) = module.demand.observe(3000.0, 0.1)
    assert message.endswith("whose outcome was unknown, is now 3000 V")
    assert module.demand.value == 3000.0


async def test_a_doubt_ends_with_the_next_put_that_succeeds() -> None:
    module = Module()
    module.trouble["read back"] = LinkDown("cable out")
    with pytest.raises(ReplyTimeout):
        await module.set()
    module.trouble.clear()
    await module.set()
    assert module.demand.observe(3000.0, 0.1) == ()
    assert module.demand.value == 4000.0


async def test_a_write_that_was_overtaken_leaves_the_demand_alone() -> None:
    module, permit = Module(clip=20.0), Permit()
    permit.begin()
    permit.end("SAFE overtook it")

    async def overtaken() -> None:
        permit.use()
        with pytest.raises(Refused, match="reads back 20 V"):
            await module.set()

    await overtaken()
    assert (module.demand.value, module.demand.otherwise) == (1000.0, False)
