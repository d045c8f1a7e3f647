"""What the link under the CAEN protocol is made of: its buffer of lines, the addresses it takes."""

import pytest

from devices.links.line import LineBuffer, open_link, parse_address
from devices.links.transport import SerialAddress, TcpAddress


def test_a_buffer_gives_lines_whatever_their_ends_and_segments():
    buffer = LineBuffer()
    assert buffer.feed(b"a\r\nb\nc\rd") == ["a", "b", "c"]
    assert buffer.rest == "d"
    assert buffer.feed(b"\r") == ["d"]
    assert buffer.feed(b"\n\r\n \r\n") == []
    assert buffer.rest == ""


@pytest.mark.parametrize("cut", range(12))
def test_telnet_negotiation_may_come_in_pieces(cut):
    data = b"\xff\xfb\x01\xff\xfa\x18\x01\xff\xf0\xff\xfd\x03#OK"
    buffer = LineBuffer()
    assert buffer.feed(data[:cut]) == []
    assert buffer.rest == ""
    assert buffer.feed(data[cut:] + b"\r\n") == ["#OK"]


def test_telnet_bytes_inside_a_line_stay_noise():
    assert LineBuffer().feed(b"#CMD:OK,VAL:1\xff\xfb20.0;\r\n") == ["#CMD:OK,VAL:1\ufffd\ufffd20.0;"]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("tcp://192.168.197.102:23", TcpAddress("192.168.197.102", 23)),
        ("tcp://hv1.lab:1470", TcpAddress("hv1.lab", 1470)),
        ("tcp://[::1]:23", TcpAddress("::1", 23)),
        ("serial:///dev/ttyACM0", SerialAddress("/dev/ttyACM0", 9600)),
        ("serial:///dev/ttyUSB0?baudrate=115200&xonxoff=1", SerialAddress("/dev/ttyUSB0", 115200, True)),
    ],
)
def test_an_address_is_read(address, expected):
    assert parse_address(address) == expected


@pytest.mark.parametrize(
    "address",
    [
        *("", "tcp://host", "tcp://:23", "tcp://host:0", "tcp://host:99999", "tcp://host:23/x", "udp://host:23"),
        *("serial://", "serial:///dev/ttyS0?baudrate=fast", "serial:///dev/ttyS0?parity=N", "/dev/ttyS0"),
        *("serial:///dev/ttyS0?baudrate=-1", "serial:///dev/ttyS0?xonxoff=yes", "tcp://host:23?x=1", "tcp://[:23"),
        "tcp://a..b:23",
    ],
)
def test_a_bad_address_is_refused_with_what_is_allowed(address):
    with pytest.raises(ValueError, match=r"allowed is tcp://HOST:PORT or serial://") as error:
        open_link(address, 1.0)
    assert repr(address) in str(error.value)
