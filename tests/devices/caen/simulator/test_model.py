"""Physics and refusals of the simulated CAEN supply, with injected time and without a wire."""

import math

import pytest

from devices.caen.protocol import Dialect, Profile, monitor, parse_reply, set_value
from devices.caen.simulator.channel import SimulatedOutput
from devices.caen.simulator.model import CHOICES, SETTINGS, CaenModel
from devices.errors import DeviceError

ON, UP, DOWN, OVC, OVV, UNV, MAXV, TRIP, MAXPW, KILL, INTLCK = 1, 2, 4, 8, 16, 32, 64, 128, 256, 2048, 4096


class Unit:
    """A model with the words of a client, so that what is tested is what a client sees."""

    def __init__(self, profile=Profile.A, **options):
        self.model = CaenModel(profile, **options)
        self.dialect = Dialect(profile)

    def ask(self, request):
        line = self.model.respond(request).decode().removesuffix("\r\n")
        return parse_reply(line, self.dialect)

    def read(self, par, channel=0):
        return self.ask(monitor(self.dialect, par, channel)).number()

    def word(self, par, channel=None):
        return self.ask(monitor(self.dialect, par, channel)).word()

    def set(self, par, value=None, channel=0):
        assert self.ask(set_value(self.dialect, par, channel, value)).text is None

    def refused(self, request):
        with pytest.raises(DeviceError) as error:
            self.ask(request)
        return error.value.word

    @property
    def status(self):
        return int(self.read("STAT"))

    def at(self, volts, **settings):
        for par, value in {"VSET": volts, "RUP": 500, **settings}.items():
            self.set(par, str(value))
        self.set("ON")
        self.model.step(20)
        return self


@pytest.fixture
def unit():
    return Unit()


def test_GIVEN_50_volts_per_second_WHEN_switched_on_at_500_THEN_the_ramp_takes_10_seconds(unit):
    unit.set("VSET", "500")
    unit.set("ISET", "1000")
    unit.set("ON")
    unit.model.step(9.9)
    assert unit.status == ON | UP
    assert unit.read("VMON") == pytest.approx(495.0, abs=1.0)
    unit.model.step(0.1)
    assert unit.status == ON
    assert unit.read("VMON") == 500.0


def test_GIVEN_a_channel_at_voltage_WHEN_a_lower_one_is_set_THEN_it_ramps_down_with_RDW(unit):
    unit.at(500, ISET=1000, RDW=20)
    unit.set("VSET", "400")
    unit.model.step(4.9)
    assert unit.status == ON | DOWN
    assert unit.read("VMON") == pytest.approx(402.0, abs=1.0)
    unit.model.step(0.2)
    assert (unit.status, unit.read("VMON")) == (ON, 400.0)


def test_GIVEN_a_channel_off_WHEN_VSET_is_changed_THEN_it_is_only_stored(unit):
    unit.set("VSET", "500")
    unit.model.step(10)
    assert (unit.status, unit.read("VMON"), unit.read("VSET")) == (0, 0.0, 500.0)


def test_GIVEN_a_channel_at_voltage_WHEN_switched_off_THEN_it_ramps_down_and_VSET_stays(unit):
    unit.at(500, ISET=1000, RDW=50)
    unit.set("OFF")
    unit.model.step(5)
    assert unit.status == DOWN
    assert unit.read("VMON") == pytest.approx(250.0, abs=1.0)
    unit.model.step(5.1)
    assert (unit.status, unit.read("VMON"), unit.read("VSET")) == (0, 0.0, 500.0)


@pytest.mark.parametrize("seconds", [1.0, 10.0])
def test_GIVEN_a_channel_at_voltage_WHEN_the_load_breaks_down_THEN_it_trips_after_the_trip_time(unit, seconds):
    unit.at(500, ISET=100, TRIP=seconds)
    unit.model.channels[0].load = 1.0
    unit.model.step(seconds - 0.05)
    assert unit.status == ON | OVC | UNV
    assert (unit.read("VMON"), unit.read("IMON")) == (100.0, 100.0)
    unit.model.step(0.1)
    assert unit.status == TRIP
    assert unit.read("VMON") == 0.0


def test_GIVEN_an_overcurrent_WHEN_it_ends_before_the_trip_time_THEN_the_time_starts_again(unit):
    unit.at(500, TRIP=2)
    for _ in range(3):
        unit.model.channels[0].load = 1.0
        unit.model.step(1.5)
        unit.model.channels[0].load = 10.0
        unit.model.step(1.0)
    assert unit.status == ON


