"""Two recorded-style dialogues, byte for byte: requests in order on one unit, with what is done between them.

Every row: number, what happens before, request, reply; CR LF left out. The unit at the start: 4 channels with
10 Mohm each, all off, VSET 0, ISET 100 uA, MAXV 4100, ramps 50 V/s, TRIP 10 s, PDWN KILL, IMRANGE HIGH, POL +.
"""

import pytest

from devices.caen.protocol import Profile
from devices.caen.simulator.model import CaenModel

DIALOGUE_A = (
    ("A1", "", "$CMD:MON,PAR:BDNAME", "#CMD:OK,VAL:DT5533E;"),
    ("A2", "", "$CMD:MON,PAR:BDNCH", "#CMD:OK,VAL:4;"),
    ("A3", "", "$CMD:MON,PAR:BDFREL", "#CMD:OK,VAL:01.0;"),
    ("A4", "", "$CMD:MON,PAR:BDSNUM", "#CMD:OK,VAL:00123;"),
    ("A5", "", "$CMD:MON,PAR:BDALARM", "#CMD:OK,VAL:00000;"),
    ("A6", "", "$CMD:MON,PAR:BDILK", "#CMD:OK,VAL:NO;"),
    ("A7", "", "$CMD:MON,CH:0,PAR:VSET", "#CMD:OK,VAL:0000.0;"),
    ("A8", "", "$CMD:MON,CH:0,PAR:VMAX", "#CMD:OK,VAL:4000.0;"),
    ("A9", "", "$CMD:MON,CH:0,PAR:IMAXH", "#CMD:OK,VAL:3000.00;"),
    ("A10", "", "$CMD:MON,CH:0,PAR:VSDEC", "#CMD:OK,VAL:1;"),
    ("A11", "", "$CMD:MON,CH:0,PAR:POL", "#CMD:OK,VAL:+;"),
    ("A12", "", "$CMD:MON,CH:0,PAR:PDWN", "#CMD:OK,VAL:KILL;"),
    ("A13", "", "$CMD:MON,CH:0,PAR:STAT", "#CMD:OK,VAL:00000;"),
    ("A14", "", "$CMD:SET,CH:0,PAR:VSET,VAL:500", "#CMD:OK"),
    ("A15", "", "$CMD:MON,CH:0,PAR:VSET", "#CMD:OK,VAL:0500.0;"),
    ("A16", "", "$CMD:SET,CH:0,PAR:ISET,VAL:200.50", "#CMD:OK"),
    ("A17", "", "$CMD:MON,CH:0,PAR:ISET", "#CMD:OK,VAL:0200.50;"),
    ("A18", "", "$CMD:SET,CH:0,PAR:RUP,VAL:100", "#CMD:OK"),
    ("A19", "", "$CMD:MON,CH:0,PAR:RUP", "#CMD:OK,VAL:100;"),
    ("A20", "", "$CMD:SET,CH:0,PAR:VSET,VAL: 500.004", "#CMD:OK"),
    ("A21", "", "$CMD:MON,PAR:VSET,CH:0", "#CMD:OK,VAL:0500.0;"),
    ("A22", "", "$BD:00,CMD:MON,CH:0,PAR:VSET", "#CMD:OK,VAL:0500.0;"),
    ("A23", "", "$CMD:MON,CH:0.000000,PAR:VSET", "#CMD:OK,VAL:0500.0;"),
    ("A24", "", "$CMD:SET,CH:0,PAR:ON", "#CMD:OK"),
    ("A25", "wait 2", "$CMD:MON,CH:0,PAR:STAT", "#CMD:OK,VAL:00003;"),
    ("A26", "wait 10", "$CMD:MON,CH:0,PAR:STAT", "#CMD:OK,VAL:00001;"),
    ("A27", "", "$CMD:MON,CH:0,PAR:VMON", "#CMD:OK,VAL:0500.0;"),
    ("A28", "", "$CMD:MON,CH:0,PAR:IMON", "#CMD:OK,VAL:0050.00;"),
    ("A29", "", "$CMD:SET,CH:0,PAR:IMRANGE,VAL:LOW", "#CMD:OK"),
    ("A30", "", "$CMD:MON,CH:0,PAR:IMON", "#CMD:OK,VAL:0050.000;"),
    ("A31", "", "$CMD:MON,CH:4,PAR:VSET", "#CMD:OK,VAL:0500.0;0000.0;0000.0;0000.0;"),
    ("A32", "", "$CMD:MON,CH:4,PAR:STAT", "#CMD:OK,VAL:00001;00000;00000;00000;"),
    ("A33", "", "$CMD:MON,CH:4,PAR:POL", "#CMD:OK,VAL:+;+;+;+;"),
    ("A34", "", "$CMD:SET,CH:0,PAR:IMRANGE,VAL:HIGH", "#CMD:OK"),
    ("A35", "", "$CMD:SET,CH:0,PAR:OFF", "#CMD:OK"),
    ("A36", "wait 1", "$CMD:MON,CH:0,PAR:STAT", "#CMD:OK,VAL:00004;"),
    ("A37", "wait 20", "$CMD:MON,CH:0,PAR:STAT", "#CMD:OK,VAL:00000;"),
    ("A38", "", "$CMD:SET,CH:4,PAR:RDW,VAL:200", "#CMD:OK"),
    ("A39", "", "$CMD:MON,CH:4,PAR:RDW", "#CMD:OK,VAL:200;200;200;200;"),
    ("A40", "", "$CMD:SET,CH:0,PAR:VSET,VAL:4000.1", "#VAL:ERR"),
    ("A41", "", "$CMD:SET,CH:0,PAR:VSET,VAL:-1", "#VAL:ERR"),
    ("A42", "", "$CMD:SET,CH:0,PAR:VSET,VAL:abc", "#VAL:ERR"),
    ("A43", "", "$CMD:SET,CH:0,PAR:VSET", "#VAL:ERR"),
    ("A44", "", "$CMD:SET,CH:0,PAR:PDWN,VAL:SLOW", "#VAL:ERR"),
    ("A45", "", "$CMD:MON,CH:5,PAR:VMON", "#CH:ERR"),
    ("A46", "", "$CMD:MON,PAR:VMON", "#CH:ERR"),
    ("A47", "", "$CMD:MON,CH:0,PAR:VDEC", "#PAR:ERR"),
    ("A48", "", "$CMD:MON,CH:0", "#PAR:ERR"),
    ("A49", "", "$CMD:SET,CH:0,PAR:VMON,VAL:1", "#PAR:ERR"),
    ("A50", "", "$CMD:GET,CH:0,PAR:VMON", "#CMD:ERR"),
    ("A51", "", "CMD:MON,CH:0,PAR:VMON", "#CMD:ERR"),
    ("A52", "", "$CMD:MON,PAR:BDCTR", "#PAR:ERR"),
    ("A53", "local on", "$CMD:SET,CH:0,PAR:VSET,VAL:10", "#LOC:ERR"),
    ("A54", "", "$CMD:MON,CH:0,PAR:VSET", "#CMD:OK,VAL:0500.0;"),
    ("A55", "local off", "$CMD:SET,CH:0,PAR:ISET,VAL:10", "#CMD:OK"),
    ("A56", "", "$CMD:SET,CH:0,PAR:TRIP,VAL:1.0", "#CMD:OK"),
    ("A57", "", "$CMD:SET,CH:0,PAR:ON", "#CMD:OK"),
    ("A58", "wait 10", "$CMD:MON,CH:0,PAR:STAT", "#CMD:OK,VAL:00128;"),
    ("A59", "", "$CMD:MON,PAR:BDALARM", "#CMD:OK,VAL:00136;"),
    ("A60", "", "$CMD:SET,CH:0,PAR:ON", "#CMD:OK"),
    ("A61", "wait 2", "$CMD:MON,CH:0,PAR:STAT", "#CMD:OK,VAL:00128;"),
    ("A62", "", "$CMD:SET,PAR:BDCLR", "#CMD:OK"),
    ("A63", "", "$CMD:MON,PAR:BDALARM", "#CMD:OK,VAL:00000;"),
    ("A64", "", "$CMD:SET,CH:0,PAR:TRIP,VAL:1000.0", "#CMD:OK"),
    ("A65", "", "$CMD:SET,CH:0,PAR:ON", "#CMD:OK"),
    ("A66", "wait 60", "$CMD:MON,CH:0,PAR:STAT", "#CMD:OK,VAL:00041;"),
    ("A67", "", "$CMD:MON,CH:0,PAR:VMON", "#CMD:OK,VAL:0100.0;"),
    ("A68", "", "$CMD:MON,CH:0,PAR:IMON", "#CMD:OK,VAL:0010.00;"),
    ("A69", "interlock on", "$CMD:MON,PAR:BDILK", "#CMD:OK,VAL:YES;"),
    ("A70", "wait 1", "$CMD:MON,CH:0,PAR:STAT", "#CMD:OK,VAL:04096;"),
    ("A71", "", "$CMD:SET,CH:0,PAR:ON", "#CMD:OK"),
    ("A72", "wait 1", "$CMD:MON,CH:0,PAR:STAT", "#CMD:OK,VAL:04096;"),
    ("A73", "interlock off", "$CMD:SET,CH:0,PAR:ISET,VAL:1000", "#CMD:OK"),
    ("A74", "", "$CMD:SET,CH:0,PAR:MAXV,VAL:300", "#CMD:OK"),
    ("A75", "", "$CMD:SET,CH:0,PAR:ON", "#CMD:OK"),
    ("A76", "wait 20", "$CMD:MON,CH:0,PAR:STAT", "#CMD:OK,VAL:00065;"),
    ("A77", "", "$CMD:MON,CH:0,PAR:VMON", "#CMD:OK,VAL:0300.0;"),
    ("A78", "kill CH0 on", "$CMD:MON,CH:0,PAR:STAT", "#CMD:OK,VAL:02048;"),
)

