"""A dialogue with two example modules and a crate, frame by frame, and every frame in it through the codec.

Computed from the manufacturer's guide (identifiers, items, behaviour), not captured from hardware. Module A: address
5, 16 channels, +6000 V / 1 mA. Module B: address 2, 8 channels, -6000 V / 1 mA, signed set points. Loads 1 Gohm.
Every row: number, what happens before, what the host sends, what the modules send by then.
"""

import pytest

from devices.iseg.edcp.bits import GeneralDetail, GeneralStatus
from devices.iseg.edcp.protocol import (
    Announcement,
    Broadcast,
    Data,
    General,
    GeneralRequest,
    Registration,
    Request,
    Unexplained,
    announcement,
    answer,
    broadcast,
    decode,
    general,
    general_request,
    read,
    read_channels,
    registration,
)
from devices.iseg.simulator.answers import respond
from devices.iseg.simulator.bus import SimulatedCrate
from devices.iseg.simulator.module import E08F2, SimulatedIsegModule
from devices.links.can_frame import Frame

ALL = "; ".join(f"228 6000{n:02X}{'0088' if n == 3 else '0000'}" for n in range(16))

DIALOGUE = (
    (1, "wait 0.1", "", "229 D83746"),  # log-on announcement of A, once a second until confirmed
    (2, "", "228 D801", ""),  # confirm log-on of A
    (3, "", "210 D801", ""),  # confirm log-on of B
    (4, "", "229 C0", "228 C03700"),  # general status (DCP item)
    (5, "", "229 1200", "228 120000788B70"),  # serial number 7900016
    (6, "", "229 1201", "228 120105010000"),  # firmware release 5.1.0.0
    (7, "", "229 1203", "228 12034531364331"),  # firmware name, 5 characters
    (8, "", "229 1208", "228 120800000010"),  # channel count 16
    (9, "", "229 1202", "228 1202007D"),  # bit rate 125 kbit/s
    (10, "", "229 1280", "228 128083800000"),  # module options
    (11, "", "229 1000", "228 10007701"),  # module status, all good, fine adjustment on
    (12, "", "229 1080", "228 108000007701"),  # module status, 32 bits
    (13, "", "229 1001", "228 10011800"),  # module control
    (14, "", "229 1002", "228 10020000"),  # module event status
    (15, "", "229 1100", "228 110041200000"),  # voltage ramp speed 10 %/s
    (16, "", "228 110041A00000", ""),  # set ramp speed 20 %/s
    (17, "", "229 1100", "228 110041A00000"),  # read it back
    (18, "", "229 1102", "228 110242C80000"),  # hardware voltage limit 100 %
    (19, "", "229 1104", "228 110441C0CCCD"),  # supply +24: 24.1 V
    (20, "", "229 1105", "228 110540A0A3D7"),  # supply +5: 5.02 V
    (21, "", "229 1106", "228 110641FC0000"),  # board temperature 31.5 C
    (22, "", "229 410600", "228 41060045BB8000"),  # nominal voltage ch 0: 6000 V
    (23, "", "229 410700", "228 4107003A83126F"),  # nominal current ch 0: 1 mA
    (24, "", "228 410003447A0000", ""),  # set voltage ch 3: 1000 V
    (25, "", "229 410003", "228 410003447A0000"),  # read it back
    (26, "", "228 41010338D1B717", ""),  # set current ch 3: 100 uA
    (27, "", "229 410103", "228 41010338D1B717"),  # read it back
    (28, "", "228 41000345DAC000", ""),  # set voltage ch 3: 7000 V, above nominal
    (29, "", "229 400003", "228 4000030004"),  # channel status shows inputError (bit 2)
    (30, "", "229 400203", "228 4002030004"),  # channel event status shows EventInputError
    (31, "", "229 410003", "228 410003447A0000"),  # set point unchanged
    (32, "", "228 4002030004", ""),  # clear that event (write 1)
    (33, "", "229 400203", "228 4002030000"),  # event status clear
    (34, "", "228 4001030008", ""),  # switch channel 3 on
    (35, "", "229 400003", "228 4000030098"),  # status while ramping: on, ramp, CV
    (36, "", "229 1000", "228 10007509"),  # module status while ramping
    (37, "wait 1.6", "229 400003", "228 4000030088"),  # status at set value: on, CV
    (38, "", "229 400203", "228 4002030090"),  # events: EndOfRamp + CV
    (39, "", "229 410203", "228 410203447A0000"),  # measured voltage 1000 V
    (40, "", "229 410303", "228 410303358637BD"),  # measured current 1 uA (1 GOhm load)
    (41, "", "229 6100000900", "228 61000000000000; 228 610003447A0000"),
    (42, "", "229 6000000000", "ALL"),  # status of all channels (member mask 0)
    (43, "", "229 2200", "228 220000000008"),  # which channels are set on
    (44, "", "228 20000000FFFF4030", ""),  # define status group 0 = isOn of ch 0-15
    (45, "", "229 20000000", "228 2000000000084030"),  # read status group 0
    (46, "", "229 420003", "228 42000300"),  # group number of ch 3
    (47, "", "228 42000307", ""),  # put ch 3 into group 7
    (48, "", "004 E807610043FA0000", ""),  # NMT: group 7, set voltage 500 V
    (49, "", "229 410003", "228 41000343FA0000"),  # set voltage ch 3 now 500 V
    (50, "", "228 40050300FA", ""),  # delayed trip time 250 ms
    (51, "", "229 400503", "228 40050300FA"),  # read it back
    (52, "", "228 40060302", ""),  # delayed trip action 2 (off without ramp)
    (53, "", "229 400603", "228 40060302"),  # read it back
    (54, "", "228 4001030020", ""),  # emergency off ch 3
    (55, "", "229 400003", "228 4000030020"),  # channel status: emergency
    (56, "", "229 400203", "228 40020300B8"),  # events: CV, EMCY, EndOfRamp, On2Off
    (57, "", "228 4001030008", ""),  # try to switch on: refused (event pending)
    (58, "", "229 400103", "228 4001030000"),  # control reads back off
    (59, "", "228 400203FEFE", ""),  # clear all channel events
    (60, "", "228 4001030008", ""),  # switch on again
    (61, "", "229 400103", "228 4001030008"),  # control reads back on
    (62, "", "228 10015800", ""),  # kill enable, keeping big endian + fine adjustment
    (63, "", "229 1001", "228 10015800"),  # module control
    (64, "", "228 4003032000", ""),  # unmask trip event of ch 3
    (65, "", "228 1005000008", ""),  # unmask channel 3 in the module
    (66, "wait 1.8; load 3 1; wait 0.1", "", "028 C07601"),  # (load of ch 3 drops to 1 MOhm)
    (67, "", "229 400003", "228 4000032000"),  # channel status: tripped
    (68, "", "229 100400", "228 1004000008"),  # channels with an unmasked event
    (69, "", "229 1000", "228 1000EE01"),  # module status: event active, sum error
    (70, "", "228 220400000008", ""),  # clear trip event of ch 3 (all-channel item)
    (71, "", "229 400203", "228 4002030088"),  # channel event status: CV, On2Off left
    (72, "load 3 1000", "", ""),  # (load back to 1 GOhm)
    (73, "", "228 10011840", ""),  # doClear, keeping the other control bits
    (74, "", "229 1001", "228 10011800"),  # module control reads without doClear
    (75, "", "004 EC00110040A00000", ""),  # NMT: ramp speed 5 %/s for every module
    (76, "", "229 1100", "228 110040A00000"),  # ramp speed of A
    (77, "", "211 1100", "210 110040A00000"),  # ramp speed of B
    (78, "", "211 410600", "210 410600C5BB8000"),  # B: nominal voltage -6000 V
    (79, "", "211 410900", "210 4109000000000001"),  # B: current with range, ch 0
    (80, "", "210 410000C37A0000", ""),  # B: set voltage -250 V
    (81, "", "211 410000", "210 410000C37A0000"),  # B: read it back
    (82, "", "229 410210", ""),  # A: channel 16 does not exist
    (83, "", "229 1000", "228 10007741"),  # A: module status shows isInputError (bit 6)
    (84, "", "228 10020040", ""),  # A: clear module input error event
    (85, "", "229 2001", "228 20010041FC0000; 228 20010141FA6666; 228 20010241FC0000"),
    (86, "", "229 1209", "228 1209004548532045; 228 1209013136433100"),  # A: article text in several frames
    (87, "", "228 220000000000", ""),  # all channels of A off
    (88, "", "004 C8", ""),  # NMT stop
    (89, "", "004 CC", ""),  # NMT reset CAN
    (90, "wait 0.1", "", "229 D83746"),  # A announces itself again
    (91, "", "228 D801", ""),  # log on again
    (92, "", "228 D800", ""),  # log off A
    (93, "wait 0.1", "", "229 D83746"),  # announcements resume
    (94, "", "601 1A00", "604 1A0000110000"),  # crate controller status
    (95, "", "601 1A04", "604 1A04420C0000"),  # crate fan speed 35 %
)  # fmt: skip


