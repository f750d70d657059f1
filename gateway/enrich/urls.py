"""What a page's URL says: UTM values and click ids.

Names are compared without case; of a repeated name the first filled value wins. Click ids are verbatim (one percent-decoding,
`+` stays `+`), at most 512 characters of `A-Za-z0-9._~=+/-`, else they are not taken. UTM values are form text (`+` is a
space), trimmed and cut at 255 characters. Fragments are not read.
"""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

CLICK_IDS = {
    **{
        name: name for name in ("gclid", "dclid", "gbraid", "wbraid", "gclsrc", "gad_source", "gad_campaignid", "srsltid")
    },  # Google
    "fbclid": "fbclid",  # Meta
    "ttclid": "ttclid",  # TikTok
    "msclkid": "msclkid",  # Microsoft
    "twclid": "twclid",  # X
    "li_fat_id": "li_fat_id",  # LinkedIn
    "sccid": "sccid",  # Snap
    "epik": "epik",  # Pinterest
    "rdt_cid": "rdt_cid",  # Reddit
    **{"yclid": "yclid", "ysclid": "ysclid"},  # Yandex
    "qclid": "qclid",  # Quora
    **{"obclid": "obclid", "dicbo": "dicbo"},  # Outbrain
    "tblci": "tblci",  # Taboola
    **{"cto_pld": "cto_pld", "cto_bundle": "cto_bundle"},  # Criteo
    "tdid": "tdid",  # The Trade Desk
    "vmcid": "vmcid",  # Yahoo
    "irclickid": "irclickid",  # impact.com
    "awc": "awc",  # Awin
    "cjevent": "cjevent",  # CJ
    "ransiteid": "ran_site_id",  # Rakuten
    "sscid": "sscid",  # ShareASale
    "mc_cid": "mc_cid",  # Mailchimp: the mailing; its `mc_eid` is a person and is taken out
    "_tw_c": "tw_c",  # a link in an e-mail of our own
}
"""Query parameter → `ids` key."""

CAMPAIGN = {
    "utm_source": "source",
    "utm_medium": "medium",
    "utm_campaign": "name",
    "utm_term": "term",
    "utm_content": "content",
    "utm_id": "id",
    "utm_source_platform": "source_platform",
    "utm_creative_format": "creative_format",
    "utm_marketing_tactic": "marketing_tactic",
}
"""Query parameter → `campaign` key."""

MATOMO = {
    **{f"{prefix}_{name}": name for prefix in ("mtm", "pk") for name in ("source", "medium", "content")},
    **{f"{prefix}_campaign": "name" for prefix in ("mtm", "pk")},
    **{"mtm_keyword": "term", "pk_keyword": "term", "pk_kwd": "term", "mtm_cid": "id", "pk_cid": "id"},
}
"""The same in Matomo's words, for what no UTM value says."""

_READ = frozenset((*CLICK_IDS, *CAMPAIGN, *MATOMO))
MAX_UTM = 255
_CLICK = re.compile(r"[A-Za-z0-9._~=+/-]{1,512}")


def read(url: str) -> tuple[dict[str, str], dict[str, str]]:
    """(`ids`, `campaign`) of a URL."""
    ids: dict[str, str] = {}
    campaign: dict[str, str] = {}
    matomo: dict[str, str] = {}
    _, _, query = url.partition("#")[0].partition("?")
    for pair in query.split("&") if query else ():
        name, _, value = pair.partition("=")
        key = (unquote(name) if "%" in name else name).lower()
        if key not in _READ:
            continue
        if key in CLICK_IDS:
            click = unquote(value) if "%" in value else value
            if _CLICK.fullmatch(click):
                ids.setdefault(CLICK_IDS[key], click)
        elif key in CAMPAIGN and (text := _form(value)):
            campaign.setdefault(CAMPAIGN[key], text)
        elif key in MATOMO and (text := _form(value)):
            matomo.setdefault(MATOMO[key], text)
    return ids, {**matomo, **campaign} if matomo else campaign


def _form(value: str) -> str:
    text = unquote(value.replace("+", " ")) if "%" in value or "+" in value else value
    return "".join(character for character in text if character.isprintable()).strip()[:MAX_UTM]


def same_site(one: str, other: str) -> bool:
    """Whether two URLs are of one host, or one host is a subdomain of the other's (`www.` aside)."""
    a, b = _host(one), _host(other)
    return bool(a and b) and (a == b or a.endswith("." + b) or b.endswith("." + a))


def _host(url: str) -> str:
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return ""
    return host.removeprefix("www.")
