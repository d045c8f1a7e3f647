"""The link of a Modbus unit on a line with faults: refusals, spoilt answers, echoes."""

import asyncio
import os
import time
from contextlib import asynccontextmanager

import pytest

from devices.errors import DeviceError, Garbled, LinkDown, ReplyTimeout
from devices.eurotherm.simulator.model import EurothermModel
from devices.eurotherm.simulator.server import SimulatedFurnaces, simulated_furnaces
from devices.links.modbus import ModbusUnit, open_unit
from devices.links.modbus_frames import ModbusRefusal, float_from, twin_of, words_from_seconds
from devices.links.modbus_serial import ModbusAddress, SerialWire, parse_modbus_address, stable_name
from tests.conftest import rounds
from tests.fair_time import FairClock, until

TIMEOUT = 0.15


@asynccontextmanager
async def connected(furnaces: SimulatedFurnaces, unit: int = 1, timeout: float = TIMEOUT):
    link = open_unit(furnaces.address, unit, timeout)
    await link.connect()
    try:
        yield link
    finally:
        await link.close()


@pytest.fixture
async def furnaces(_task_check):
    async with simulated_furnaces({1: EurothermModel(), 2: EurothermModel()}) as line:
        for number, slave in line.slaves.items():
            slave.model.held = 100.5 * number
            slave.model.memory["SP1"] = 250.0 * number
            slave.model.settle()
        yield line


@pytest.fixture
async def link(furnaces):
    async with connected(furnaces) as unit:
        yield unit


async def floats(link: ModbusUnit, address: int, count: int) -> tuple[float, ...]:
    words = await link.read_registers(twin_of(address), 2 * count)
    return tuple(float_from(*words[at : at + 2]) for at in range(0, 2 * count, 2))


async def test_values_of_every_kind(link: ModbusUnit):
    assert await link.read_registers(1, 2) == (1005, 2500)
    assert await floats(link, 1, 2) == (100.5, 250.0)
    assert await link.read_registers(twin_of(8), 4) == (*words_from_seconds(300.0), *words_from_seconds(10.0))
    await link.write_register(24, 2600)
    await link.write_float(13, 99.25)
    await link.write_seconds(324, 90.0)
    assert await floats(link, 24, 1) == (260.0,)
    assert await floats(link, 13, 1) == (99.25,)
    assert await link.read_registers(twin_of(324), 2) == words_from_seconds(90.0)
    assert link.stats.errors == 0


async def test_a_refusal_is_reported_at_once_and_is_no_error_of_the_link(furnaces):
    furnaces.slaves[1].longest = 32
    async with connected(furnaces, timeout=5.0) as link:
        begun = time.monotonic()
        with pytest.raises(ModbusRefusal, match="not writable") as refusal:
            await link.write_register(10, 1)
        assert refusal.value.code == 2
        with pytest.raises(ModbusRefusal, match="too many"):
            await link.read_registers(1, 33)
        assert time.monotonic() - begun < 5.0
        assert link.stats.errors == 0


async def test_values_that_cannot_be_sent_are_refused_without_a_byte(furnaces, link: ModbusUnit):
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="not"):
            await link.write_float(24, value)
    assert not furnaces.received


@pytest.mark.parametrize("fault", ["crc", "lost"])
async def test_one_spoilt_answer_in_twenty_is_counted_and_not_seen(furnaces, link: ModbusUnit, fault):
    setattr(furnaces.faults, fault, 5.0)
    for _ in range(rounds(100)):
        assert (await link.read_registers(1, 5))[0] == 1005
    assert link.stats.errors > 0


@pytest.mark.parametrize("fault", ["echo", "noise"])
async def test_echo_and_stray_bytes_are_tolerated(furnaces, link: ModbusUnit, fault):
    setattr(furnaces.faults, fault, True)
    for _ in range(10):
        assert (await link.read_registers(1, 5))[0] == 1005
    await link.write_register(24, 2600)
    await link.write_float(13, 99.25)
    assert await link.read_registers(24, 1) == (2600,)
    assert link.stats.errors == 0


async def test_the_echo_of_a_write_is_not_its_confirmation(furnaces, link: ModbusUnit):
    furnaces.faults.echo = True
    furnaces.faults.mute_writes = True
    with pytest.raises(ReplyTimeout, match="write of 2600 to 24"):
        await link.write_register(24, 2600)


@pytest.mark.parametrize("fault", ["wrong_unit", "wrong_function", "wrong_count", "truncated"])
async def test_answers_of_others_are_not_taken(furnaces, link: ModbusUnit, fault):
    setattr(furnaces.faults, fault, True)
    with pytest.raises((ReplyTimeout, Garbled)):
        await link.read_registers(1, 5)
    setattr(furnaces.faults, fault, False)
    assert (await link.read_registers(1, 5))[0] == 1005