def test_GIVEN_an_endless_trip_time_WHEN_the_current_is_limited_THEN_it_never_trips(unit):
    unit.at(500, ISET=10, TRIP=1000)
    unit.model.step(300)
    assert unit.status == ON | OVC | UNV


def test_GIVEN_no_trip_time_WHEN_the_current_is_limited_THEN_it_trips_at_once(unit):
    unit.set("TRIP", "0")
    unit.at(500, ISET=10)
    assert unit.status == TRIP


@pytest.mark.parametrize(("mode", "status"), [("RAMP", TRIP | DOWN), ("KILL", TRIP)])
def test_GIVEN_a_power_down_mode_WHEN_it_trips_THEN_the_output_goes_down_that_way(unit, mode, status):
    unit.at(500, ISET=1000, RDW=50, PDWN=mode)
    unit.model.trip(0)
    unit.model.step(1)
    assert unit.status == status
    assert unit.read("VMON") == pytest.approx(450.0 if mode == "RAMP" else 0.0, abs=2.0)


def test_GIVEN_a_trip_WHEN_it_is_cleared_THEN_the_channel_can_be_switched_on_again(unit):
    unit.at(500, ISET=1000)
    unit.model.trip(0)
    unit.set("ON")
    unit.model.step(1)
    assert unit.status == TRIP
    assert unit.read("BDALARM", None) == TRIP
    unit.ask(set_value(unit.dialect, "BDCLR"))
    assert unit.read("BDALARM", None) == 0
    unit.set("ON")
    unit.model.step(10)
    assert unit.status == ON


def test_GIVEN_MAXV_below_VSET_WHEN_ramping_THEN_the_output_stops_at_MAXV(unit):
    unit.at(500, MAXV=300, ISET=1000)
    assert (unit.status, unit.read("VMON")) == (ON | MAXV, 300.0)
    unit.set("MAXV", "200")
    unit.model.step(0.1)
    assert unit.read("VMON") == 200.0


def test_GIVEN_a_heavy_load_WHEN_the_power_exceeds_4_watts_THEN_the_output_gives_way(unit):
    unit.model.channels[0].load = 1.0
    unit.at(3000, ISET=3000, TRIP=1000)
    assert unit.status == ON | MAXPW | UNV
    assert unit.read("VMON") * unit.read("IMON") * 1e-6 == pytest.approx(4.0, rel=0.01)


def test_GIVEN_a_short_WHEN_switched_on_THEN_the_current_is_the_limit_and_the_voltage_zero(unit):
    unit.model.channels[0].load = 0.0
    unit.at(500, ISET=100, TRIP=1000)
    assert (unit.read("VMON"), unit.read("IMON"), unit.status) == (0.0, 100.0, ON | OVC | UNV)


def test_GIVEN_no_load_WHEN_at_voltage_THEN_no_current_flows(unit):
    unit.model.channels[0].load = math.inf
    unit.at(500, ISET=0)
    assert (unit.read("VMON"), unit.read("IMON"), unit.status) == (500.0, 0.0, ON)


def test_GIVEN_the_low_range_WHEN_read_THEN_there_is_one_more_decimal_and_a_lower_full_scale(unit):
    unit.at(500, ISET=100, IMRANGE="LOW")
    assert unit.word("IMON", 0) == "0050.000"
    assert unit.refused(set_value(unit.dialect, "ISET", 0, "301")) == "VAL"
    unit.set("IMRANGE", "HIGH")
    assert unit.word("IMON", 0) == "0050.00"
    unit.set("ISET", "1000")
    unit.model.channels[0].load = 1.0
    unit.set("IMRANGE", "LOW")
    unit.model.step(0.1)
    assert unit.status & OVC


def test_GIVEN_the_interlock_WHEN_active_THEN_all_are_off_at_once_and_stay_off(unit):
    unit.at(500, ISET=1000)
    unit.model.interlock(True)
    unit.set("ON")
    unit.model.step(0.1)
    assert (unit.status, unit.read("VMON"), unit.word("BDILK")) == (INTLCK, 0.0, "YES")
    unit.model.interlock(False)
    assert (unit.status, unit.word("BDILK")) == (0, "NO")


def test_GIVEN_the_kill_input_of_one_channel_WHEN_active_THEN_only_that_one_is_off(unit):
    unit.at(500, ISET=1000)
    unit.set("VSET", "100", channel=1)
    unit.set("ON", channel=1)
    unit.model.step(5)
    unit.model.kill(0, True)
    unit.model.step(0.1)
    assert unit.status == KILL
    assert unit.read("VMON", 1) == 100.0


