"""The screens as files: what they show exists, what writes asks first, nothing lies on top of something else."""

from __future__ import annotations

import json
import re
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import replace

import pytest

from ioc.export import compose, phoebus, systemd
from ioc.export.alarm import alarms
from ioc.export.plant import Plant, states
from ioc.site.config import only, parse_site
from tests.ioc.export import plants
from tests.ioc.export.bobs import Walk

DANGEROUS = re.compile(r":(ON|GO|DISABLE|ARMED|EMCY:CMD|CLR:CMD|SAFE:CMD)$")
PROPERTIES = {
    "label": {"text", "font", "foreground_color", "background_color", "transparent", "horizontal_alignment",
              "vertical_alignment", "wrap_words", "rules"},
    "rectangle": {"line_width", "background_color"},
    "textupdate": {"pv_name", "font", "foreground_color", "background_color", "format", "show_units",
                   "horizontal_alignment", "vertical_alignment", "wrap_words", "rules"},
    "textentry": {"pv_name", "font", "foreground_color", "background_color", "horizontal_alignment",
                  "vertical_alignment"},
    "combo": {"pv_name", "font", "foreground_color", "background_color", "show_confirm_dialog", "confirm_message"},
    "action_button": {"actions", "pv_name", "text", "font", "foreground_color", "background_color", "rules",
                      "show_confirm_dialog", "confirm_message"},
    "progressbar": {"pv_name", "fill_color", "background_color"},
    "embedded": {"file", "macros", "transparent"},
    "databrowser": {"file"},
    "xyplot": {"title", "background_color", "foreground_color", "x_axis", "y_axes", "traces"},
}  # fmt: skip
"""Properties that the widgets of Phoebus have, of those that are used."""
EVERY = {"name", "x", "y", "width", "height"}
VERSIONS = {"action_button": "3.0.0", "textentry": "3.0.0", "xyplot": "3.0.0"}


@pytest.fixture(scope="module")
def plant() -> Plant:
    return plants.plant()


@pytest.fixture(scope="module")
def files(plant: Plant) -> dict[str, str]:
    return phoebus.write(plant)


@pytest.fixture(scope="module")
def walk(files: dict[str, str]) -> Walk:
    found = Walk(files)
    found.open("overview.bob", {})
    return found


@pytest.fixture(scope="module")
def screens(files: dict[str, str]) -> dict[str, ET.Element]:
    return parsed(files)


def parsed(files: Mapping[str, str]) -> dict[str, ET.Element]:
    return {name: ET.fromstring(text) for name, text in files.items() if name.endswith(".bob")}


def test_every_screen_is_reached_from_the_overview_without_macros(files: dict[str, str], walk: Walk) -> None:
    assert {name for name, _ in walk.seen} == {name for name in files if not name.startswith("web/")} - {"color.def"}
    assert ("hv-channel-iseg-edcp.bob", "ISEG4", "15") in {
        (name, dict(macros).get("DEV"), dict(macros).get("CH")) for name, macros in walk.seen
    }


def test_every_pv_shown_is_served(plant: Plant, walk: Walk) -> None:
    long = {f"{name}$" for name, record in plant.records.items() if record.rtyp == "lsi"}
    assert walk.pvs <= plant.records.keys() | long
    # and what an operator looks for is shown
    for record in plant.records.values():
        if "alarm" in record.info or record.info.get("access") == "O":
            assert {record.name, f"{record.name}$"} & walk.pvs, record.name


def test_only_what_may_be_written_is_and_what_is_dangerous_asks(plant: Plant, walk: Walk) -> None:
    assert walk.writes
    for file, pv, widget in walk.writes:
        assert plant.records[pv].info["access"] in {"O", "E"}, f"{file} writes {pv}"
        if DANGEROUS.search(pv) or widget.get("type") == "combo":
            assert widget.findtext("show_confirm_dialog") == "true", f"{file} writes {pv}"
            assert widget.findtext("confirm_message"), f"{file} writes {pv}"


def test_a_button_writes_one_value_to_one_pv_and_it_is_that_of_its_label(plant: Plant, walk: Walk) -> None:
    for file, pv, widget in walk.writes:
        if widget.get("type") == "action_button":
            (action,) = widget.iter("action")
            value, text = action.findtext("value", ""), widget.findtext("text", "")
            labels = [label for label, _ in states(plant.records[pv])]
            if pv.endswith(":CMD"):
                assert value == "1", f"{file}: {text}"
            else:
                assert text in (labels[int(value)], f"HV {labels[int(value)]} ALL"), f"{file}: {text}"


def test_widgets_have_the_types_versions_and_properties_of_phoebus(screens: dict[str, ET.Element]) -> None:
    for name, root in screens.items():
        assert (root.tag, root.get("version")) == ("display", "2.0.0")
        for widget in root.iter("widget"):
            kind = widget.get("type", "")
            assert {child.tag for child in widget} <= PROPERTIES[kind] | EVERY, name
            assert widget.get("version") == VERSIONS.get(kind, "2.0.0"), name
        names = [widget.findtext("name") for widget in root.findall("widget")]
        assert len(set(names)) == len(names), name
        assert not list(root.iter("script")), name


