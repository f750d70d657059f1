"""Hosts, origins, listeners, base URLs and keys as a customer may write them; each function raises ValueError in words."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from urllib.parse import SplitResult, urlsplit

_HOST = re.compile(r"(?=.{1,253}\Z)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*\.?")
_KEY = re.compile(r"[!-9;-~]{4,200}")
_STREAM = re.compile(r"G-[A-Z0-9]{4,20}|[0-9]{1,3}:[0-9]{4,20}:(android|ios|web):[0-9a-f]{8,64}")
_PATH = re.compile(r"/?([A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)*)?/?")
_DEFAULT_PORTS = {"http": 80, "https": 443}


def listen_address(value: str) -> str:
    """`127.0.0.1:9090`, `[::1]:9090`, `localhost:0`."""
    name, _, port = value.rpartition(":")
    good = _HOST.fullmatch(name.lower()) or (name.startswith("[") and name.endswith("]") and _is_address(name[1:-1]))
    if not good or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise ValueError("must be host:port, for example 127.0.0.1:9090")
    return value


def host(value: str) -> str:
    """A host name or IP address without scheme, port or path, in lower case."""
    if "*" in value:
        raise ValueError("must name each host; * is not read")
    if "://" in value or "/" in value:
        raise ValueError("must be a host name alone, without https:// and without a path")
    name = _lower_ascii(value.strip("[]"))
    if _is_address(name):
        return name
    if ":" in name:
        raise ValueError("must be a host name without a port")
    if not _HOST.fullmatch(name):
        raise ValueError("must be a host name such as t.shop.example")
    return name.removesuffix(".")


def origin(value: str) -> str:
    """Exactly what a browser sends in `Origin`: scheme://host or scheme://host:port, in lower case."""
    if value.strip().lower() in ("null", "*") or "*" in value:
        raise ValueError(f"must name each origin exactly; {'null' if 'null' in value.lower() else '*'} is refused")
    parts = _split(value)
    if parts is None or not parts.scheme or not parts.hostname:
        raise ValueError("must be scheme://host, for example https://shop.example")
    name = host(parts.hostname)
    written = f"[{name}]" if ":" in name else name
    exact = f"{parts.scheme.lower()}://{written}"
    if parts.path or parts.query or parts.fragment or parts.username is not None:
        raise ValueError(f"must end after the host: {exact}")
    if parts.port is None:
        return exact
    if _DEFAULT_PORTS.get(parts.scheme.lower()) == parts.port:
        raise ValueError(f"must leave out the port, as browsers do: {exact}")
    return f"{exact}:{parts.port}"


def base_url(value: str) -> str:
    """scheme://host[:port][/prefix], without a slash at the end."""
    parts = _split(value)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be https://host, https://host:port or https://host/prefix")
    if parts.query or parts.fragment or "?" in value or "#" in value:
        raise ValueError("must end after the path: no ? and no #")
    if parts.username is not None:
        raise ValueError("must not hold a user name or password; use settings for these")
    host(parts.hostname)
    return value.rstrip("/")


def write_key(value: str) -> str:
    """A public key that names a source: it travels in URLs and in Basic auth, so no blanks and no colon."""
    if not _KEY.fullmatch(value):
        raise ValueError("must have 4 to 200 visible characters without a colon, for example wk_shop_7f3k2m")
    return value


def measurement_id(value: str) -> str:
    """The id of a GA4 data stream: `G-…` of a web stream, `1:…:android:…` (a Firebase app id) of an app stream."""
    if not _STREAM.fullmatch(value):
        raise ValueError(
            "must be a measurement id such as G-AB12CD34EF, or a Firebase app id such as 1:1234567890:android:0a1b2c3d4e5f"
        )
    return value


def url_path(value: str) -> str:
    """The path of a route, such as `/m` or `t.js`: nothing that a URL would have to escape."""
    if not _PATH.fullmatch(value):
        raise ValueError("must be a path such as /m or t.js, of letters, digits, . _ ~ - and /")
    return value


@lru_cache(maxsize=256)
def is_loopback(name: str) -> bool:
    """Whether a host names this machine: localhost, 127.0.0.0/8 or ::1. Remembered: a site has few hosts."""
    name = name.strip("[]").lower()
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def is_loopback_literal(url: str) -> bool:
    """Whether a URL's host is a loopback address written out (a name, even localhost, may resolve to anything)."""
    parts = _split(url)
    return bool(parts and parts.hostname and _is_address(parts.hostname) and is_loopback(parts.hostname))


def _split(value: str) -> SplitResult | None:
    try:
        parts = urlsplit(value)
        _ = parts.port  # reading it raises for a port that is none
    except ValueError:
        return None
    return None if any(c.isspace() for c in value) or "\\" in value else parts


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _lower_ascii(value: str) -> str:
    if value.isascii():
        return value.lower()
    try:
        ascii_form = value.lower().encode("idna").decode()
    except UnicodeError:
        raise ValueError("must be a host name such as t.shop.example") from None
    raise ValueError(f"must be written as browsers send it: {ascii_form}")
