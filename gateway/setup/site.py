"""What a site's address says: origins, a name for the source, a host to send to."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from gateway.config.addresses import host, origin
from gateway.config.suffixes import registrable
from gateway.errors import GatewayError


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
    name = site_name(origins)
    if not re.search("[a-z]", name):
        return "site"
    own = (registrable(name) or name).partition(".")[0]
    found = re.sub("[^a-z0-9]+", "_", own).strip("_")
    return found if re.match("[a-z]", found) else f"site_{found}".rstrip("_")


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


def domain_of(name: str, origins: tuple[str, ...]) -> str | None:
    """The domain whose cookies the host `name` and the site share; None where there is none."""
    domain = registrable(name)
    return domain if domain is not None and domain == registrable(site_name(origins)) else None
