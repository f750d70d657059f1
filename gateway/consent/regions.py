"""Where the law asks first, where it lets people object: country → jurisdiction, as data (consent sheet §7).

Opt-in: the EU with its outermost regions that have codes of their own, the EEA, the United Kingdom with the islands that
follow it, Switzerland, and the countries whose laws ask for consent by default. Opt-out: the United States. Quebec is
opt-in although Canada is not. A country that is known and in no list has neither.
"""

from __future__ import annotations

OPT_IN = frozenset(
    """AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK
    AX GF GP MF MQ RE YT PM BL IS LI NO GB GG GI IM JE CH BR TR KR ZA TH IN""".split()
)
OPT_OUT = frozenset({"US", "PR"})
OPT_IN_REGIONS = frozenset({("CA", "QC")})


def jurisdiction(country: str | None, region: str | None = None) -> str:
    """opt_in, opt_out, none, or unknown where the country is not known."""
    if not country:
        return "unknown"
    if country in OPT_IN or (country, region) in OPT_IN_REGIONS:
        return "opt_in"
    return "opt_out" if country in OPT_OUT else "none"
