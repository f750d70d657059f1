"""What files of the operator say of an address: the place (a MaxMind database) and whether it is a data centre's.

    known = read_lookups(config)            # raises ConfigErrors
    known.place("198.51.100.7")             # Place("DE", "BE", "Berlin")
    known.is_datacentre("198.51.100.7")     # False

**The database** is any `.mmdb` with countries: GeoIP2 and GeoLite2 (Country, City, Enterprise) and what is built like them,
or the flat records of IPinfo (`country_code` or `country`). The library is the extra `geo`. The file is copied into memory,
since a mapped file that somebody writes over ends the process that reads it; so it may be replaced in any way, and each
process holds a copy. A damaged record says nothing, and the log says so once.

**Networks of data centres** are text, one network or address a line (`#` begins a comment, what follows the first blank or
comma is not read), or a JSON document in which every text that is a network counts. That is how AWS, Google Cloud, Azure and
Oracle publish theirs.

An address is looked up once and then remembered; a lookup that is remembered costs about 0.1 µs.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import re
from collections.abc import Iterable, Iterator
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import orjson

from gateway.config.models import Gateway
from gateway.errors import ConfigErrors, Problem
from gateway.receive.client import country_code
from gateway.receive.proxies import Networks, parse_address

log = logging.getLogger(__name__)

EXTRA = "pip install 'tagway[geo]'"
MAX_REMEMBERED = 65_536
MAX_LIST_BYTES = 64 * 2**20
MAX_DATABASE_BYTES = 2 * 2**30
LOOKED_AT = 2_000
"""Records of a new database of which at least one must have a country."""
_DESCRIPTORS = "/proc/self/fd"
_REGION = re.compile(r"[A-Za-z0-9]{1,3}")
_REST = re.compile(r"[\s,;#]")
_MAX_CITY = 100


class Place(NamedTuple):
    """Two-letter country, its region's code (ISO 3166-2 without the country) and the city, of each what is known."""

    country: str
    region: str | None = None
    city: str | None = None


class Database(Protocol):
    """What we need of `maxminddb.Reader`. Both raise where the file is damaged."""

    def get(self, ip_address: str) -> Any:
        """The record of an address; None where there is none."""

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        """(network, record) of all."""


class Lookups:
    """What is known of addresses. Without files nothing is."""

    def __init__(self, database: Database | None = None, datacentres: Networks | None = None) -> None:
        self._database = database
        self._datacentres = datacentres
        self._places: dict[str, Place | None] = {}
        self._hosted: dict[str, bool] = {}
        self._damaged = False

    def place(self, ip: str) -> Place | None:
        """Where an address is."""
        if self._database is None:
            return None
        try:
            return self._places[ip]
        except KeyError:
            _make_room(self._places)
            found = self._places[ip] = self._looked_up(self._database, ip)
            return found

    def is_datacentre(self, ip: str) -> bool:
        """Whether an address is in one of the listed networks."""
        if self._datacentres is None:
            return False
        known = self._hosted.get(ip)
        if known is None:
            _make_room(self._hosted)
            address = parse_address(ip)
            known = self._hosted[ip] = address is not None and address in self._datacentres
        return known

    def _looked_up(self, database: Database, ip: str) -> Place | None:
        try:
            return place_of(database.get(ip))
        except (ValueError, TypeError):
            return None  # no address, or one of IPv6 and a database of IPv4
        except RuntimeError as error:  # InvalidDatabaseError
            if not self._damaged:
                self._damaged = True
                log.error("the geo database is damaged", extra={"error": type(error).__name__})
            return None


NOTHING = Lookups()


def place_of(record: Any) -> Place | None:
    """The place in a database's record; None where it names no country."""
    if not isinstance(record, dict):
        return None
    country = record.get("country")
    code = country.get("iso_code") if isinstance(country, dict) else record.get("country_code") or country
    known = country_code(code) if isinstance(code, str) else None
    return Place(known, _region(record), _city(record)) if known else None


def _region(record: dict[str, Any]) -> str | None:
    parts = record.get("subdivisions")
    first = parts[0] if isinstance(parts, list) and parts else None
    code = first.get("iso_code") if isinstance(first, dict) else record.get("region_code")
    return code.upper() if isinstance(code, str) and _REGION.fullmatch(code) else None


