"""What a source says of the links in its e-mails: the keys that sign them, and where clicks may lead."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from gateway.config.strict import Strict

MOST_KEYS = 8
SHORTEST_KEY = 16
_HOST = re.compile(r"(?=.{4,253}\Z)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9-]*[a-z][a-z0-9-]*", re.ASCII)


def _long_enough(key: SecretStr) -> SecretStr:
    text = key.get_secret_value()
    if len(text) < SHORTEST_KEY and not text.startswith("${"):
        raise ValueError(f"must have at least {SHORTEST_KEY} characters; make one with: openssl rand -base64 32")
    return key


def _name(value: str) -> str:
    name = value.strip().lower()
    if not _HOST.fullmatch(name):
        raise ValueError("must be a DNS name such as shop.example, without https:// and *; subdomains are included")
    return name


LinkKey = Annotated[SecretStr, AfterValidator(_long_enough)]
LinkHost = Annotated[str, AfterValidator(_name)]


class Links(Strict):
    """Links in e-mails; without keys there are none."""

    keys: list[LinkKey] = Field(
        default_factory=list,
        max_length=MOST_KEYS,
        description="keys that sign links in e-mails, as references: the first signs, all are believed; docs/email.md",
    )
    hosts: list[LinkHost] = Field(
        default_factory=list,
        description="where clicks may lead, subdomains included; without it to every https address that was signed",
    )

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """The keys as keys of an HMAC; the first signs."""
        return tuple(key.get_secret_value().encode() for key in self.keys)
