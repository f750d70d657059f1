"""What a site's address says: origins, a name for the source, a host to send to."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from gateway.config.addresses import host, origin
from gateway.errors import GatewayError

_SECOND_LEVEL = 3
"""`co.uk`, `com.au`: a second level this short belongs to the ending of a name with three parts."""


def origins_of(address: str) -> tuple[str, ...]:
    """`https://shop.example/x` → that origin, and the one with (or without) www. Raises GatewayError."""
    parts = urlsplit(address if "://" in address else f"https://{address}")
    try:
        first = origin(f"{parts.scheme}://{parts.netloc}")
    except ValueError as error:
        raise GatewayError(f"--site {address}: {error}") from None
    name = parts.hostname or ""
    if not re.search("[a-z]", name) or "." not in name:
        return (first,)
    twin = name.removeprefix("www.") if name.startswith("www.") else f"www.{name}"
    return (first, first.replace(f"//{name}", f"//{twin}", 1))


def source_of(origins: tuple[str, ...]) -> str:
    """A name for the source: `https://www.my-shop.co.uk` → `my_shop`."""
    if not re.search("[a-z]", site_name(origins)):
        return "site"
    labels = site_name(origins).split(".")
    if len(labels) > 1:
        labels = labels[:-1]
    if len(labels) > 1 and len(labels[-1]) <= _SECOND_LEVEL:
        labels = labels[:-1]
    name = re.sub("[^a-z0-9]+", "_", labels[-1]).strip("_")
    return name if re.match("[a-z]", name) else f"site_{name}".rstrip("_")


def site_name(origins: tuple[str, ...]) -> str:
    """The site's host without www."""
    return (urlsplit(origins[0]).hostname or "").removeprefix("www.")


def host_of(given: str | None, origins: tuple[str, ...]) -> str:
    """The gateway's host: as given, else `t.` before the site's name (an address stays). Raises GatewayError."""
    name = site_name(origins)
    try:
        return host(given or (f"t.{name}" if re.search("[a-z]", name) and ":" not in name else name))
    except ValueError as error:
        raise GatewayError(f"--host {given}: {error}") from None


def same_site(name: str, origins: tuple[str, ...]) -> bool:
    """Whether the host is a subdomain of the site, so that its cookies are first-party."""
    return name == site_name(origins) or name.endswith(f".{site_name(origins)}")
