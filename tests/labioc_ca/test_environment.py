"""Where a client searches when no address list says it."""

from __future__ import annotations

import socket
from types import SimpleNamespace

import psutil
import pytest

from labioc_ca.environment import broadcast_addresses


def _card(broadcast: str | None, family: int = socket.AF_INET) -> SimpleNamespace:
    return SimpleNamespace(family=family, broadcast=broadcast)


@pytest.mark.parametrize(
    ("cards", "found"),
    [
        ({"lo": [_card(None)], "eth0": [_card("10.0.0.255"), _card("10.0.1.255")]}, ["10.0.0.255", "10.0.1.255"]),
        ({"eth0": [_card("10.0.0.255")], "eth0:1": [_card("10.0.1.255")]}, ["10.0.0.255", "10.0.1.255"]),
        ({"eth1": [_card("10.0.2.255")], "eth1:1": [_card("10.0.3.255")]}, ["127.0.0.1"]),
        ({"eth0": [_card("ff:ff:ff:ff:ff:ff", socket.AF_PACKET), _card(None)]}, ["127.0.0.1"]),
    ],
    ids=["two addresses", "an address with a label", "a card that is down", "no broadcast address"],
)
def test_each_broadcast_address_of_each_card_that_is_up_is_searched(
    cards: dict[str, list[SimpleNamespace]], found: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = {"lo": "up,loopback,running", "eth0": "up,broadcast", "eth1": "broadcast,multicast"}
    states = {name: SimpleNamespace(flags=text) for name, text in flags.items()}
    monkeypatch.setattr(psutil, "net_if_stats", lambda: states)
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: cards)
    assert broadcast_addresses() == found
