"""Addresses and ports of the server: what base reads of the environment, and what is refused."""

from __future__ import annotations

import socket
from collections.abc import Mapping

import pytest

from ioc.server import network as module
from ioc.server.network import ANY, NetworkError, network


def test_GIVEN_an_empty_environment_WHEN_read_THEN_all_is_as_in_a_c_ioc() -> None:
    found = network({})
    assert (found.interfaces, found.port, found.beacon_port, found.beacon_period) == ((ANY,), 5064, 5065, 15.0)
    assert found.auto_beacons
    assert not found.beacons
    assert not found.ignored


@pytest.mark.parametrize(
    ("environ", "port"),
    [
        ({"EPICS_CA_SERVER_PORT": "6064"}, 6064),
        ({"EPICS_CA_SERVER_PORT": "6064", "EPICS_CAS_SERVER_PORT": "7064"}, 7064),
        ({"EPICS_CA_SERVER_PORT": "6064", "EPICS_CAS_SERVER_PORT": ""}, 6064),
    ],
)
def test_the_port_of_the_server_goes_before_that_of_clients(environ: Mapping[str, str], port: int) -> None:
    assert network(environ).port == port
    assert network(environ, port=0).port == 0


def test_several_addresses_and_one_with_a_port_are_listened_at() -> None:
    found = network({"EPICS_CAS_INTF_ADDR_LIST": "127.0.0.1:7000 127.0.0.2  127.0.0.1"})
    assert found.interfaces == ("127.0.0.1", "127.0.0.2")
    assert found.port == 5064


def test_the_site_file_overrules_the_environment() -> None:
    assert network({"EPICS_CAS_INTF_ADDR_LIST": "::1"}, ["localhost"]).interfaces == ("127.0.0.1",)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("EPICS_CAS_INTF_ADDR_LIST", "::1", "IPv4 address or host name of this computer"),
        ("EPICS_CAS_INTF_ADDR_LIST", "no-such-host.invalid", "no known host name"),
        ("EPICS_CAS_INTF_ADDR_LIST", "0.0.0.0 127.0.0.1", "0.0.0.0 beside other addresses"),
        ("EPICS_CAS_INTF_ADDR_LIST", "224.0.0.251", "multicast"),
        ("EPICS_CAS_INTF_ADDR_LIST", "127.0.0.1:x", "found '127.0.0.1:x'"),
        ("EPICS_CAS_SERVER_PORT", "high", "a port from 5001 to 65535"),
        ("EPICS_CA_SERVER_PORT", "80", "a port from 5001 to 65535"),
        ("EPICS_CAS_BEACON_PORT", "70000", "a port from"),
        ("EPICS_CAS_BEACON_PERIOD", "0", "above 0"),
        ("EPICS_CAS_BEACON_PERIOD", "nan", "above 0"),
        ("EPICS_CAS_AUTO_BEACON_ADDR_LIST", "maybe", "YES or NO"),
        ("EPICS_CAS_BEACON_ADDR_LIST", "127.0.0.1:0", "HOST or HOST:PORT"),
        ("EPICS_CA_MAX_ARRAY_BYTES", "much", "above 0"),
    ],
)
def test_what_is_not_understood_is_refused_and_named(name: str, value: str, words: str) -> None:
    with pytest.raises(NetworkError) as refusal:
        network({name: value})
    assert str(refusal.value).startswith(name)
    assert words in str(refusal.value)


def test_beacons_go_where_the_environment_says_and_to_this_computer_alone_on_a_trial_run() -> None:
    environ = {
        "EPICS_CAS_BEACON_ADDR_LIST": "127.0.0.2 127.0.0.3:6000",
        "EPICS_CAS_AUTO_BEACON_ADDR_LIST": "NO",
        "EPICS_CAS_BEACON_PORT": "6065",
    }
    assert network(environ).beacon_addresses() == [("127.0.0.2", 6065), ("127.0.0.3", 6000)]
    assert network({}, local_only=True).beacon_addresses() == [("127.0.0.1", 5065)]


def test_hosts_to_ignore_may_be_names() -> None:
    assert network({"EPICS_CAS_IGNORE_ADDR_LIST": "localhost 192.0.2.1"}).ignored == {"127.0.0.1", "192.0.2.1"}


def test_the_loopback_stands_for_itself() -> None:
    assert module.broadcasts_of("127.0.0.1") == ["127.0.0.1"]
    assert network({}, ["127.0.0.1"]).beacon_addresses() == [("127.0.0.1", 5065)]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        for address in module.broadcasts_of(ANY):
            sock.connect((address, 9))  # each is an address that can be sent to
