"""The same puts on the C softIoc and on the server under test leave the same trace."""

from __future__ import annotations

import difflib

import pytest

from tests.libca import Context
from tests.parity.differences import tolerated
from tests.parity.link_scenarios import SCENARIOS
from tests.parity.player import Player

# A second softIoc in place of labioc shows that the comparison itself is sound; a few scenarios are enough for that.
_SOUND = ("zones_f_ai", "deadbands_f_ao", "ack_f_mbbi", "periodic_scan", "filters")


@pytest.mark.parametrize(
    ("candidate", "name"),
    [*(("softioc", name) for name in _SOUND), *(("labioc", name) for name in SCENARIOS)],
    indirect=["candidate"],
    scope="session",
)
def test_GIVEN_equal_records_WHEN_both_servers_get_the_same_puts_THEN_clients_see_the_same(
    clients: tuple[Context, Context], candidate_name: str, name: str
) -> None:
    transcripts: list[list[str]] = []
    for context in clients:
        player = Player(context, f"{name.upper()}:")
        SCENARIOS[name](player)
        transcripts.append(player.log)
    expected, got = (tolerated(name, lines) for lines in transcripts)
    difference = "\n".join(difflib.unified_diff(expected, got, "softioc", candidate_name, lineterm="", n=4))
    assert not difference, f"\n{difference}"