def _city(record: dict[str, Any]) -> str | None:
    city = record.get("city")
    names = city.get("names") if isinstance(city, dict) else None
    name = names.get("en") if isinstance(names, dict) else city
    return name[:_MAX_CITY] if isinstance(name, str) and name else None


def read_lookups(config: Gateway) -> Lookups:
    """Read the files that the configuration names. Raises ConfigErrors with the problems of all of them."""
    problems: list[Problem] = []
    database, datacentres = None, None
    if config.geo.database:
        try:
            database = _database(Path(config.geo.database), config.file)
        except ConfigErrors as error:
            problems += error.problems
    try:
        datacentres = _datacentres(config.bots.datacentres)
    except ConfigErrors as error:
        problems += error.problems
    if problems:
        raise ConfigErrors(problems)
    return Lookups(database, datacentres) if database or datacentres else NOTHING


def _make_room(held: dict[str, Any]) -> None:
    if len(held) >= MAX_REMEMBERED:
        held.clear()


# ---------------------------------------------------------------- the database


def _database(path: Path, config_file: str) -> Database:
    try:
        import maxminddb
    except ImportError:
        raise ConfigErrors([Problem(f"geo.database needs the extra geo: {EXTRA}", config_file)]) from None
    data = _bytes(path, MAX_DATABASE_BYTES)
    try:
        reader: Database = _in_memory(maxminddb, data)
        located = any(place_of(record) for _, record in islice(reader, LOOKED_AT))
    except (RuntimeError, ValueError, TypeError):
        raise ConfigErrors([Problem("is not a MaxMind database (.mmdb), or is damaged", str(path))]) from None
    if not located:
        raise ConfigErrors([Problem("names no countries: take a database of countries or cities", str(path))])
    return reader


def _in_memory(maxminddb: Any, data: bytes) -> Any:
    """A reader of a copy in memory. The library's C part, 20 times as fast as its Python, reads paths only: it gets one."""
    if not os.path.isdir(_DESCRIPTORS):
        return maxminddb.open_database(BytesIO(data), maxminddb.MODE_FD)
    held = os.memfd_create("tagway-geo")
    try:
        with os.fdopen(held, "wb", closefd=False) as file:
            file.write(data)
        return maxminddb.open_database(f"{_DESCRIPTORS}/{held}", maxminddb.MODE_AUTO)
    finally:
        os.close(held)


# ---------------------------------------------------------------- networks


def _datacentres(files: Iterable[str]) -> Networks | None:
    networks: list[str] = []
    problems: list[Problem] = []
    for name in files:
        try:
            networks += networks_in(_bytes(Path(name), MAX_LIST_BYTES), name)
        except ConfigErrors as error:
            problems += error.problems
    if problems:
        raise ConfigErrors(problems)
    return Networks(networks) if networks else None


def networks_in(data: bytes, name: str) -> list[str]:
    """The networks of a file, text or JSON. Raises ConfigErrors, which name the file as `name`."""
    found = list(_of_json(data, name)) if data.lstrip()[:1] in (b"{", b"[") else list(_of_text(data, name))
    if not found:
        raise ConfigErrors([Problem("lists no networks", name)])
    return found


def _of_text(data: bytes, name: str) -> Iterator[str]:
    problems: list[Problem] = []
    for number, line in enumerate(data.decode("utf-8-sig", "replace").splitlines(), 1):
        text = _REST.split(line.strip(), maxsplit=1)[0]
        if not text:
            continue
        if (why := _wrong(text)) is None:
            yield text
        else:
            problems.append(Problem(why, name, number))
    if problems:
        raise ConfigErrors(problems[:20])


def _of_json(data: bytes, name: str) -> Iterator[str]:
    try:
        waiting: list[Any] = [orjson.loads(data)]
    except orjson.JSONDecodeError:
        raise ConfigErrors([Problem("begins like JSON and is none", name)]) from None
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str) and "/" in value and _wrong(value) is None:
            yield value


def _wrong(text: str) -> str | None:
    """Why a text is no network that could be listed; None where it is one."""
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return "is not a network such as 198.51.100.0/24"
    return "holds every address there is" if network.prefixlen == 0 else None


def _bytes(path: Path, most: int) -> bytes:
    try:
        if path.stat().st_size > most:
            raise ConfigErrors([Problem(f"is over {most // 2**20} MiB", str(path))])
        return path.read_bytes()
    except OSError as error:
        raise ConfigErrors([Problem(f"cannot be read: {error.strerror or error}", str(path))]) from None
