"""``labioc simulate iseg-edcp`` as a process: reached over an slcan adapter and over UDP multicast."""

import time

import can
import pytest

from devices.iseg.edcp.items import BY_NAME
from devices.iseg.edcp.protocol import (
    Data,
    decode,
    read,
    registration,
)
from devices.links.can_frame import Frame
from tests.conftest import unavailable
from tests.ioc.commands.test_commands_serving import ask, command
from tests.machines import needs_multicast


def exchange(bus, sent, address):
    """Register, ask, and return the value that comes back."""
    for frame in (registration(address, True), sent):
        bus.send(can.Message(arbitration_id=frame.id, data=frame.data, is_extended_id=False))
    end = time.monotonic() + 3.0
    while time.monotonic() < end:
        if (message := bus.recv(0.1)) is not None:
            answer = decode(Frame(message.arbitration_id, bytes(message.data)))
            if isinstance(answer, Data):
                return answer.value
    return None


def test_GIVEN_two_modules_behind_an_adapter_WHEN_another_process_asks_THEN_both_answer():
    with command("simulate", "iseg-edcp", "--module", "3", "--module", "7:E08F2:8", "--bitrate", "250") as simulator:
        channel = simulator.wait_for('channel = "(.*)"')[1]
        simulator.wait_for("Ctrl-C ends it")
        with can.Bus(interface="slcan", channel=channel, bitrate=250000, sleep_after_open=0) as bus:
            assert exchange(bus, read(3, BY_NAME["ChannelNumber"]), 3) == 16
            assert exchange(bus, read(7, BY_NAME["ChannelNumber"]), 7) == 8
        port = int(simulator.wait_for(r"telnet 127\.0\.0\.1 (\d+)")[1])
        assert ask(port, "trip any 0") == "ok"
        assert "CH00 0.0 V 0.000 uA status 2000" in ask(port, "show 3")


def test_GIVEN_udp_multicast_WHEN_another_process_asks_THEN_the_module_answers():
    needs_multicast()
    pytest.importorskip("msgpack")
    with command("simulate", "iseg-edcp", "--interface", "udp_multicast", "--channel", "239.74.163.7") as simulator:
        simulator.wait_for("Ctrl-C ends it")
        try:
            bus = can.Bus(interface="udp_multicast", channel="239.74.163.7", hop_limit=0)
        except (can.CanError, OSError) as error:
            unavailable(f"udp_multicast: {error}")
        with bus:
            assert exchange(bus, read(0, BY_NAME["SerialNumber"]), 0) == 7900000


def test_GIVEN_an_interface_that_is_none_WHEN_started_THEN_status_1_and_a_sentence():
    with command("simulate", "iseg-edcp", "--interface", "carrier_pigeon") as simulator:
        assert simulator.process.wait(20.0) == 1
        simulator.close()
        assert "carrier_pigeon" in simulator.errors[0]
        assert "Traceback" not in simulator.errors[0]


@pytest.mark.parametrize("text", ["64", "x", "1:NONE", "1:E16C1:0", "1:E16C1:49", "1:E16C1:8:2", ""])
def test_GIVEN_no_module_WHEN_described_THEN_wrong_usage(text, capsys):
    from ioc.cli import main

    with pytest.raises(SystemExit) as end:
        main(["simulate", "iseg-edcp", "--module", text])
    assert end.value.code == 2
    assert "is not an address" in capsys.readouterr().err
