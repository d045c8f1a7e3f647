"""The simulated CAEN supply on a socket and on a pseudo terminal: faults, back door, a client by somebody else."""

import asyncio
from contextlib import suppress

import hvps
import pytest

from devices.caen.protocol import Profile
from devices.caen.simulator.command import SWITCHES, BackDoor
from devices.caen.simulator.model import CaenModel
from devices.caen.simulator.server import SimulatedSupply, simulated_supply
from devices.errors import DeviceError, Garbled, LinkDown, ReplyTimeout
from devices.links.line import open_link
from tests.fair_time import until

ASK = b"$CMD:MON,CH:0,PAR:VSET\r\n"
ANSWER = "#CMD:OK,VAL:0042.5;"


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def supply(clock):
    model = CaenModel()
    model.channels[0].vset = 42.5
    async with simulated_supply(model, clock=clock) as supply:
        yield supply


@pytest.fixture
async def link(supply):
    link = open_link(supply.address, 0.3)
    await link.connect()
    yield link
    await link.close()


async def test_GIVEN_a_ramp_WHEN_the_clock_moves_THEN_the_unit_does(supply, link, clock):
    await link.exchange(b"$CMD:SET,CH:0,PAR:ON\r\n")
    clock.now += 0.5
    assert await link.exchange(b"$CMD:MON,CH:0,PAR:VMON\r\n") == "#CMD:OK,VAL:0025.0;"
    clock.now += 10.0
    await until(lambda: supply.model.channels[0].volts == 42.5)  # also when nothing is asked


async def test_GIVEN_requests_WHEN_served_THEN_every_one_of_them_is_remembered(supply, link):
    await link.exchange(ASK)
    await link.exchange(b"$CMD:SET,CH:0,PAR:OFF\r\n")
    assert list(supply.received) == [b"$CMD:MON,CH:0,PAR:VSET", b"$CMD:SET,CH:0,PAR:OFF"]


@pytest.mark.parametrize("fault", ["split", "echo", "telnet"])
async def test_GIVEN_a_fault_that_must_not_matter_WHEN_asked_THEN_the_answer_is_right(supply, link, fault):
    setattr(supply.faults, fault, True)
    await link.connect()
    for _ in range(5):
        assert await link.exchange(ASK) == ANSWER
    assert link.stats.errors == 0


@pytest.mark.parametrize(
    ("fault", "value", "error"),
    [
        ("silent", True, ReplyTimeout),
        ("delay", 0.6, ReplyTimeout),
        ("drop_every", 1, ReplyTimeout),
        ("garbage", True, Garbled),
        ("duplicate", True, Garbled),
        ("reset_mid_reply", True, LinkDown),
        ("mangle", lambda answer: answer[:-5], ReplyTimeout),
    ],
)
async def test_GIVEN_a_fault_WHEN_asked_THEN_it_is_an_error_and_all_is_well_afterwards(
    supply, link, fault, value, error
):
    normal = getattr(supply.faults, fault)
    setattr(supply.faults, fault, value)
    for _ in range(3):
        if not link.connected:
            await link.connect()
        with pytest.raises(error):
            await link.exchange(ASK)
    setattr(supply.faults, fault, normal)
    if not link.connected:
        await link.connect()
    assert await link.exchange(ASK) == ANSWER


async def test_GIVEN_merged_answers_WHEN_asked_THEN_none_of_them_is_taken(supply, link):
    supply.faults.merge = True
    answers = []
    for n in range(6):
        supply.model.channels[0].vset = float(n)
        with suppress(DeviceError):
            answers.append((n, await link.exchange(ASK)))
    assert answers == []


async def test_GIVEN_silent_sets_WHEN_set_THEN_it_happens_without_an_answer(supply, link):
    supply.faults.mute_sets = True
    with pytest.raises(ReplyTimeout):
        await link.exchange(b"$CMD:SET,CH:0,PAR:VSET,VAL:7\r\n")
    assert await link.exchange(ASK) == "#CMD:OK,VAL:0007.0;"