@pytest.mark.parametrize("code", [1, 2, 3, 4, 8])
async def test_exceptions_are_reported_with_their_code(furnaces, link: ModbusUnit, code):
    await link.read_registers(1, 1)
    furnaces.faults.exception = code
    with pytest.raises(ModbusRefusal) as refusal:
        await link.read_registers(1, 5)
    assert refusal.value.code == code
    furnaces.faults.exception = 0
    assert (await link.read_registers(1, 5))[0] == 1005


async def test_a_busy_instrument_is_asked_again_for_a_read_only(furnaces, link: ModbusUnit):
    await link.read_registers(1, 1)
    furnaces.faults.exception = 6
    read = asyncio.create_task(link.read_registers(1, 1))
    async with asyncio.timeout(2.0):
        while len(furnaces.received) < 5:  # noqa: ASYNC110 - the simulator has no such event
            await asyncio.sleep(0.01)
    furnaces.faults.exception = 0
    assert await read == (1005,)
    furnaces.faults.exception = 6
    before = len(furnaces.received)
    with pytest.raises(ModbusRefusal, match="busy"):
        await link.write_registers(24, (2600,))
    assert len(furnaces.received) == before + 1


async def test_a_write_is_never_repeated(furnaces, link: ModbusUnit):
    furnaces.faults.mute_writes = True
    for write in (link.write_register(24, 2600), link.write_registers(24, (2700,)), link.write_float(24, 280.0)):
        with pytest.raises(ReplyTimeout):
            await write
    assert len([frame for frame in furnaces.received if frame[1] in (6, 16)]) == 3


async def test_a_write_to_a_silent_instrument_is_not_sent(furnaces, link: ModbusUnit):
    furnaces.faults.silent = True
    with pytest.raises(ReplyTimeout):
        await link.read_registers(1, 1)
    with pytest.raises(LinkDown, match="not sent"):
        await link.write_register(24, 2600)
    assert all(frame[1] == 3 for frame in furnaces.received)


async def test_a_silent_instrument_is_reported_within_three_timeouts_and_then_at_once(furnaces, link: ModbusUnit):
    furnaces.faults.silent = True
    clock = FairClock()
    with pytest.raises(ReplyTimeout, match="no reply within"):
        await link.read_registers(1, 5)
    first = clock()
    with pytest.raises(ReplyTimeout):
        await link.read_registers(1, 5)
    assert first < 4 * (TIMEOUT + 0.1)
    assert clock() - first < 2 * (TIMEOUT + 0.1)
    furnaces.faults.silent = False
    assert (await link.read_registers(1, 5))[0] == 1005


async def test_a_late_answer_is_never_that_to_the_next_question(furnaces, link: ModbusUnit):
    for _ in range(3):
        furnaces.faults.delay = 1.5 * TIMEOUT
        with pytest.raises((ReplyTimeout, Garbled)):
            await link.read_registers(24, 1)
        furnaces.faults.delay = 0.0
        assert await link.read_registers(1, 1) == (1005,)
        assert await link.read_registers(24, 1) == (2500,)


async def test_units_on_one_port_do_not_disturb_each_other(furnaces):
    async with connected(furnaces) as first, connected(furnaces, 2) as second, connected(furnaces, 3) as absent:

        async def ask(unit: ModbusUnit, expected: int) -> None:
            for _ in range(20):
                assert (await unit.read_registers(1, 1))[0] == expected

        async def miss() -> None:
            with pytest.raises(ReplyTimeout):
                await absent.read_registers(1, 1)

        await asyncio.gather(ask(first, 1005), ask(second, 2010), miss())
        await absent.close()
        assert first.connected
        assert first.stats.errors == second.stats.errors == 0
        assert absent.stats.errors > 0


async def test_cancelling_leaves_the_line_in_step(furnaces, link: ModbusUnit):
    furnaces.faults.delay = 0.02
    for n in range(20):
        waiting = [asyncio.create_task(link.read_registers(address, 1)) for address in (1, 24, 25)]
        await asyncio.sleep(0.002 * (n % 10))
        for task in waiting[: n % 3 + 1]:
            task.cancel()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        for result, expected in zip(results, (1005, 2500, 0), strict=True):
            assert isinstance(result, asyncio.CancelledError) or result == (expected,)
    assert link.stats.errors == 0


async def test_a_port_that_vanishes_is_found_again_by_its_name(furnaces, link: ModbusUnit):
    number = os.readlink(furnaces.device)
    await furnaces.unplug()
    with pytest.raises(LinkDown, match="lost"):
        await link.read_registers(1, 1)
    assert not link.connected
    with pytest.raises(LinkDown, match="not connected"):
        await link.read_registers(1, 1)
    with pytest.raises(LinkDown, match="cannot open"):
        await link.connect()
    occupied = os.openpty()  # so that the port comes back under another number
    try:
        await furnaces.plug_in()
        assert os.readlink(furnaces.device) != number
        await link.connect()
        assert await link.read_registers(1, 1) == (1005,)
    finally:
        for descriptor in occupied:
            os.close(descriptor)


