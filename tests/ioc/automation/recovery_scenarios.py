"""What may happen to a channel under recovery: scenarios of chance, and how one is played."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Iterator

from devices.caen.protocol import ChannelStatus
from devices.errors import LinkDown, ReplyTimeout
from ioc.automation.recovery import ARMED
from tests.ioc.automation.recovery_rig import Judge, Rig


def _load(megohm: float) -> Callable[[Rig], None]:
    def act(rig: Rig) -> None:
        rig.model.channels[0].load = megohm

    return act


def _input(name: str, on: bool) -> Callable[[Rig], None]:
    def act(rig: Rig) -> None:
        setattr(rig.model.channels[0], name, on)

    return act


def _hot(on: bool) -> Callable[[Rig], None]:
    def act(rig: Rig) -> None:
        rig.model.channels[0].forced = int(ChannelStatus.OVT) if on else 0
        if on:
            rig.model.channels[0].switch_off(fast=True)

    return act


def _panel(action: str) -> Callable[[Rig], None]:
    def act(rig: Rig) -> None:
        channel = rig.model.channels[0]
        if action == "clear":
            channel.tripped = False
        elif action == "vset":
            channel.vset = 321.0
        elif action == "on":
            channel.switch_on()
        else:
            channel.switch_off()

    return act


def _link(up: bool) -> Callable[[Rig], None]:
    def act(rig: Rig) -> None:
        rig.link.reachable = up
        if not up:
            rig.link.connected = False

    return act


def _line(delay: float) -> Callable[[Rig], None]:
    def act(rig: Rig) -> None:
        rig.link.delay = delay

    return act


def _garbled(rig: Rig) -> None:
    rig.model.corrupt_status(0, 1 << 15)


def _objection(text: str) -> Callable[[Rig], None]:
    def act(rig: Rig) -> None:
        rig.objection = text

    return act


def _person(suffix: str, *values: float) -> Callable[[Rig], None]:
    def act(rig: Rig) -> None:
        rig.ask(suffix, values[int(rig.clock.now * 7) % len(values)])

    return act


def _lost_answer(par: str, executed: bool, down: bool) -> Callable[[Rig], None]:
    """The next write of this kind is not answered, after or before the unit has obeyed; the link may be down by it."""

    def act(rig: Rig) -> None:
        def trouble(request: str) -> Exception | None:
            if f"CMD:SET,CH:0,PAR:{par}" not in request:
                return None
            rig.trouble = lambda request: None
            if executed:
                rig.model.respond(request.encode())
            return LinkDown("model: gone") if down else ReplyTimeout("model: no answer")

        rig.trouble = trouble

    return act


def _spark(rig: Rig) -> None:
    rig.model.trip(0)


def _raw(rig: Rig) -> None:
    task = asyncio.create_task(rig.raw(["OFF", "0"], ""), name="expert")
    rig._people.add(task)
    task.add_done_callback(rig._people.discard)


EVENTS: dict[str, tuple[int, Callable[[Rig], None]]] = {
    "spark": (30, _spark),
    "short": (4, _load(0.0)),
    "load is back": (6, _load(10.0)),
    "kill": (2, _input("killed", on=True)),
    "kill released": (4, _input("killed", on=False)),
    "interlock": (2, _input("interlocked", on=True)),
    "interlock closed": (4, _input("interlocked", on=False)),
    "too hot": (2, _hot(on=True)),
    "cool again": (4, _hot(on=False)),
    "panel off": (2, _panel("off")),
    "panel on": (1, _panel("on")),
    "panel vset": (1, _panel("vset")),
    "panel clear": (1, _panel("clear")),
    "link lost": (2, _link(up=False)),
    "link back": (6, _link(up=True)),
    "objection": (2, _objection("group X is held")),
    "no objection": (4, _objection("")),
    "OFF": (2, _person("ON", 0)),
    "ON": (8, _person("ON", 1)),
    "VSET": (3, _person("VSET", 300.0, 500.0, 501.0, 0.0)),
    "CLR": (4, _person("CLR:CMD", 1)),
    "ACK": (6, _person("TRIP:ACK:CMD", 1)),
    "MODE OFF": (1, _person("REC:MODE", 0)),
    "ARM": (8, _person("REC:MODE", ARMED)),
    "TRIES": (2, _person("REC:TRIES", 1, 2, 3)),
    "server disarmed": (1, _person("IOC:ARMED", 0)),
    "server armed": (4, _person("IOC:ARMED", 1)),
    "raw OFF": (1, _raw),
    "slow line": (3, _line(0.15)),
    "fast line": (3, _line(0.0)),
    "garbled": (1, _garbled),
    "ISET": (1, _person("ISET", 50.0)),
    "DISABLE": (1, _person("DISABLE", 1)),
    "enabled": (3, _person("DISABLE", 0)),
    "ON unanswered": (1, _lost_answer("ON", executed=True, down=False)),
    "ON lost": (1, _lost_answer("ON", executed=False, down=True)),
    "VSET unanswered": (1, _lost_answer("VSET", executed=True, down=False)),
}
"""What may happen, each with how often compared to the others."""


def events(seed: int) -> Iterator[tuple[float, str]]:
    """Yield what happens in a scenario, each with the seconds before it. Half begin with a trip and patience."""
    chance = random.Random(seed)
    names, weights = list(EVENTS), [weight for weight, _ in EVENTS.values()]
    if chance.random() < 0.5:
        yield chance.uniform(0.2, 3.0), "spark"
        yield chance.uniform(0.2, 40.0), "ARM" if chance.random() < 0.2 else "no objection"
    for _ in range(chance.randint(2, 9)):
        yield (
            chance.choice((0.1, 0.7, 2.3, 6.0, 11.0, 17.0)) * chance.uniform(0.5, 1.5),
            chance.choices(names, weights)[0],
        )
    yield 30.0, "no objection"


async def play(scenario: Iterable[tuple[float, str]]) -> Judge:
    """Play one scenario; raises AssertionError with its story. Returns the judge with its account."""
    rig = Rig()
    async with rig.running():
        for seconds, name in scenario:
            await rig.wait(seconds)
            rig.story.append(f"{rig.clock.now:9.2f} {name} ({rig.phase}: {rig['REC:MSG'].val})")
            EVENTS[name][1](rig)
        await rig.wait(30.0)
    broken = [f"{entry.pv}: {entry.reason}" for entry in rig.journal.entries if "internal error" in entry.reason]
    assert not broken, "\n".join([*broken, *rig.story])
    return rig.judge
