"""Which network addresses the server may dial on behalf of a caller."""

from __future__ import annotations

import ipaddress

_GLOBAL_UNICAST_V6 = ipaddress.IPv6Network("2000::/3")

# Forms that carry an IPv4 address inside an IPv6 one, or reach one through a relay: whatever is inside, nobody who
# serves images needs them, and the embedded address may be a private one.
_TRANSITION = tuple(
    ipaddress.ip_network(text)
    for text in (
        "::/96",  # IPv4-compatible, RFC 4291
        "::ffff:0:0/96",  # IPv4-mapped, RFC 4291
        "::ffff:0:0:0/96",  # IPv4-translated, RFC 2765
        "64:ff9b::/96",  # NAT64, RFC 6052
        "64:ff9b:1::/48",  # local-use NAT64, RFC 8215
        "2001::/32",  # Teredo, RFC 4380
        "2002::/16",  # 6to4, RFC 3056
        "192.88.99.0/24",  # 6to4 relays, RFC 7526
    )
)


def is_public(address: str) -> bool:
    """Tell whether an address is one of the public internet.

    Loopback, private, link-local, shared (CGNAT), documentation, multicast and reserved ranges are not, nor are IPv6
    forms that embed an IPv4 address.

    Args:
        address: A numeric IPv4 or IPv6 address. A scope (``%eth0``) makes it a local one. What is no address at all,
            such as the short and octal spellings of IPv4, is not public.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if not parsed.is_global or parsed.is_multicast or parsed.is_reserved or parsed.is_unspecified:
        return False
    if any(parsed.version == network.version and parsed in network for network in _TRANSITION):
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        return parsed.scope_id is None and parsed in _GLOBAL_UNICAST_V6
    return True