async def test_GIVEN_the_cable_pulled_WHEN_plugged_in_again_THEN_the_same_address_works(supply, link):
    await supply.refuse_connections()
    with pytest.raises(LinkDown):
        await link.exchange(ASK)
    with pytest.raises(LinkDown):
        await link.connect()
    await supply.accept_connections()
    await link.connect()
    assert await link.exchange(ASK) == ANSWER


async def test_GIVEN_clients_WHEN_dropped_THEN_new_ones_are_welcome(supply, link):
    await link.exchange(ASK)
    await supply.drop_connections()
    with pytest.raises(LinkDown):
        await link.exchange(ASK)
    await link.connect()
    assert await link.exchange(ASK) == ANSWER
    assert supply.connections == 2


async def test_GIVEN_a_port_in_use_WHEN_started_THEN_it_says_so(supply):
    with pytest.raises(OSError, match="address already in use"):
        await SimulatedSupply(CaenModel(), port=supply.port).start()


async def test_GIVEN_a_serial_line_WHEN_used_by_our_link_THEN_it_answers_until_unplugged(supply):
    link = open_link(f"serial://{await supply.plug_in_serial()}", 0.3)
    await link.connect()
    supply.faults.split = True
    for _ in range(3):
        assert await link.exchange(ASK) == ANSWER
    supply.faults.split, supply.faults.garbage = False, True
    with pytest.raises(Garbled):
        await link.exchange(ASK)
    supply.faults.garbage = False
    assert await link.exchange(ASK) == ANSWER
    await supply.unplug_serial()
    with pytest.raises(LinkDown):
        await link.exchange(ASK)
    await link.close()


# ---- back door


@pytest.fixture
async def door(supply):
    door = BackDoor(supply)
    await door.start()
    yield door
    await door.stop()


async def test_GIVEN_the_back_door_WHEN_spoken_to_THEN_each_line_has_one_answer(door, supply):
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    writer.write(b"load 0 0.5\nnonsense\n\ntrip 0\nhelp\nshow\n")
    answers = [(await reader.readline()).decode() for _ in range(6)]
    writer.close()
    await writer.wait_closed()
    assert answers[0] == "ok\n"
    assert answers[1].startswith("error: no command 'nonsense'")
    assert answers[2].startswith("error")
    assert answers[3] == "ok\n"
    assert "load CHANNEL MOHM" in answers[4]
    assert "CH0 0.0 V 0.00 uA STAT 00128; CH1" in answers[5]
    assert supply.model.channels[0].load == 0.5


@pytest.mark.parametrize(
    "line",
    [
        *("load 4 1", "load 0", "load 0 -1", "load 0 nan", "load x 1", "trip -1", "kill 0 maybe", "interlock yes"),
        *(
            "drop x",
            "delay -1",
            "delay nan",
            "force 0 65536",
            "corrupt 0 x",
            "polarity 0 x",
            "silent",
            "",
            "load 0 1 2",
        ),
    ],
)
async def test_GIVEN_a_bad_command_WHEN_given_THEN_the_answer_says_what_is_wrong(door, line):
    answer = await door.execute(line)
    assert answer.startswith("error: ")
    assert "\n" not in answer


async def test_GIVEN_every_command_of_help_WHEN_given_THEN_it_works(door, supply, link):
    model, faults = supply.model, supply.faults
    for line, effect in {
        "load 1 inf": lambda: model.channels[1].load == float("inf"),
        "kill 1 on": lambda: model.channels[1].killed,
        "collapse 1 on": lambda: model.channels[1].collapsed,
        "drift 1 -20": lambda: model.channels[1].error_volts == -20,
        "force 1 512": lambda: model.channels[1].status & 512,
        "corrupt 1 683": lambda: b"00683" in model.respond(b"$CMD:MON,CH:1,PAR:STAT"),
        "polarity 1 -": lambda: model.channels[1].polarity == "-",
        "interlock on": lambda: model.channels[3].interlocked,
        "local on": lambda: model.local,
        "groups off": lambda: model.refuse_groups,
        "unknown POL on": lambda: "POL" in model.unknown,
        "unknown POL off": lambda: not model.unknown,
        "delay 0.01": lambda: faults.delay == 0.01,
        "drop 3": lambda: faults.drop_every == 3,
        "trip 2": lambda: model.channels[2].tripped,
        "power": lambda: not model.channels[2].tripped,
        "listen off": lambda: supply._server is None,
        "listen on": lambda: supply._server is not None,
        "disconnect": lambda: not supply._sessions,
        **{f"{name} on": lambda name=name: getattr(faults, name) for name in SWITCHES},
        **{f"{name} off": lambda name=name: not getattr(faults, name) for name in SWITCHES},
    }.items():
        assert await door.execute(line) == "ok", line
        assert effect(), line


