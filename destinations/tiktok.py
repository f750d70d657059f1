"""TikTok Events API: one invalid event fails the whole request, and the error's text names it (`Batch.3.properties…`).

The named events are refused for good; the others were not processed and are sent again at once. What names nobody is left
to the manifest's `response`. Documentation: https://business-api.tiktok.com/portal/docs?id=1771100865818625
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from gateway.destination import Batch, Destination, Judgement, Reply, Verdict

PARAMETER_ERROR = 40002
PARTIAL_SUCCESS = 20001
_NAMED = re.compile(r"\bBatch\.(\d+)\b")
_ITEM_LISTS = ("failed_events", "failed", "errors", "data")


class TikTok(Destination):
    """Finds the refused events of a batch in the error's text, or in the list of a partial success."""

    def verdicts(self, reply: Reply, batch: Batch) -> Sequence[Judgement]:
        """One judgement per event; replies that name no event are read by the manifest."""
        answer = reply.json()
        if not isinstance(answer, dict):
            return super().verdicts(reply, batch)
        code, message = answer.get("code"), str(answer.get("message") or "")
        if code == PARAMETER_ERROR:
            named = {int(index) for index in _NAMED.findall(message)} & set(range(len(batch)))
            if named:
                others = Judgement(Verdict.RETRY, "vendor_code", "another event of the request was refused", 0.0)
                refused = Judgement(Verdict.REJECTED, "vendor_code", message)
                return [refused if index in named else others for index in range(len(batch))]
        if code == PARTIAL_SUCCESS:
            failed = _failures(answer.get("data"))
            return [_judge(failed, index, part.id) for index, part in enumerate(batch.parts)]
        return super().verdicts(reply, batch)


def _failures(data: Any) -> dict[str, str]:
    """What a partial success lists as failed: index (`#3`) or event id → the vendor's words."""
    found: dict[str, str] = {}
    lists = [data] if isinstance(data, list) else [data.get(key) for key in _ITEM_LISTS] if isinstance(data, dict) else []
    for entry in (entry for one in lists if isinstance(one, list) for entry in one if isinstance(entry, dict)):
        words = str(entry.get("message") or entry.get("error_message") or entry.get("code") or "refused")
        if isinstance(entry.get("index"), int):
            found[f"#{entry['index']}"] = words
        if entry.get("event_id"):
            found[str(entry["event_id"])] = words
    return found


def _judge(failed: dict[str, str], index: int, event_id: str) -> Judgement:
    words = failed.get(f"#{index}", failed.get(event_id))
    return Judgement(Verdict.DELIVERED) if words is None else Judgement(Verdict.REJECTED, "vendor_code", words)