async def test_a_port_that_moved_while_it_was_open_is_opened_anew(furnaces, link: ModbusUnit):
    async with connected(furnaces, 2) as other:
        orphan = os.openpty()
        os.unlink(furnaces.device)
        os.symlink(os.ttyname(orphan[1]), furnaces.device)
        try:
            await link.connect()  # another unit still has the old port open
            assert not other.connected
            with pytest.raises(ReplyTimeout):
                await link.read_registers(1, 1)
        finally:
            for descriptor in orphan:
                os.close(descriptor)
        await furnaces.plug_in()
        await link.connect()
        await other.connect()
        assert await link.read_registers(1, 1) == (1005,)
        assert await other.read_registers(1, 1) == (2010,)


async def test_nothing_is_left_after_a_thousand_cycles(furnaces):
    async with connected(furnaces) as link:
        await link.read_registers(1, 1)
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(1000):
        async with connected(furnaces) as link:
            pass
    await furnaces.unplug()
    for _ in range(100):
        with pytest.raises(LinkDown):
            await link.connect()
    assert len(set(os.listdir("/proc/self/fd")) - before) == 0


async def test_two_programs_cannot_share_a_port(furnaces, link: ModbusUnit):
    wire = SerialWire(parse_modbus_address(furnaces.address))
    with pytest.raises(OSError, match="lock"):
        wire.open()


async def test_frames_that_an_instrument_sends_by_itself_do_no_harm(furnaces, link: ModbusUnit):
    setpoint = bytes.fromhex("00 06 00 18 09 C4 0F DF")
    for n in range(30):
        furnaces.send(setpoint[: 8 - n % 3] * 3)
        assert await link.read_registers(1, 1) == (1005,)


async def test_closing_is_safe_at_any_time(furnaces, link: ModbusUnit):
    furnaces.faults.delay = 0.05
    read = asyncio.create_task(link.read_registers(1, 1))
    await until(lambda: bool(furnaces.received), what="the request at the instrument")
    await link.close()
    await link.close()
    with pytest.raises(DeviceError):
        await link.read_registers(1, 1)
    assert await read == (1005,)  # it was under way
    await link.connect()
    assert await link.read_registers(1, 1) == (1005,)


@pytest.mark.parametrize(
    ("address", "meaning"),
    [
        ("serial:///dev/ttyUSB0", ModbusAddress("/dev/ttyUSB0")),
        ("serial:///dev/serial/by-id/usb-x?baudrate=19200", ModbusAddress("/dev/serial/by-id/usb-x", 19200)),
        ("serial:///dev/ttyS0?parity=even&baudrate=1200", ModbusAddress("/dev/ttyS0", 1200, "even")),
    ],
)
def test_addresses(address, meaning):
    assert parse_modbus_address(address) == meaning


@pytest.mark.parametrize(
    "address",
    ["", "/dev/ttyUSB0", "tcp://host:502", "serial://", "serial:///", "serial:///dev/x?baudrate=38400",
     "serial:///dev/x?baudrate=fast", "serial:///dev/x?parity=mark", "serial:///dev/x?bits=7", "serial://host/dev/x",
     "serial:///dev/x?baudrate"],
)  # fmt: skip
def test_wrong_addresses_are_refused_with_what_is_allowed(address):
    with pytest.raises(ValueError, match="allowed is"):
        parse_modbus_address(address)


def test_wrong_units_and_disagreeing_settings_are_refused():
    with pytest.raises(ValueError, match="1 to 254"):
        open_unit("serial:///dev/ttyX9", 255, 1.0)
    kept = open_unit("serial:///dev/ttyX9", 1, 1.0)
    with pytest.raises(ValueError, match="another unit"):
        open_unit("serial:///dev/ttyX9?baudrate=19200", 2, 1.0)
    assert not kept.connected


def test_an_adapter_is_known_by_its_stable_name(tmp_path):
    device = tmp_path / "ttyUSB0"
    device.touch()
    names = tmp_path / "serial"
    assert stable_name(str(device), names) == str(device)
    for folder in ("by-path", "by-id"):
        (names / folder).mkdir(parents=True)
        (names / folder / "adapter").symlink_to(device)
    assert stable_name(str(device), names) == str(names / "by-id" / "adapter")
    link = tmp_path / "furnace"
    link.symlink_to(device)
    assert stable_name(str(link), names) == str(link)


async def test_another_adapter_under_the_old_number_is_not_taken(furnaces, tmp_path):
    names = tmp_path / "serial"
    (names / "by-id").mkdir(parents=True)
    device = os.readlink(furnaces.device)
    (names / "by-id" / "furnace").symlink_to(device)
    wire = SerialWire(ModbusAddress(device), names)
    wire.open()
    assert wire.is_current()
    wire.close()
    (names / "by-id" / "furnace").unlink()
    with pytest.raises(OSError, match="No such file"):
        wire.open()


async def test_a_port_that_cannot_be_closed_without_an_error_is_closed_all_the_same(furnaces):
    wire = SerialWire(ModbusAddress(str(furnaces.device)))
    wire.open()
    os.close(wire._port.fd)  # as when the kernel has lost something that was still to be sent
    wire.close()
    assert not wire.is_current()
    wire.open()
    assert wire.is_current()
    wire.close()