# ---- a client that we did not write


@pytest.fixture
async def caen(clock):
    model = CaenModel(Profile.B)
    async with simulated_supply(model, clock=clock) as supply:
        client = await asyncio.to_thread(hvps.Caen, port=await supply.plug_in_serial(), baudrate=9600, timeout=2.0)
        yield client, model
        client.disconnect()


async def test_GIVEN_hvps_from_PyPI_WHEN_it_reads_the_unit_THEN_it_understands_everything(caen):
    client, model = caen

    def read_everything():
        module = client.module(0)
        channel = module.channel(1)
        return (
            module.name,
            module.number_of_channels,
            module.firmware_release,
            module.serial_number,
            module.interlock_status,
            module.interlock_mode,
            module.control_mode,
            module.local_bus_termination_status,
            module.board_alarm_status["CH1"],
            (channel.vset, channel.vmin, channel.vmax, channel.vdec, channel.vmon),
            (channel.iset, channel.imin, channel.imax, channel.isdec, channel.imon, channel.imrange, channel.imdec),
            (channel.maxv, channel.mvmin, channel.mvmax, channel.mvdec),
            (channel.rup, channel.rupmin, channel.rupmax, channel.rupdec),
            (channel.rdw, channel.rdwmin, channel.rdwmax, channel.rdwdec),
            (channel.trip, channel.tripmin, channel.tripmax, channel.tripdec),
            (channel.pdwn, channel.pol),
        )

    model.trip(1)
    assert await asyncio.to_thread(read_everything) == (
        *("NDT1470", 4, "01.0", "00123", False, "CLOSED", "REMOTE", "ON", True),
        (0.0, 0.0, 4000.0, 1, 0.0),
        (100.0, 0.0, 3000.0, 2, 0.0, "HIGH", 2),
        (4100.0, 0.0, 4100.0, 0),
        (50.0, 1.0, 500.0, 0),
        (50.0, 1.0, 500.0, 0),
        (10.0, 0.0, 1000.0, 1),
        ("KILL", "+"),
    )


async def test_GIVEN_hvps_from_PyPI_WHEN_it_sets_a_channel_THEN_the_unit_follows(caen, clock):
    client, model = caen

    def set_everything():
        channel = client.module(0).channel(2)
        channel.vset = 500.0
        channel.iset = 200.5
        channel.maxv = 1000
        channel.rup = 100
        channel.rdw = 25
        channel.trip = 2.5
        channel.pdwn = "RAMP"
        channel.imrange = "LOW"
        channel.turn_on()

    def look():
        channel = client.module(0).channel(2)
        return channel.vmon, channel.imon, channel.on, channel.stat["RUP"], channel.voltage_target_reached

    await asyncio.to_thread(set_everything)
    clock.now += 2.0
    assert await asyncio.to_thread(look) == (200.0, 20.0, True, True, True)
    clock.now += 10.0
    assert await asyncio.to_thread(look) == (500.0, 50.0, True, False, True)
    channel = model.channels[2]
    assert (channel.iset, channel.maxv, channel.rdw, channel.trip) == (200.5, 1000.0, 25.0, 2.5)
    assert (channel.pdwn, channel.imrange) == ("RAMP", "LOW")
    model.trip(2)
    await asyncio.to_thread(client.module(0).clear_alarm_signal)
    assert not channel.tripped
    await asyncio.to_thread(client.module(0).channel(2).turn_off)
    assert not channel.on
