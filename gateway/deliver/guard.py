"""Which addresses a request may go to: the guard against server-side request forgery, applied to the socket itself.

URLs come from the operator's configuration, never from an event, but a name may resolve to anything and change its mind
between two look-ups. So the check is made on the socket address that is about to be connected, which also covers literals
in every spelling (`127.1`, `0x7f000001`, `[::ffff:127.0.0.1]`). Denied is all that is not a public unicast address:
`ipaddress.is_global` alone lets several through (NAT64, 6to4, site-local, a cloud's metadata host).

Exempt are the networks of `allow_private` and the loopback literals that the operator wrote as endpoint or URL setting.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from gateway.config.models import DestinationConfig

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_DENIED: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",
        "100.64.0.0/10",
        "168.63.129.16/32",
        "192.0.0.0/24",
        "192.88.99.0/24",
        "198.18.0.0/15",
        "224.0.0.0/3",
        "::/96",
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "100::/64",
        "2001::/23",
        "2002::/16",
        "fec0::/10",
        "ff00::/8",
    )
)
"""Beyond what `is_global` denies: each of these reaches, or can be made to reach, a host that is not a public one."""


class Blocked(OSError):
    """The address is not one that this destination may reach."""


class Guard:
    """The permission of one destination.

    >>> guard = Guard(networks=["10.1.0.0/16"], literals=[("127.0.0.1", 8099)])
    >>> guard.allows("93.184.215.14", 443)
    True
    """

    def __init__(self, networks: Iterable[str] = (), literals: Iterable[tuple[str, int]] = ()) -> None:
        self._networks = tuple(ipaddress.ip_network(text, strict=False) for text in networks)
        self._literals = frozenset((ipaddress.ip_address(host), port) for host, port in literals)

    def allows(self, host: str, port: int) -> bool:
        """Whether a socket may be connected to this IP address (text, as in a socket address)."""
        address = unwrapped(ipaddress.ip_address(host.partition("%")[0]))
        if (address, port) in self._literals or any(address in network for network in self._networks):
            return True
        return is_public(address)

    def permits_plain(self, host: str, port: int) -> bool:
        """Whether plain http may be spoken to this host of a URL although `allow_http` is off."""
        try:
            return (ipaddress.ip_address(host.strip("[]")), port) in self._literals
        except ValueError:
            return False

    def socket(self, info: tuple[Any, ...]) -> socket.socket:
        """A socket for an entry of getaddrinfo; the factory given to the connector. Raises Blocked."""
        family, kind, protocol, _name, address = info
        if family not in (socket.AF_INET, socket.AF_INET6) or not self.allows(address[0], address[1]):
            raise Blocked(errno.EACCES, f"address {address[0]} is not public; allow_private must name its network")
        return socket.socket(family=family, type=kind, proto=protocol)


def unwrapped(address: Address) -> Address:
    """The IPv4 address inside an IPv4-mapped IPv6 one."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address


def is_public(address: Address) -> bool:
    """Whether this is a unicast address of the public internet."""
    if not address.is_global or address.is_multicast or address.is_reserved:
        return False
    return not any(address.version == network.version and address in network for network in _DENIED)


def guard_of(config: DestinationConfig) -> Guard:
    """The permission that a destination's file gives."""
    written = [config.endpoint, *_texts(config.settings)]
    return Guard(config.allow_private, [found for text in written if (found := loopback_literal(text))])


def loopback_literal(url: str | None) -> tuple[str, int] | None:
    """Host and port of a URL whose host is a loopback address written out; None for any other text."""
    if not url or not url.startswith(("http://", "https://")):
        return None
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        return (host, port) if ipaddress.ip_address(host).is_loopback else None
    except ValueError:
        return None


def _texts(value: Any) -> Iterable[str]:
    """Every text in the settings, secrets among them (a webhook's URL may be one)."""
    if isinstance(value, str):
        yield value
    elif hasattr(value, "get_secret_value"):
        yield from _texts(value.get_secret_value())
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)