class Segment:
    def __init__(self):
        self.a = SimulatedIsegModule(5)
        self.b = SimulatedIsegModule(2, E08F2, channels=8, serial=7900017)
        self.crate = SimulatedCrate()
        self.sent: list[Frame] = []

    def prepare(self, actions):
        for action in filter(None, actions.split("; ")):
            word, *numbers = action.split()
            if word == "wait":
                self.step(float(numbers[0]))
            else:
                self.a.channels[int(numbers[0])].load = float(numbers[1])

    def step(self, seconds):
        self.sent += self.a.step(seconds)
        self.b.step(seconds)  # announces itself too until registered; rows tell of A

    def send(self, text):
        for module in (self.a, self.b):
            self.sent += respond(module, frame(text))
        self.sent += self.crate.respond(frame(text))

    def take(self):
        frames, self.sent = self.sent, []
        return "; ".join(show(one) for one in frames)


def frame(text):
    number, data = text.split()
    return Frame(int(number, 16), bytes.fromhex(data))


def show(one):
    return f"{one.id:03X} {one.data.hex().upper()}"


def wanted(text):
    return ALL if text == "ALL" else text


def test_dialogue():
    segment = Segment()
    for number, before, sent, got in DIALOGUE:
        segment.prepare(before)
        if sent:
            segment.send(sent)
        assert (number, segment.take()) == (number, wanted(got))


