"""What is known of a visitor's address: headers of a trusted proxy, and files that the operator keeps beside gateway.yaml.

The files are read by gateway/enrich/lookups.py; loading a configuration only finds out whether they are there, and has them
watched.
"""

from __future__ import annotations

from pydantic import Field

from gateway.config.strict import Strict


class Geo(Strict):
    """Where the visitor is: a trusted proxy's word first, then the database."""

    country_header: str | None = Field(
        default=None, description="header with the two-letter country, such as `CF-IPCountry`; read from trusted proxies only"
    )
    region_header: str | None = Field(default=None, description="header with the region's code")
    city_header: str | None = Field(default=None, description="header with the city's name")
    database: str | None = Field(
        default=None,
        description="a MaxMind file (`.mmdb`) of countries or cities, asked where no header says it; needs "
        "`pip install 'tagway[geo]'`; a file put in its place is read within seconds",
    )

    @property
    def known(self) -> bool:
        """Whether anything says where a visitor is."""
        return bool(self.country_header or self.database)


class BotFiles(Strict):
    """Lists that bot scores are made with."""

    datacentres: list[str] = Field(
        default_factory=list,
        description="files of networks of data centres: one a line, or the JSON that AWS, Google, Azure and Oracle publish; "
        "hits of browsers from there get the reason `datacentre`",
    )
