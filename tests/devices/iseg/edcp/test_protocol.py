"""EDCP without a bus: identifiers, items, words, and what is done with frames that make no sense."""

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.errors import Garbled, OutOfLimits, Refused
from devices.iseg.edcp.bits import (
    BLOCKING_EVENTS,
    ChannelControl,
    ChannelEvent,
    ChannelStatus,
    CrateStatus,
    GeneralDetail,
    GeneralStatus,
    ModuleControl,
    ModuleEvent,
    ModuleOption,
    ModuleStatus,
    bit_names,
)
from devices.iseg.edcp.items import BY_NAME, ITEMS, Index, Scope, Type, item_of, pack, unpack
from devices.iseg.edcp.protocol import (
    CRATE,
    Announcement,
    Broadcast,
    Data,
    Foreign,
    General,
    Key,
    Registration,
    Request,
    Service,
    Unexplained,
    announcement,
    answer,
    broadcast,
    broadcast_setting,
    decode,
    join_text,
    read,
    read_channels,
    registration,
    write,
)
from devices.links.can_frame import Frame

WORDS_16 = (ChannelStatus, ChannelControl, ChannelEvent, ModuleStatus, ModuleControl, ModuleEvent)
WORDS_32 = (*WORDS_16, ModuleOption, CrateStatus)

# Printed by the manufacturer, or sent by programs that people use.
KNOWN = (
    ("601", "D8002E", Announcement(CRATE, GeneralStatus(0), 0x2E, 0x200)),
    ("600", "D801", Registration(CRATE, True)),
    ("601", "1A00", Request(CRATE, 0x1A00, BY_NAME["CrateStatus"], None)),
    ("604", "1A0000000000", Data(CRATE, 0x1A00, BY_NAME["CrateStatus"], None, 0)),
    ("600", "1A0000110000", Data(CRATE, 0x1A00, BY_NAME["CrateStatus"], None, 0x110000)),
    ("604", "1A0440A00000", Data(CRATE, 0x1A04, BY_NAME["FanSpeed"], None, 5.0)),
    ("600", "1A0501", Data(CRATE, 0x1A05, BY_NAME["CratePower"], None, 1)),
    ("600", "1A0500", Data(CRATE, 0x1A05, BY_NAME["CratePower"], None, 0)),
    ("180", "C05701", General(48, GeneralStatus(0x57), GeneralDetail.TRIP, active=True)),
    ("190", "C03700", General(50, GeneralStatus(0x37), GeneralDetail(0), active=True)),
    ("190", "C01740", General(50, GeneralStatus(0x17), GeneralDetail.TEMPERATURE, active=True)),
    ("004", "E80060010020", Broadcast(Service.SET_CHANNELS, bytes.fromhex("0060010020"))),
    ("201", "400100", Request(0, 0x4001, BY_NAME["ChannelControl"], 0)),
    ("200", "4001000008", Data(0, 0x4001, BY_NAME["ChannelControl"], 0, 8)),
    ("209", "6102FFFF00", Request(1, 0x6102, BY_NAME["VoltageMeasure"], 0, 0xFFFF)),
    ("209", "6102FFFF10", Request(1, 0x6102, BY_NAME["VoltageMeasure"], 16, 0xFFFF)),
    ("209", "2280", Request(1, 0x2280, BY_NAME["OnAllUpper"], None)),
    ("208", "D801", Registration(1, True)),
    ("208", "D800", Registration(1, False)),
    ("208", "120200FA", Data(1, 0x1202, BY_NAME["BitRate"], None, 250)),
    ("208", "120808", Data(1, 0x1208, BY_NAME["ChannelNumber"], None, 8)),
    ("208", "120800000010", Data(1, 0x1208, BY_NAME["ChannelNumber"], None, 16)),
    ("208", "1004000008", Data(1, 0x1004, BY_NAME["ModuleEventChannelStatus"], 0, 8)),
    ("208", "10040008", Data(1, 0x1004, BY_NAME["ModuleEventChannelStatus"], 0, 8)),
    ("208", "10841000000008", Data(1, 0x1084, BY_NAME["ModuleEventChannelStatus32"], 16, 8)),
    ("209", "1004", Request(1, 0x1004, BY_NAME["ModuleEventChannelStatus"], 0)),
    ("208", "1203483130314330", Data(1, 0x1203, BY_NAME["FirmwareName"], None, "H101C0")),
    ("208", "414102FF", Data(1, 0x4141, BY_NAME["OutputPolarity"], 2, -1)),
    ("209", "129000000001", Request(1, 0x1290, BY_NAME["ModuleOptionSpec"], 1)),
    ("208", "12900000000102", Data(1, 0x1290, BY_NAME["ModuleOptionSpec"], 1, 2)),
    ("021", "D83746", Announcement(4, GeneralStatus(0x37), 70, 0)),
)


