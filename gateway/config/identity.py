"""What a source says of the first-party cookies by which visitors are known again."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from gateway.config.strict import Strict
from gateway.config.suffixes import registrable

SHORTEST_KEY = 16
_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}", re.ASCII)
DOMAIN = re.compile(r"(?=.{3,253}\Z)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]*[a-z0-9]", re.ASCII)


def _cookie(value: str) -> str:
    if not _NAME.fullmatch(value) or value.startswith(("__Host-", "__Secure-")):
        raise ValueError("must be a cookie's name of letters, digits, _ and -, at most 40")
    return value


def _domain(value: str) -> str:
    name = value.strip().lower().removeprefix(".")
    if not DOMAIN.fullmatch(name):
        raise ValueError("must be the site's own domain such as .shop.example")
    if registrable(name) is None:
        raise ValueError(f"must be a domain of your own: under {name} anybody can have one, so browsers drop such cookies")
    return name


def _long_enough(key: SecretStr) -> SecretStr:
    text = key.get_secret_value()
    if len(text) < SHORTEST_KEY and not text.startswith("${"):
        raise ValueError(f"must have at least {SHORTEST_KEY} characters; make one with: openssl rand -base64 32")
    return key


Domain = Annotated[str, AfterValidator(_domain)]


class Identity(Strict):
    """The visitor's id, sessions and click ids, in cookies that the gateway sets where consent allows storage."""

    cookie: Annotated[str, AfterValidator(_cookie)] = Field(
        default="_tw_id", description="name of the id's cookie; some lists of trackers name cookies, so choose your own"
    )
    domain: Domain | None = Field(
        default=None,
        description="the site's domain, such as `.shop.example`: its pages and this host share the cookies; "
        "default: cookies of the tagging host alone",
    )
    days: int = Field(
        default=400, ge=0, le=400, description="how long the id lives after the last visit; 0: no cookie is set or read"
    )
    linked: list[Domain] = Field(
        default_factory=list, description="the company's other domains, whose links (`_gl`) may hand a visitor over"
    )
    key: Annotated[SecretStr, AfterValidator(_long_enough)] | None = Field(
        default=None,
        description="what signs the cookies, as a reference: the same on every node; default: a secret of this node's store",
    )