def test_a_text_made_of_pvs_is_a_question_mark_until_all_of_them_are_known(screens: dict[str, ET.Element]) -> None:
    seen = set()
    for name, root in screens.items():
        for widget in root.iter("widget"):
            rule = widget.find("rules/rule[@prop_id='text']")
            if rule is not None:
                assert widget.findtext("text", "").startswith("?"), f"{name}: {widget.findtext('name')}"
                texts = {exp.findtext("value"): exp.get("bool_exp", "") for exp in rule.iter("exp")}
                seen |= texts.keys()
                if "OK" in texts:
                    assert texts["OK"].count("== 0") == len(rule.findall("pv_name")), name
    assert {"OK", "MINOR", "MAJOR", "INVALID", "0 on"} <= seen


def test_colours_and_fonts_have_names(files: dict[str, str], screens: dict[str, ET.Element]) -> None:
    own = {line.split(" = ")[0] for line in files["color.def"].splitlines() if " = " in line}
    known = own | {"On", "MINOR", "MAJOR", "INVALID", "Attention"}
    for name, root in screens.items():
        assert {color.get("name") for color in root.iter("color") if color.attrib} <= known, name
        assert {font.get("name") for font in root.iter("font") if len(font.attrib)} <= {
            "Default", "Default Bold", "Header 1", "Header 2", "Header 3", "Fine Print",
        }, name  # fmt: skip


def test_nothing_is_outside_its_screen_or_on_top_of_something_else(screens: dict[str, ET.Element]) -> None:
    for name, root in screens.items():
        size = (int(root.findtext("width", "")), int(root.findtext("height", "")))
        boxes = [
            (*(int(w.findtext(tag, "")) for tag in ("x", "y", "width", "height")), w.findtext("name"))
            for w in root.findall("widget")
            if w.get("type") != "rectangle"
        ]
        for x, y, width, height, widget in boxes:
            inside = min(x, y) >= 0 and x + width <= size[0] and y + height <= size[1]
            assert inside, f"{name}: {widget}"
        for index, (x, y, width, height, widget) in enumerate(boxes):
            for left, top, wide, high, other in boxes[index + 1 :]:
                apart = x + width <= left or left + wide <= x or y + height <= top or top + high <= y
                assert apart, f"{name}: {widget} and {other}"


def test_screens_fit_a_window_on_an_operators_monitor(files: dict[str, str], screens: dict[str, ET.Element]) -> None:
    for name, root in screens.items():
        assert int(root.findtext("width", "")) <= 1280, name
    for name in ("overview.bob", "HV1.bob", "ISEG1.bob", "hv-channel-caen-dt55xx.bob", "furnace-eurotherm-3200.bob"):
        assert "<height>770</height>" in files[name], name


def test_the_web_files_differ_by_the_default_of_the_prefix_and_by_opening_in_place(files: dict[str, str]) -> None:
    for name, text in files.items():
        if name.startswith("web/"):
            assert "$(P=" not in text
            theirs = files[name.removeprefix("web/")].replace("<target>tab</target>", "<target>replace</target>")
            assert text.replace("$(P)", "$(P=LAB)") == theirs
    found = Walk({name.removeprefix("web/"): text for name, text in files.items() if name.startswith("web/")})
    found.open("overview.bob", {"P": "OTHER"})
    assert found.pvs
    assert all(pv.startswith("OTHER:") for pv in found.pvs)


@pytest.mark.parametrize("first", [True, False])
def test_devices_of_one_type_with_other_records_have_screens_of_their_own(first: bool) -> None:
    basic, full = "safe_temperature = 20\n", 'detail = "full"\n'
    texts = plants.site_file().split(basic)
    site = Plant.build(
        [parse_site(tomllib.loads((full if first else basic).join(texts[:2]) + (basic if first else full) + texts[2]))]
    )
    found = Walk(phoebus.write(site))
    found.open("overview.bob", {})
    assert found.pvs <= site.records.keys() | {f"{name}$" for name in site.records}
    shown = {f"LAB:FURN{number}:TMR:STATE" for number in (1, 2)} & found.pvs
    assert shown == {"LAB:FURN1:TMR:STATE" if first else "LAB:FURN2:TMR:STATE"}
    test_nothing_is_outside_its_screen_or_on_top_of_something_else(parsed(found.files))


BRIDGE = """
[[archiver.influxdb]]
name = "main"
url = "http://127.0.0.1:8086"
version = 1
database = "lab"
"""