@pytest.mark.parametrize(("error", "bit"), [(20.0, OVV), (-20.0, UNV), (9.0, 0), (-9.0, 0)])
def test_GIVEN_a_faulty_regulation_WHEN_beyond_the_tolerance_THEN_OVV_or_UNV_show(unit, error, bit):
    unit.at(500, ISET=1000)
    unit.model.channels[0].error_volts = error
    assert unit.status == ON | bit
    assert unit.read("VMON") == 500.0 + error


def test_GIVEN_a_dead_output_WHEN_on_THEN_only_a_power_cycle_helps(unit):
    unit.at(500, ISET=1000)
    unit.model.channels[0].collapsed = True
    unit.model.step(1)
    assert (unit.status, unit.read("VMON"), unit.read("BDALARM", None)) == (ON | UNV, 0.0, UNV)
    unit.model.power_cycle()
    unit.set("ON")
    unit.model.step(10)
    assert (unit.status, unit.read("VMON")) == (ON, 500.0)


def test_GIVEN_settings_WHEN_power_is_cycled_THEN_they_are_kept_and_the_outputs_are_off(unit):
    unit.at(500, ISET=321.5, MAXV=600, RDW=7, TRIP=3.5, PDWN="RAMP", IMRANGE="LOW")
    before = {par: unit.word(par, 0) for par in (*SETTINGS, *CHOICES)}
    unit.model.power_cycle()
    unit.model.step(1)
    assert {par: unit.word(par, 0) for par in before} == before
    assert (unit.status, unit.read("VMON")) == (0, 0.0)


def test_GIVEN_LOCAL_WHEN_set_THEN_refused_and_reading_goes_on(unit):
    unit.model.local = True
    assert unit.refused(set_value(unit.dialect, "BDCLR")) == "LOC"
    assert unit.read("VSET") == 0.0


def test_GIVEN_a_profile_B_unit_WHEN_channels_are_in_alarm_THEN_BDALARM_has_a_bit_for_each():
    unit = Unit(Profile.B)
    unit.model.trip(1)
    unit.model.kill(3, True)
    unit.model.board_faults = 1 << 4
    assert unit.read("BDALARM", None) == 0b11010


def test_GIVEN_noise_WHEN_read_THEN_readings_scatter_the_same_way_for_the_same_seed():
    def readings(seed):
        unit = Unit(seed=seed)
        unit.model.noise_volts, unit.model.noise_microamps = 0.5, 0.05
        unit.at(500, ISET=1000)
        return [(unit.read("VMON"), unit.read("IMON")) for _ in range(20)]

    assert readings(3) == readings(3) != readings(4)
    assert len(set(readings(3))) > 5
    assert all(abs(volts - 500) < 5 for volts, _ in readings(3))


def test_a_corrupt_status_word_is_read_once(unit):
    unit.model.corrupt_status(0, 683)
    assert [unit.status, unit.status] == [683, 0]


def test_zero_current_sampling_ends_by_itself(unit):
    unit.set("ZCADJ", "EN")
    unit.set("ZCDTC", "ON")
    assert (unit.word("ZCADJ", 0), unit.word("ZCDTC", 0)) == ("EN", "ON")
    unit.model.step(3)
    assert unit.word("ZCDTC", 0) == "OFF"


PARAMETERS = {
    (Profile.A, "channel"): """
        VSET VMIN VMAX VSRES VSDEC VMON VMRES VMDEC ISET IMIN IMAXH IMAXL ISRES ISDEC IMON IMRANGE IMRESL IMRESH
        IMDECL IMDECH MAXV MVMIN MVMAX MVRES MVDEC RUP RUPMIN RUPMAX RUPRES RUPDEC RDW RDWMIN RDWMAX RDWRES RDWDEC
        TRIP TRIPMIN TRIPMAX TRIPRES TRIPDEC PDWN POL STAT ZCDTC ZCADJ""",
    (Profile.B, "channel"): """
        VSET VMIN VMAX VDEC VMON ISET IMIN IMAX ISDEC IMON IMRANGE IMDEC MAXV MVMIN MVMAX MVDEC RUP RUPMIN RUPMAX
        RUPDEC RDW RDWMIN RDWMAX RDWDEC TRIP TRIPMIN TRIPMAX TRIPDEC PDWN POL STAT""",
    (Profile.A, "board"): "BDNAME BDNCH BDFREL BDSNUM BDILK BDALARM MACADDR IPADDR SUBMASK GATEWAY DHCPEN",
    (Profile.B, "board"): "BDNAME BDNCH BDFREL BDSNUM BDILK BDALARM BDILKM BDCTR BDTERM",
}