def frame(identifier, data):
    return Frame(int(identifier, 16), bytes.fromhex(data))


@pytest.mark.parametrize(("identifier", "data", "message"), KNOWN)
def test_known_frames(identifier, data, message):
    assert decode(frame(identifier, data)) == message


@pytest.mark.parametrize(
    ("data", "celsius"), [("41EF0DB0", [29.9]), ("41ED6630", [29.7]), ("41BE7598", [23.8]), ("41D0CCCD", [26.1])]
)
def test_known_readings(data, celsius):
    value = decode(frame("604", "200101" + data)).value
    assert value == pytest.approx(celsius[0], abs=0.05)


@pytest.mark.parametrize(
    ("value", "data"), [(24.0, "41C00000"), (1.0, "3F800000"), (-3000.0, "C53B8000"), (10e-6, "3727C5AC")]
)
def test_single_precision(value, data):
    assert pack(BY_NAME["VoltageSet"], value).hex().upper() == data


@pytest.mark.parametrize(
    ("identifier", "data", "reason"),
    [
        ("228", "", "0 data bytes"),
        ("228", "41", "unknown item 41"),
        ("228", "4FFF0001", "unknown item 4fff"),
        ("228", "14010000", "unknown item 1401"),
        ("228", "6FFF0001", "unknown item 6fff"),
        ("228", "410203447A00", "VoltageMeasure with 3 bytes instead of 4"),
        ("228", "4102", "VoltageMeasure without a value"),
        ("228", "410203", "VoltageMeasure without a value"),
        ("228", "1000007701", "ModuleStatus with 3 bytes instead of 2"),
        ("228", "1203", "FirmwareName without a value"),
        ("228", "1203FF", r"FirmwareName is not ASCII: b'\xff'"),
        ("228", "12080000000000", "ChannelNumber with 5 bytes instead of 1 to 4"),
        ("229", "4102", "request for VoltageMeasure with 0 bytes behind the item"),
        ("229", "100000", "request for ModuleStatus with 1 bytes behind the item"),
        ("229", "610203", "request for VoltageMeasure of many channels with 1 bytes instead of 3"),
        ("229", "2000", "request for VariableGroup with 0 bytes behind the item"),
        ("228", "D802", "unknown one-byte item d802"),
        ("229", "D837", "unknown one-byte item d837"),
        ("228", "C1", "unknown one-byte item c1"),
        ("22A", "1000", "identifier 0x22a with reserved bits"),
        ("22C", "1000", "identifier 0x22c with reserved bits"),
        ("004", "D80000", "unknown broadcast d80000"),
        ("004", "", "unknown broadcast "),
    ],
)
def test_frames_that_no_rule_explains(identifier, data, reason):
    message = decode(frame(identifier, data))
    assert isinstance(message, Unexplained)
    assert message.reason == reason


def test_a_value_that_is_no_number_still_tells_whose_it_is():
    message = decode(frame("228", "4102037FC00000"))
    assert message == Unexplained("VoltageMeasure is nan", Key(5, 0x4102, 3))


