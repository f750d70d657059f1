"""One batch's way to the vendor and back: last checks, request, quick tries, verdicts, split.

`carry` does not return before each piece of its trip has come in (settle.py), unless it is cancelled; then the lane gives
back what is open. Just before every single request, also the second half of a split or a quick second try, consent and age
are checked again and what may not go is taken out.

An adapter that raises spoils only the events it raises for: a batch is taken apart until they stand alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil, log2

from gateway.clock import Clock
from gateway.deliver import retry
from gateway.deliver.batch import Bundle, batch_of
from gateway.deliver.circuit import Circuit
from gateway.deliver.firing import Recorder
from gateway.deliver.gate import Gate
from gateway.deliver.limits import Rate
from gateway.deliver.settle import Piece, Work
from gateway.deliver.transport import Transport
from gateway.destination import Batch, Destination, Judgement, Reply, Request, Verdict
from gateway.meter import Meter
from gateway.outcomes import Ending, Outcome
from gateway.queue.base import Firing

log = logging.getLogger(__name__)
_DELIVERED = Ending(Outcome.DELIVERED)
_TAKEN = {Verdict.DELIVERED}
_RETRY = {Verdict.RETRY}
_ALIVE = {Verdict.DELIVERED, Verdict.REJECTED, Verdict.SPLIT}
_QUICK_REASONS = frozenset({"vendor_5xx", "timeout", "connect", "dns", "tls"})


@dataclass(slots=True)
class Trip:
    """A bundle under way: what is still open, what has come in, what was sent."""

    bundle: Bundle
    probe: bool = False
    open: dict[Piece, None] = field(default_factory=dict)
    works: list[Work] = field(default_factory=list)
    firings: list[Firing] = field(default_factory=list)
    taken: Batch | None = None

    def __post_init__(self) -> None:
        self.open = dict.fromkeys(self.bundle)

    def done(self, piece: Piece, ending: Ending) -> None:
        """See Work.done."""
        self._in(piece, piece.work.done(ending))

    def again(self, piece: Piece, why: Ending, tries: int, retry_after: float | None) -> None:
        """See Work.again."""
        self._in(piece, piece.work.again(piece.part.index, why, tries, retry_after))

    def alone(self, piece: Piece) -> None:
        """See Work.alone."""
        self._in(piece, piece.work.alone(piece.part.index))

    def give_back(self) -> None:
        """Everything that is open was not tried, or not judged."""
        for piece in list(self.open):
            self._in(piece, piece.work.back(piece.part.index))

    def _in(self, piece: Piece, last: bool) -> None:
        del self.open[piece]
        if last:
            self.works.append(piece.work)


class Answer:
    """What a request that was sent showed: the pieces that travelled, the reply, one judgement per piece.

    `failed` tells that the whole request is to be sent again, and not for its rate.
    """

    __slots__ = ("bundle", "failed", "judgements", "kinds", "reply")

    def __init__(self, bundle: Bundle, reply: Reply, judgements: Sequence[Judgement]) -> None:
        self.bundle, self.reply, self.judgements = bundle, reply, judgements
        self.kinds = {judgement.verdict for judgement in judgements}
        self.failed = self.kinds == _RETRY and all(judgement.reason != "rate" for judgement in judgements)

    @property
    def fleeting(self) -> bool:
        """Whether it may well pass within seconds."""
        return (
            self.failed
            and self.reply.ms < retry.QUICK_SECONDS * 1000
            and all(j.reason in _QUICK_REASONS and j.retry_after is None for j in self.judgements)
        )


class Courier:
    """Carries the batches of one lane."""

    def __init__(
        self,
        lane: str,
        destination: Destination,
        gate: Gate,
        circuit: Circuit,
        rate: Rate,
        recorder: Recorder,
        transport: Transport,
        meter: Meter,
        clock: Clock,
        sleep: retry.Sleep = asyncio.sleep,
    ) -> None:
        self._lane, self._destination, self._gate, self._circuit = lane, destination, gate, circuit
        self._rate, self._recorder, self._transport = rate, recorder, transport
        self._meter, self._clock, self._sleep = meter, clock, sleep
        self.requests = 0
        self.last_delivery: float | None = None
        self.last_failure = ""

    async def carry(self, trip: Trip) -> None:
        """Send a bundle for which a token of the rate was taken."""
        size, tries = len(trip.bundle), 1
        answer = await self._try(trip, trip.bundle)
        if answer and answer.fleeting and self._circuit.running and not trip.probe:
            answer, more = await self._quickly(trip, answer)
            tries += more
        if answer:
            rest = self._judge(trip, answer, tries)
            if rest:
                await self._split(trip, rest, size)

    async def validate(self, trip: Trip) -> None:
        """Ask the vendor's validation endpoint about a delivered batch that is of the sample; never affects an outcome."""
        if trip.taken is None:
            return
        request = self._destination.plan.validation(trip.taken, self._clock.now())
        if request is None or any(self._gate.withdrawn(piece.work) for piece in trip.bundle):
            return
        reply = await self._transport.send(request)
        complaints = self._destination.plan.complaints(reply)
        self._meter.validation(self._lane, len(complaints))
        for complaint in complaints[:10]:
            words = self._recorder.masked(complaint)[:300]
            log.warning("Vendor's validation complained", extra={"destination": self._lane, "complaint": words})

    async def _quickly(self, trip: Trip, first: Answer) -> tuple[Answer | None, int]:
        """Quick second tries while the circuit lets them: the last answer and how many requests it took."""
        answer: Answer | None = first
        count = 0

        async def once() -> Answer | None:
            nonlocal answer, count
            if answer and self._circuit.running:
                await self._token()
                answer = await self._try(trip, answer.bundle)
                count += 1
            return answer

        def again(found: Answer | None) -> bool:
            return found is not None and found.fleeting and self._circuit.running

        await retry.quickly(once, again, self._sleep)
        return answer, count

    async def _split(self, trip: Trip, bundle: Bundle, size: int) -> None:
        """Halve until the bad events stand alone; what the budget does not reach comes back alone."""
        budget = 2 * ceil(log2(max(size, 2))) + 1
        stack = _halves(bundle)
        while stack:
            part = stack.pop()
            if budget <= 0 or not self._circuit.running:
                for piece in part:
                    trip.alone(piece)
                continue
            budget -= 1
            await self._token()
            answer = await self._try(trip, part)
            rest = self._judge(trip, answer, 1) if answer else []
            stack += _halves(rest)

    async def _token(self) -> None:
        while delay := self._rate.take(self._clock.monotonic()):
            await self._sleep(delay)

    async def _try(self, trip: Trip, bundle: Bundle) -> Answer | None:
        """One request. None when nothing was left to send or nothing could be made of it; its pieces have come in then."""
        bundle = self._checked(trip, bundle)
        made = self._request(trip, bundle) if bundle else None
        if made is None:
            bundle = [piece for piece in bundle if piece in trip.open]
            made = self._request(trip, bundle) if bundle else None
        if made is None:
            return None
        batch, request = made
        try:
            reply = await self._send(request)
        except ValueError as error:
            self._spoilt(trip, bundle, f"the request cannot be sent: {error}")
            return None
        now = self._clock.now()
        trip.firings.append(self._recorder.firing(bundle, request, reply, now))
        return self._read(trip, bundle, batch, reply, now)

    def _checked(self, trip: Trip, bundle: Bundle) -> Bundle:
        """What may still go."""
        now, fit = self._clock.now(), []
        for piece in bundle:
            work = piece.work
            ending = self._gate.overtaken(work) or self._gate.withdrawn(work) or self._gate.expired(work, now)
            if ending:
                trip.done(piece, ending)
            else:
                fit.append(piece)
        return fit

    def _request(self, trip: Trip, bundle: Bundle) -> tuple[Batch, Request] | None:
        """The batch and request of a bundle; None when the adapter raised, and then those for which it does have come in."""
        now = self._clock.now()
        try:
            batch = batch_of(bundle)
            return batch, self._destination.request(batch, now)
        except Exception:  # noqa: BLE001  (boundary: an adapter's bug spoils its event, not the lane)
            self._log_adapter("request")
        spoilt = [piece for piece in bundle if len(bundle) == 1 or not self._renders(piece, now)]
        for piece in spoilt:
            trip.done(piece, Ending(Outcome.REJECTED, "mapping", "the adapter could not make a request of it"))
        if not spoilt:
            self._spoilt(trip, bundle, "")
        return None

    def _renders(self, piece: Piece, now: float) -> bool:
        try:
            self._destination.request(batch_of([piece]), now)
        except Exception:  # noqa: BLE001  (boundary: as above; this is how the one event is found)
            return False
        return True

    async def _send(self, request: Request) -> Reply:
        self.requests += 1
        try:
            reply = await self._transport.send(request)
        except ValueError:
            raise
        except Exception as error:
            log.exception("Transport failed", extra={"destination": self._lane})
            reply = Reply(0, body=type(error).__name__.encode(), error="connect")
        self._meter.delivery(self._lane, reply.ms / 1000)
        return reply

    def _read(self, trip: Trip, bundle: Bundle, batch: Batch, reply: Reply, now: float) -> Answer | None:
        try:
            judgements = self._destination.verdicts(reply, batch)
        except Exception:  # noqa: BLE001  (boundary: an adapter's bug spoils its event, not the lane)
            self._log_adapter("verdicts")
            judgements = ()
        if len(judgements) != len(bundle):
            self._spoilt(trip, bundle, "the adapter could not read the answer")
            return None
        answer = Answer(bundle, reply, judgements)
        if not answer.failed:
            self._note(answer, batch, trip, now)
        return answer

    def _note(self, answer: Answer, batch: Batch, trip: Trip, now: float) -> None:
        """Tell the circuit what a request that was judged shows; failures are told once per batch, by _judge."""
        if Verdict.DELIVERED in answer.kinds:
            trip.taken, self.last_delivery = batch, now
            self._circuit.delivered()
            self._meter.delivered(self._lane, now)
        if answer.kinds & _ALIVE:
            self._circuit.alive()
        elif any(judgement.reason == "rate" for judgement in answer.judgements):
            self._circuit.throttled(_longest(answer, now))

    def _judge(self, trip: Trip, answer: Answer, tries: int) -> Bundle:
        """Let the judged pieces come in; what is to be split is returned."""
        if answer.kinds == _TAKEN:
            for piece in answer.bundle:
                trip.done(piece, _DELIVERED)
            return []
        if answer.failed:
            self.last_failure = answer.reply.error or f"HTTP {answer.reply.status}"
            self._circuit.failed(self.last_failure)
        asked = retry.retry_after(answer.reply.headers, self._clock.now())
        rest, refused = [], []
        for piece, judgement in zip(answer.bundle, answer.judgements, strict=True):
            if judgement.verdict is Verdict.DELIVERED:
                trip.done(piece, _DELIVERED)
            elif judgement.verdict is Verdict.REJECTED:
                trip.done(piece, self._rejected(judgement))
            elif judgement.verdict is Verdict.RETRY:
                wait = asked if judgement.retry_after is None else judgement.retry_after
                trip.again(piece, self._rejected(judgement), tries, wait)
            elif judgement.verdict is Verdict.PAUSE:
                refused.append((piece, judgement))
            elif len(answer.bundle) == 1:
                trip.done(piece, self._rejected(judgement))
            else:
                rest.append(piece)
        return rest + (self._refused(trip, answer, refused, tries) if refused else [])

    def _refused(self, trip: Trip, answer: Answer, refused: list[tuple[Piece, Judgement]], tries: int) -> Bundle:
        """Pieces refused for who we are: proof against us, or, where others pass, against them."""
        keys = {piece.work.key for piece, _ in refused}
        if len(refused) == len(answer.bundle) and not self._circuit.pause.singular(keys):
            ending = self._rejected(refused[0][1], "auth")
            self.last_failure = f"refused with HTTP {answer.reply.status}"
            self._circuit.refused(keys, ending.detail or self.last_failure)
            for piece, judgement in refused:
                trip.again(piece, self._rejected(judgement, "auth"), tries, judgement.retry_after)
            return []
        if len(answer.bundle) > 1 and len(refused) == len(answer.bundle):
            return answer.bundle
        for piece, judgement in refused:
            trip.done(piece, self._rejected(judgement, "auth"))
        return []

    def _rejected(self, judgement: Judgement, reason: str = "vendor_4xx") -> Ending:
        detail = self._recorder.masked(judgement.detail)[:500]
        return Ending(Outcome.REJECTED, judgement.reason or reason, detail)

    def _spoilt(self, trip: Trip, bundle: Bundle, why: str) -> None:
        """Nothing can be made of a bundle: a single event is rejected, of several each goes alone."""
        for piece in bundle:
            if len(bundle) > 1:
                trip.alone(piece)
            else:
                trip.done(piece, Ending(Outcome.REJECTED, "mapping", why[:500]))

    def _log_adapter(self, method: str) -> None:
        log.exception("Adapter failed", extra={"destination": self._lane, "method": method})


def _halves(bundle: Bundle) -> list[Bundle]:
    """The two halves, the second one first (they are taken from the end); a single piece is one, nothing is none."""
    middle = len(bundle) // 2
    return [half for half in (bundle[middle:], bundle[:middle]) if half]


def _longest(answer: Answer, now: float) -> float | None:
    """The longest wait that a throttled request asks for."""
    waits = [j.retry_after for j in answer.judgements if j.retry_after is not None]
    return max(waits) if waits else retry.retry_after(answer.reply.headers, now)
