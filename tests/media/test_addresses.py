"""Which addresses may be dialled."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixano_inference.media.addresses import is_public

INSIDE = [
    "127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3",  # loopback, this network
    "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",  # private
    "169.254.169.254", "100.64.0.1", "100.127.255.255",  # link-local (cloud metadata), CGNAT
    "192.0.0.1", "192.0.2.1", "198.51.100.1", "203.0.113.1", "198.18.0.1",  # IETF, documentation, benchmarking
    "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "192.88.99.1",  # multicast, reserved, relays
    "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12:3456::1", "fec0::1", "ff02::1", "2001:db8::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "::ffff:0:7f00:1",
    "64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::1", "2002:7f00:1::", "2002:808:808::1", "2001:0:7f00:1::",
    "2606:4700::1%eth0", "100::1", "5f00::1",
    # no addresses at all
    "", "localhost", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "1.1.1.1.", " 1.1.1.1", "[::1]",
]  # fmt: skip


@pytest.mark.parametrize("address", INSIDE)
def test_addresses_inside_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "93.184.215.14", "2606:4700:4700::1111", "2a00:1450::1"])
def test_addresses_of_the_internet_are(address: str) -> None:
    assert is_public(address)


@given(st.ip_addresses(v=4))
def test_no_form_of_ipv4_inside_ipv6_is_public(address: ipaddress.IPv4Address) -> None:
    number = int(address)
    for network in ("::ffff:0:0", "::", "64:ff9b::", "::ffff:0:0:0"):
        assert not is_public(str(ipaddress.IPv6Address(int(ipaddress.IPv6Address(network)) | number)))
    assert not is_public(str(ipaddress.IPv6Address(0x2002 << 112 | number << 80)))


@given(st.text(max_size=60))
def test_no_text_raises(text: str) -> None:
    assert is_public(text) in (True, False)