DIALOGUE_B = (
    ("B1", "", "$BD:00,CMD:MON,PAR:BDNAME", "#BD:00,CMD:OK,VAL:NDT1470"),
    ("B2", "", "$BD:0,CMD:MON,PAR:BDNCH", "#BD:00,CMD:OK,VAL:4"),
    ("B3", "", "$BD:00,CMD:MON,PAR:BDCTR", "#BD:00,CMD:OK,VAL:REMOTE"),
    ("B4", "", "$BD:00,CMD:MON,PAR:BDILKM", "#BD:00,CMD:OK,VAL:CLOSED"),
    ("B5", "", "$BD:00,CMD:SET,PAR:BDILKM,VAL:OPEN", "#BD:00,CMD:OK"),
    ("B6", "", "$BD:00,CMD:MON,CH:4,PAR:VSET", "#BD:00,CMD:OK,VAL:0000.0;0000.0;0000.0;0000.0"),
    ("B7", "", "$BD:00,CMD:MON,CH:0,PAR:VDEC", "#BD:00,CMD:OK,VAL:1"),
    ("B8", "", "$BD:00,CMD:MON,CH:0,PAR:IMAX", "#BD:00,CMD:OK,VAL:3000.00"),
    ("B9", "", "$BD:00,CMD:SET,CH:1,PAR:VSET,VAL:20.0", "#BD:00,CMD:OK"),
    ("B10", "", "$BD:00,CMD:SET,CH:01,PAR:ON", "#BD:00,CMD:OK"),
    ("B11", "wait 5", "$BD:00:CMD:MON,CH:4,PAR:VMON", "#BD:00,CMD:OK,VAL:0000.0;0020.0;0000.0;0000.0"),
    ("B12", "", "$BD:00,CMD:MON,PAR:STAT,CH:1", "#BD:00,CMD:OK,VAL:00001"),
    ("B13", "", "$BD:00,CMD:MON,CH:4,PAR:IMRANGE", "#BD:00,CMD:OK,VAL:HIGH;HIGH;HIGH;HIGH"),
    ("B14", "", "$BD:05,CMD:MON,PAR:BDNAME", ""),
    ("B15", "", "$CMD:MON,PAR:BDNAME", "#BD:00,CMD:ERR"),
    ("B16", "", "$BD:00,CMD:SET,CH:0,PAR:RUP,VAL:501", "#BD:00,VAL:ERR"),
    ("B17", "", "$BD:00,CMD:SET,CH:9,PAR:RUP,VAL:10", "#BD:00,CH:ERR"),
    ("B18", "", "$BD:00,CMD:MON,CH:0,PAR:FOO", "#BD:00,PAR:ERR"),
    ("B19", "trip CH1", "$BD:00,CMD:MON,PAR:BDALARM", "#BD:00,CMD:OK,VAL:00002"),
    ("B20", "wait 1", "$BD:00,CMD:MON,CH:1,PAR:STAT", "#BD:00,CMD:OK,VAL:00128"),
    ("B21", "", "$BD:00,CMD:SET,PAR:BDCLR", "#BD:00,CMD:OK"),
    ("B22", "", "$BD:00,CMD:MON,PAR:BDALARM", "#BD:00,CMD:OK,VAL:00000"),
    ("B23", "local on", "$BD:00,CMD:SET,CH:0,PAR:OFF", "#BD:00,LOC:ERR"),
    ("B24", "", "$BD:00,CMD:MON,PAR:BDCTR", "#BD:00,CMD:OK,VAL:LOCAL"),
)


def prepare(model: CaenModel, before: str) -> None:
    match before.replace(" CH", " ").split():
        case []:
            pass
        case ["wait", seconds]:
            model.step(float(seconds))
        case ["local", state]:
            model.local = state == "on"
        case ["interlock", state]:
            model.interlock(state == "on")
        case ["kill", channel, state]:
            model.kill(int(channel), state == "on")
        case ["trip", channel]:
            model.trip(int(channel))
        case _:
            pytest.fail(f"cannot prepare {before!r}")


@pytest.mark.parametrize(("profile", "dialogue"), [(Profile.A, DIALOGUE_A), (Profile.B, DIALOGUE_B)], ids=["A", "B"])
def test_the_dialogue_runs_as_written(profile, dialogue):
    model = CaenModel(profile)
    wrong = []
    for number, before, request, reply in dialogue:
        prepare(model, before)
        answer = model.respond(request.encode() + b"\r\n")
        if answer != (reply.encode() + b"\r\n" if reply else b""):
            wrong.append(f"{number} {request}: {answer!r} instead of {reply!r}")
    assert wrong == []