@pytest.mark.parametrize(
    "other",
    [
        Frame(0x12345678, b"\x41\x00", extended=True),
        Frame(0x229, b"", remote=True),
        Frame(0x700, b"\x41\x00"),
        Frame(0x605, b"\x41\x00"),
        Frame(0x800, b"\x41\x00"),
    ],
)
def test_foreign_frames(other):
    assert isinstance(decode(other), Foreign)


@given(
    st.integers(0, 0x1FFFFFFF), st.binary(max_size=64), st.booleans(), st.booleans(), st.booleans(),
)  # fmt: skip
def test_any_frame_decodes_without_an_exception(identifier, data, extended, remote, error):
    decode(Frame(identifier, data, extended, remote, error))


@given(st.integers(0, 63), st.sampled_from(sorted(ITEMS)), st.binary(max_size=6), st.sampled_from([0, 0x2000]))
def test_any_data_of_known_items_is_a_value_or_explained_and_comes_back_the_same(address, number, rest, many):
    item = ITEMS[number]
    many = many if item.scope is Scope.CHANNEL else 0
    sent = Frame(0x200 | address << 3, (number | many).to_bytes(2, "big") + rest)
    message = decode(sent)
    if isinstance(message, Data):
        again = decode(answer(address, item, message.value, message.index, many=bool(many)))
        assert again == message
    else:
        assert isinstance(message, Unexplained)
        assert message.reason


@given(st.sampled_from(sorted(ITEMS)), st.integers(0, 63), st.integers(0, 255))
def test_every_readable_item_can_be_asked_for(number, address, index):
    item = ITEMS[number]
    if not item.readable:
        with pytest.raises(Refused, match="cannot be read"):
            read(address, item, index)
        return
    request = decode(read(address, item, index))
    assert (request.address, request.item) == (address, item)
    assert request.index == (None if item.index in (Index.NONE, Index.PART) else index)
    assert request.data_id == item.id


@given(
    st.sampled_from([item for item in ITEMS.values() if item.settable and item.type is Type.R4]),
    st.floats(allow_nan=False, allow_infinity=False, width=32),
)
def test_every_number_that_can_be_set_comes_back(item, value):
    index = 3 if item.scope is Scope.CHANNEL else None
    message = decode(write(63, item, value, index))
    assert (message.address, message.data_id, message.index) == (63, item.id, index)
    assert message.value == value


@pytest.mark.parametrize("word", WORDS_16, ids=lambda word: word.__name__)
@given(st.integers(0, 0xFFFF))
def test_any_16_bit_word_decodes_and_comes_back(word, value):
    flags = word(value)
    assert int(flags) == value
    bits = [bit for bit in word if bit in flags]
    assert sum(map(int, bits)) == value & sum(int(bit) for bit in word)
    assert len(bit_names(word(0xFFFF))) == 16


def test_every_byte_of_the_general_status_decodes_and_comes_back():
    for value in range(0x100):
        message = decode(Frame(0x028, bytes((0xC0, value, 255 - value))))
        assert (int(message.status), int(message.detail)) == (value, 255 - value)


@given(st.sampled_from(WORDS_32), st.integers(0, 0xFFFFFFFF))
def test_any_32_bit_word_decodes_and_comes_back(word, value):
    flags = word(value)
    assert int(flags) == value
    names = bit_names(flags)
    assert len(names) == value.bit_count()
    assert all(names)


def test_names_of_bits():
    assert bit_names(ChannelStatus(0x2001)) == ("BIT0", "TRIP")
    assert bit_names(ModuleStatus(0)) == ()
    assert int(BLOCKING_EVENTS) == 0b1111_0000_0010_0000


