"""Vendors' first-party cookies that scripts made, set again by the server with the value that came.

Safari, and every browser of iOS, keeps a cookie that a script wrote for seven days and one that a server set for as long as it
says. Google's and Meta's scripts write theirs anew on each page
(https://developers.google.com/analytics/devguides/collection/gtagjs/cookies-user-id: `cookie_update`), so there the server
has the last word only if it answers each page view so; elsewhere once a day does.

    _ga       with `analytics_storage`, for as long as our own id; never one of a tag's sessions (`_ga_<ID>`), which changes
              with each hit and would be set back
    _fbp      with `ad_storage`, 90 days, as Meta's script has it
    _fbc      likewise, and made where there is a click of Meta's without one

No value is made but that `fbc`: what the browser did not bring, or what is another's than the event's, is left alone. Scripts
must be able to read them. They stand on the site's registrable domain, where the vendors' scripts put theirs: on any other
there would be two of a name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from gateway.enrich import vendor_cookies
from gateway.receive.cookies import cookies

Line = tuple[str, str, int, bool]
"""A cookie to set: name, value, seconds (0 deletes it), and whether scripts are kept from it."""
META_SECONDS = 90 * 86400
_FBC = re.compile(r"fb\.\d\.\d{10,16}\.[A-Za-z0-9_.~=+/-]{1,512}", re.ASCII)
_VALUE = re.compile(r"[A-Za-z0-9_.-]{1,256}", re.ASCII)


def is_webkit(headers: Mapping[str, str]) -> bool:
    """Whether it is one of the browsers that keep scripts' cookies for a week."""
    agent = headers.get("user-agent", "")
    return "AppleWebKit/" in agent and "Chrome/" not in agent and "Chromium/" not in agent


def of_analytics(header: str, ids: Mapping[str, Any], seconds: int) -> Iterator[Line]:
    """Google Analytics' client id."""
    if "_ga=" in header and (value := _held(header, "_ga", "ga_client_id", ids.get("ga_client_id"))):
        yield "_ga", value, seconds, False


def of_ads(header: str, ids: Mapping[str, Any]) -> Iterator[Line]:
    """Meta's browser id and click."""
    if "_fbp=" in header and (value := _held(header, "_fbp", "fbp", ids.get("fbp"))):
        yield "_fbp", value, META_SECONDS, False
    fbc = ids.get("fbc")
    if isinstance(fbc, str) and _FBC.fullmatch(fbc):
        yield "_fbc", fbc, META_SECONDS, False


def _held(header: str, name: str, key: str, own: Any) -> str | None:
    """The text of the first valid cookie of a name, where it says the same as the event."""
    for held, text in cookies(header):
        if held == name and (said := vendor_cookies.read(f"{name}={text}").ids.get(key)):
            return text if said == own and _VALUE.fullmatch(text) else None
    return None