def test_the_archiver_is_shown_where_the_site_has_one(files: dict[str, str]) -> None:
    site = plants.plant(plants.HEAD + BRIDGE)
    shown = phoebus.write(site)
    for name in ("overview.bob", "server.bob"):
        assert "$(P=LAB):ARCH:STATE" in shown[name]
        assert "$(P=LAB):ARCH:MSG$" in shown[name]
        assert ":ARCH:" not in files[name]
    test_nothing_is_outside_its_screen_or_on_top_of_something_else(parsed(shown))
    test_screens_fit_a_window_on_an_operators_monitor(shown, parsed(shown))


def test_each_of_several_bridges_to_databases_is_shown_alarmed_and_started() -> None:
    site = parse_site(tomllib.loads(plants.site_file(head=plants.HEAD + BRIDGE)))
    three = Plant.build([site], 3)
    shown = phoebus.write(three)
    for name in ("overview.bob", "server.bob"):
        assert all(f"$(P=LAB):SHARD{number}:ARCH:STATE" in shown[name] for number in (1, 2, 3))
        assert "$(P=LAB):ARCH:" not in shown[name]
    test_nothing_is_outside_its_screen_or_on_top_of_something_else(parsed(shown))
    lamps = {one.pv: (one.path, one.description) for one in alarms(three) if one.pv.endswith(":ARCH:STATE")}
    about = "the archiver does not write, or is losing points"
    assert lamps == {
        f"LAB:SHARD{number}:ARCH:STATE": (["Server", f"Archiver SHARD{number}"], f"SHARD{number}: {about}")
        for number in (1, 2, 3)
    }
    units = systemd.write(three)
    assert [name for name in units if "archive" in name] == [f"labioc-archive-{number}.service" for number in (1, 2, 3)]
    assert "archive /etc/labioc/site.toml --shard 2/3\n" in units["labioc-archive-2.service"]
    services = json.loads(compose.write(three)["compose.yaml"])["services"]
    assert services["archiver-3"]["command"][-2:] == ["--shard", "3/3"]


def test_what_became_of_everything_off_is_on_the_overview(files: dict[str, str]) -> None:
    assert "$(P=LAB):GRP:ALL:MSG$" in files["overview.bob"]


GROUPS = """
[[group]]
name = "CALO"
members = ["CALO1:*", "HV2:CH0[0-3]", "FURN1"]
on = "keep"
[[interlock]]
name = "HOT"
condition = "FURN1:TEMP < 80 C"
action = "off"
members = ["CALO1:*"]
"""


def test_groups_and_interlocks_are_shown_with_what_moves_and_acknowledges_them() -> None:
    site = plants.plant(f"{plants.HEAD}\n{GROUPS}")
    shown = phoebus.write(site)
    walk = Walk(shown)
    walk.open("overview.bob", {})
    for check in (test_every_pv_shown_is_served, test_only_what_may_be_written_is_and_what_is_dangerous_asks):
        check(site, walk)
    test_every_screen_is_reached_from_the_overview_without_macros(shown, walk)
    test_nothing_is_outside_its_screen_or_on_top_of_something_else(parsed(shown))
    test_widgets_have_the_types_versions_and_properties_of_phoebus(parsed(shown))
    written = {pv for _, pv, _ in walk.writes}
    assert written >= {"LAB:GRP:CALO:GO", "LAB:GRP:CALO:HOLD:CMD", "LAB:ILK:HOT:ACK:CMD", "LAB:ILK:HOT:BYPASS"}
    assert "CALO1:PMT07" in shown["group-CALO.bob"]
    assert "LAB):FURN1:SETTLED" in shown["group-CALO.bob"]


def _all_off_button(site: Plant) -> ET.Element:
    found = Walk(phoebus.write(site))
    found.open("overview.bob", {})
    (button,) = {w for _, _, w in found.writes if w.findtext("text") == "HV OFF ALL"}
    assert button.findtext("show_confirm_dialog") == "true"
    assert {action.findtext("value") for action in button.iter("action")} == {"0"}
    return button


def test_everything_off_is_one_put_to_one_pv_where_the_site_has_outputs(plant: Plant) -> None:
    (action,) = _all_off_button(plant).iter("action")
    assert str(action.findtext("pv_name")).endswith(":GRP:ALL:GO")
    without = replace(plant, groups={}, records={name: r for name, r in plant.records.items() if ":GRP:" not in name})
    assert not any("HV OFF ALL" in text for text in phoebus.write(without).values())


def test_everything_off_is_one_button_for_all_servers_of_a_site() -> None:
    whole = plants.plant().site
    parts = [only(whole, ["HV1", "FURN1"]), only(whole, ["HV2", "FURN2"]), only(whole, ["ISEG1", "ISEG2"])]
    button = _all_off_button(Plant.build(parts))
    names = [str(action.findtext("pv_name")).partition(":")[2] for action in button.iter("action")]
    assert names == ["GRP:ALL_HV1:GO", "GRP:ALL_HV2:GO", "GRP:ALL_ISEG1:GO"]
    actions = button.find("actions")
    assert actions is not None
    assert actions.get("execute_as_one") == "true"
