"""Files of addresses as their publishers make them: a real MaxMind database, lists of networks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmdb_writer import MMDBWriter
from netaddr import IPSet


def city(country: str, region: str | None = None, name: str | None = None) -> dict[str, Any]:
    """A record in the shape of GeoLite2-City."""
    record: dict[str, Any] = {"country": {"iso_code": country, "names": {"en": country}}}
    if region:
        record["subdivisions"] = [{"iso_code": region, "names": {"en": region}}]
    if name:
        record["city"] = {"names": {"de": f"{name} (de)", "en": name}}
    return record


BERLIN, MONTREAL, PARIS = city("DE", "BE", "Berlin"), city("CA", "QC", "Montreal"), city("FR", "IDF", "Paris")
PLACES: Mapping[str, dict[str, Any]] = {
    "198.51.100.0/24": BERLIN,
    "203.0.113.0/24": MONTREAL,
    "2001:db8:1::/48": PARIS,
}


def write_database(path: Path, places: Mapping[str, Any] = PLACES, *, kind: str = "GeoLite2-City", version: int = 6) -> Path:
    """A `.mmdb` of networks and their records."""
    writer = MMDBWriter(version, kind, languages=["en"], ipv4_compatible=version == 6)
    for network, record in places.items():
        writer.insert_network(IPSet([network]), record)
    path.parent.mkdir(parents=True, exist_ok=True)
    writer.to_db_file(str(path))
    return path