@pytest.mark.parametrize(
    ("make", "error", "reason"),
    [
        (lambda: write(5, BY_NAME["VoltageMeasure"], 1.0, 0), Refused, "VoltageMeasure cannot be set"),
        (lambda: write(5, BY_NAME["VoltageSet"], math.nan, 0), OutOfLimits, "VoltageSet cannot be nan"),
        (lambda: write(5, BY_NAME["VoltageSet"], math.inf, 0), OutOfLimits, "VoltageSet cannot be inf"),
        (lambda: write(5, BY_NAME["VoltageSet"], 1e39, 0), OutOfLimits, "VoltageSet cannot hold 1e.39"),
        (lambda: write(5, BY_NAME["VoltageSet"], "12", 0), OutOfLimits, "VoltageSet cannot be '12'"),
        (lambda: write(5, BY_NAME["VoltageSet"], 12.0), OutOfLimits, "VoltageSet of which channel"),
        (lambda: write(5, BY_NAME["VoltageSet"], 12.0, 256), OutOfLimits, "256 is not a channel of VoltageSet"),
        (lambda: write(5, BY_NAME["GroupNumber"], 256, 0), OutOfLimits, "GroupNumber cannot hold 256"),
        (lambda: write(5, BY_NAME["GroupNumber"], 1.5, 0), OutOfLimits, "GroupNumber is a whole number, not 1.5"),
        (lambda: write(65, BY_NAME["GroupNumber"], 1, 0), OutOfLimits, "65 is not an address on the bus"),
        (lambda: answer(5, BY_NAME["FirmwareName"], ""), OutOfLimits, "1 to 6 ASCII characters"),
        (lambda: answer(5, BY_NAME["VariableGroup"], (0, 1), 0), OutOfLimits, "VariableGroup cannot hold"),
        (lambda: read(5, BY_NAME["VoltageSetAll"]), Refused, "VoltageSetAll cannot be read"),
        (lambda: read_channels(5, BY_NAME["ModuleStatus"]), Refused, "not an item of channels"),
        (lambda: read_channels(5, BY_NAME["VoltageSet"], 0x10000), OutOfLimits, "cannot be asked for"),
    ],
)
def test_frames_that_are_not_made(make, error, reason):
    with pytest.raises(error, match=reason):
        make()


def test_crate_and_another_base():
    assert read(CRATE, BY_NAME["CrateStatus"]) == frame("601", "1A00")
    assert write(CRATE, BY_NAME["CratePower"], 1) == frame("600", "1A0501")
    assert registration(CRATE, True) == frame("600", "D801")
    assert read(5, BY_NAME["ModuleStatus"], base=0) == frame("029", "1000")
    assert announcement(5, GeneralStatus(0x37), 70, base=0) == frame("029", "D83746")


def test_broadcasts():
    assert broadcast(Service.SET_CHANNELS, bytes.fromhex("0060010020")) == frame("004", "E80060010020")
    assert broadcast_setting(bytes.fromhex("0060010020")) == (0, BY_NAME["ChannelControl"], 0x20)
    assert broadcast_setting(bytes.fromhex("00110040A00000")) == (0, BY_NAME["VoltageRampSpeed"], 5.0)
    assert broadcast_setting(bytes.fromhex("07610043FA0000")) == (7, BY_NAME["VoltageSet"], 500.0)
    with pytest.raises(Garbled, match="nothing known"):
        broadcast_setting(b"\x07\x61")


def test_texts_of_several_frames():
    assert join_text(["EHS E", "16C1\0"]) == "EHS E16C1"
    assert join_text(["EHS E"]) is None
    assert join_text(["\0"]) == ""


def test_items_are_consistent():
    assert len(BY_NAME) == len(ITEMS)
    for number, item in ITEMS.items():
        assert item.readable or item.settable
        assert item_of(number) is item
        if item.scope is Scope.CHANNEL:
            assert item.index is Index.CHANNEL
            assert item_of(item.many_id) is item
    assert item_of(0x6FFF) is None


def test_values_of_every_type():
    assert unpack(BY_NAME["FirmwareRelease"], bytes((5, 1, 0, 0))) == (5, 1, 0, 0)
    assert unpack(BY_NAME["CurrentMeasureRange"], struct.pack(">fB", 1.0, 1)) == (1.0, 1)
    with pytest.raises(Garbled, match="inf"):
        unpack(BY_NAME["CurrentMeasureRange"], struct.pack(">fB", math.inf, 1))