@pytest.mark.parametrize("profile", Profile)
def test_every_parameter_of_a_profile_answers_and_no_other_one(profile):
    unit = Unit(profile)
    other = Profile.B if profile is Profile.A else Profile.A
    ours = {scope: set(PARAMETERS[profile, scope].split()) for scope in ("channel", "board")}
    theirs = {scope: set(PARAMETERS[other, scope].split()) - ours[scope] for scope in ours}
    assert all(len(unit.ask(monitor(unit.dialect, par, 4)).words(4)) == 4 for par in ours["channel"])
    assert all(unit.word(par) for par in ours["board"])
    assert {unit.refused(monitor(unit.dialect, par, 0)) for par in theirs["channel"]} == {"PAR"}
    assert {unit.refused(monitor(unit.dialect, par)) for par in theirs["board"]} == {"PAR"}


@pytest.mark.parametrize("par", SETTINGS)
def test_every_numeric_setting_is_kept_within_the_limits_it_tells(unit, par):
    setting = SETTINGS[par]
    step = 10.0**-setting.decimals
    for value in (setting.low, setting.high):
        unit.set(par, f"{value}")
        assert unit.read(par) == value
    for value in (setting.low - step, setting.high + step):
        assert unit.refused(set_value(unit.dialect, par, 0, f"{value:.3f}")) == "VAL"
    assert unit.read(par) == setting.high
    for text in ("1e2", "nan", "inf", "0x10", "1;2;3;4", "1 2"):
        assert unit.model.respond(f"$CMD:SET,CH:0,PAR:{par},VAL:{text}\r\n".encode()) == b"#VAL:ERR\r\n"


@pytest.mark.parametrize("par", [*CHOICES, "ZCDTC"])
def test_every_word_setting_takes_its_words_only(unit, par):
    for word in CHOICES[par][1] if par in CHOICES else ("ON", "OFF"):
        unit.set(par, word, channel=4)
        assert unit.word(par, 2) == word
    assert unit.refused(set_value(unit.dialect, par, 0, "MAYBE")) == "VAL"


def test_a_firmware_may_lack_parameters_and_group_reads(unit):
    unit.model.unknown.add("IMRANGE")
    unit.model.refuse_groups = True
    assert unit.refused(monitor(unit.dialect, "IMRANGE", 0)) == "PAR"
    assert unit.refused(monitor(unit.dialect, "VMON", 4)) == "CH"
    assert unit.read("VMON", 3) == 0.0


def test_units_differ_in_channels_loads_and_names():
    unit = Unit(Profile.B, channels=8, name="DT1471ET", serial="00042", loads=(1.0, 2.0), board=0)
    assert unit.word("BDNCH") == "8"
    assert unit.word("BDNAME") == "DT1471ET"
    assert unit.word("BDSNUM") == "00042"
    assert [channel.load for channel in unit.model.channels] == [1.0] + [2.0] * 7


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (b"\r\n", b""),
        (b"\xff\xfe\r\n", b"#CMD:ERR\r\n"),
        (b"$CMD:MON,CH:0,PAR:VMON,FOO:1\r\n", b"#CMD:ERR\r\n"),
        (b"$CMD:MON,CMD:SET,PAR:VMON\r\n", b"#CMD:ERR\r\n"),
        (b"$CMD:SET,CH:0,PAR:ON,VAL:0\r\n", b"#CMD:OK\r\n"),
        (b"$CMD:SET,PAR:BDCLR,VAL:None\r\n", b"#CMD:OK\r\n"),
        (b"$CMD:SET,PAR:BDNAME,VAL:X\r\n", b"#PAR:ERR\r\n"),
        (b"$CMD:MON,PAR:BDCLR\r\n", b"#PAR:ERR\r\n"),
        (b"$CMD:MON,CH:0,PAR:ON\r\n", b"#PAR:ERR\r\n"),
        (b"$CMD:MON,CH:-1,PAR:VMON\r\n", b"#CH:ERR\r\n"),
    ],
)
def test_odd_requests_have_these_answers(unit, request_, answer):
    assert unit.model.respond(request_) == answer


def test_a_misspelt_attribute_raises():
    for thing in (CaenModel(), SimulatedOutput()):
        with pytest.raises(AttributeError):
            thing.vsett = 1.0
