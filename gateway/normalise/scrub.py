"""What must not stay in the URL of a page: e-mail addresses, and tokens that open something or name a person.

    scrubbed("https://shop.example/reset?token=abc&gclid=Cj0K1")        # 'https://shop.example/reset?gclid=Cj0K1'

A parameter of `PERSONAL` is taken out whole, as is one whose value holds an e-mail address; an address in a path becomes
`redacted`; user name and password before the host go. The rest of the URL stays byte by byte: click ids and UTM values are not
touched. Fragments are looked at in the same way, since single-page apps keep parameters there.

A referrer is where a visitor came from: a page or an app. What is neither goes whole: words of trackers (`$direct`, `null`),
pages of a browser (`about:blank`, extensions), and files, whose paths name people.
"""

from __future__ import annotations

import re
from typing import Any

PERSONAL = frozenset(
    """access_token auth_token id_token refresh_token api_key apikey token password passwd pwd secret sig signature otp
    reset_token reset_key session_id sessionid phpsessid jsessionid email e-mail mail email_address phone tel first_name
    last_name mc_eid _hsenc __hssc __hstc mkt_tok vero_id vero_conv _kx sfmc_sub bxid oly_enc_id oly_anon_id ml_subscriber
    ml_subscriber_hash rb_clickid s_cid _bta_tid trk_contact trk_msg wickedid""".split()
)
"""Query parameters, in lower case."""
REDACTED = "redacted"
_PLACES = ("https://", "http://", "android-app://", "ios-app://", "//")
_EMAIL = re.compile(r"[A-Za-z0-9._%+-]{1,64}(?:@|%40)[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}", re.IGNORECASE)
_USER_INFO = re.compile(r"^([a-z][a-z0-9+.-]*:)?//[^/?#@]*@", re.IGNORECASE)


def scrubbed(url: str) -> str:
    """The URL without what is personal or secret; the same text where there is nothing of it."""
    mail = "@" in url or "%40" in url
    if not mail and "#" not in url and not _names_personal(url):
        return url
    if mail:
        url = _USER_INFO.sub(lambda match: f"{match[1] or ''}//", url)
    rest, hash_mark, fragment = url.partition("#")
    path, question_mark, query = rest.partition("?")
    if mail:
        path = _EMAIL.sub(REDACTED, path)
    if query:
        query = _pairs(query, mail)
        question_mark = "?" if query else ""
    if "=" in fragment or mail:
        start, mark, tail = fragment.rpartition("?")
        fragment = (_EMAIL.sub(REDACTED, start) if mail else start) + mark + _pairs(tail, mail)
        hash_mark = "#" if fragment else ""
    return f"{path}{question_mark}{query}{hash_mark}{fragment}"


def _names_personal(url: str) -> bool:
    """Whether a parameter of a URL has a personal name: all that nearly every URL needs to be asked."""
    if "?" in url:
        for pair in url.partition("?")[2].split("&"):
            name, equals, _ = pair.partition("=")
            if equals and name.lower() in PERSONAL:
                return True
    return False


def _pairs(query: str, mail: bool) -> str:
    pairs = query.split("&")
    kept = [pair for pair in pairs if not _personal(pair, mail)]
    return query if len(kept) == len(pairs) else "&".join(kept)


def _personal(pair: str, mail: bool) -> bool:
    name, equals, value = pair.partition("=")
    if equals and name.lower() in PERSONAL:
        return True
    return mail and ("@" in pair or "%40" in pair) and _EMAIL.search(value if equals else pair) is not None


def scrub(event: dict[str, Any], dropped: list[str]) -> None:
    """Scrub the page's URL and referrer of an event; what lost something is named in `dropped`."""
    page = event.get("page")
    if not isinstance(page, dict):
        return
    referrer = page.get("referrer")
    if referrer and not referrer.startswith(_PLACES) and not referrer.lower().startswith(_PLACES):
        page = {key: value for key, value in page.items() if key != "referrer"}
        if page:
            event["page"] = page
        else:
            del event["page"]
        dropped.append("page.referrer")
    for key in ("url", "referrer"):
        url = page.get(key)
        if url and (clean := scrubbed(url)) != url:
            event["page"] = page = {**page, key: clean}
            dropped.append(f"page.{key}")