def encoded(message):
    """The same frame, made by the encoding side."""
    match message:
        case Data(address, data_id, item, index, value):
            return answer(address, item, value, index, many=data_id != item.id)
        case Request(address, data_id, item, index, None):
            return read(address, item, index)
        case Request(address, data_id, item, index, members):
            return read_channels(address, item, members, index)
        case GeneralRequest(address):
            return general_request(address)
        case General(address, status, detail, active):
            return general(address, status, detail, active=active)
        case Announcement(address, status, device_class):
            return announcement(address, status, device_class)
        case Registration(address, on):
            return registration(address, on)
        case Broadcast(service, payload):
            return broadcast(service, payload)
    raise AssertionError(message)


@pytest.mark.parametrize(
    "text", sorted({one for _, _, sent, got in DIALOGUE for one in [sent, *wanted(got).split("; ")] if one})
)
def test_every_frame_of_it_decodes_and_round_trips(text):
    message = decode(frame(text))
    assert not isinstance(message, Unexplained)
    assert show(encoded(message)).replace("600 ", "604 " if text.startswith("604") else "600 ") == text


def test_announcement_tells_health_and_class():
    assert decode(frame("229 D83746")) == Announcement(5, GeneralStatus(0x37), 70, 0x200)


def test_active_frame_tells_of_a_trip():
    assert decode(frame("028 C07601")) == General(5, GeneralStatus(0x76), GeneralDetail.TRIP, active=True)
