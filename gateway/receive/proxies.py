"""Networks that may speak for others: the names of `trusted_proxies` and how an address is looked up in them.

`private` and `cloudflare` are built in. `cloudfront` is not: its ranges change every few weeks and a stale list would
lose visitors' addresses, so they are read from the file `cloudfront-ranges.json` beside gateway.yaml, which is either of
the documents AWS publishes:

    curl -o cloudfront-ranges.json https://d7uri8nf7uskq.cloudfront.net/tools/list-cloudfront-ips
    curl -o cloudfront-ranges.json https://ip-ranges.amazonaws.com/ip-ranges.json
"""

from __future__ import annotations

import ipaddress
from bisect import bisect_right
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson

from gateway.errors import ConfigErrors, Problem

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

PRIVATE = (
    "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 127.0.0.0/8 169.254.0.0/16 100.64.0.0/10 ::1/128 fc00::/7 fe80::/10"
).split()
CLOUDFLARE_AS_OF = "2026-10-05"
"""The day the list below was last seen unchanged at https://www.cloudflare.com/ips/ (it has been the same since 2023)."""
CLOUDFLARE = """173.245.48.0/20 103.21.244.0/22 103.22.200.0/22 103.31.4.0/22 141.101.64.0/18 108.162.192.0/18
    190.93.240.0/20 188.114.96.0/20 197.234.240.0/22 198.41.128.0/17 162.158.0.0/15 104.16.0.0/13 104.24.0.0/14
    172.64.0.0/13 131.0.72.0/22 2400:cb00::/32 2606:4700::/32 2803:f800::/32 2405:b500::/32 2405:8100::/32
    2a06:98c0::/29 2c0f:f248::/32""".split()
CLOUDFRONT_FILE = "cloudfront-ranges.json"


class Networks:
    """A set of networks with a fast look-up: sorted, merged ranges per IP version."""

    def __init__(self, networks: Iterable[str]) -> None:
        parsed = [ipaddress.ip_network(network, strict=False) for network in networks]
        self._ranges: dict[int, tuple[list[int], list[int]]] = {}
        for version in (4, 6):
            merged = _merged((int(n.network_address), int(n.broadcast_address)) for n in parsed if n.version == version)
            self._ranges[version] = ([low for low, _ in merged], [high for _, high in merged])

    def __contains__(self, address: Address) -> bool:
        lows, highs = self._ranges[address.version]
        value = int(address)
        at = bisect_right(lows, value) - 1
        return at >= 0 and value <= highs[at]


def _merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], high))
        else:
            merged.append((low, high))
    return merged


@lru_cache(maxsize=8192)
def parse_address(text: str) -> Address | None:
    """An IP address as headers write it: brackets, port and zone are left out, v4-mapped forms become IPv4.

    None for anything else; `unknown` and obfuscated names are for the caller to tell apart.
    """
    text = text.strip()
    if text.startswith("["):
        inside, closed, after = text[1:].partition("]")
        if not closed or (after and not _is_port(after)):
            return None
        text = inside
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
        if not _is_port(f":{port}"):
            return None
        text = host
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if address.version == 6 else None
    return mapped or address


def _is_port(text: str) -> bool:
    digits = text[1:]
    return text[0] == ":" and digits.isascii() and digits.isdigit() and len(digits) <= 5 and int(digits) <= 65535


def cloudfront_ranges(folder: Path) -> list[str]:
    """The networks of the operator's file. Raises ConfigErrors when it is missing or not one of AWS's documents."""
    path = folder / CLOUDFRONT_FILE
    hint = f"get it with: curl -o {CLOUDFRONT_FILE} https://d7uri8nf7uskq.cloudfront.net/tools/list-cloudfront-ips"
    try:
        document: Any = orjson.loads(path.read_bytes())
    except OSError:
        raise ConfigErrors([Problem(f"trusted_proxies: cloudfront needs {path}; {hint}")]) from None
    except orjson.JSONDecodeError:
        raise ConfigErrors([Problem(f"it is not JSON; {hint}", str(path))]) from None
    networks = _cloudfront_networks(document)
    try:
        Networks(networks)
    except ValueError:
        networks = []
    if not networks:
        raise ConfigErrors([Problem(f"it lists no CloudFront networks; {hint}", str(path))])
    return networks


def _cloudfront_networks(document: Any) -> list[str]:
    if not isinstance(document, dict):
        return []
    listed = [*document.get("CLOUDFRONT_GLOBAL_IP_LIST", ()), *document.get("CLOUDFRONT_REGIONAL_EDGE_IP_LIST", ())]
    for key, field in (("prefixes", "ip_prefix"), ("ipv6_prefixes", "ipv6_prefix")):
        rows = [row for row in document.get(key, ()) if isinstance(row, dict) and row.get("service") == "CLOUDFRONT"]
        listed += [row[field] for row in rows if field in row]
    return [str(network) for network in listed]
