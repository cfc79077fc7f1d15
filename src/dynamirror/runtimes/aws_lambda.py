"""The engine as an AWS Lambda function behind an event source mapping.

The mapping is the distributed part: one invocation at a time per shard, or, with a parallelization
factor, per group of keys of a shard; what fails is delivered again from where we say. It must have
``ReportBatchItemFailures`` on. The configuration comes from the environment variable
``DYNAMIRROR_CONFIG``: a path, or the TOML text itself.

What outlives an invocation: connections, credentials, what was learned of each target's speed.

Each delivery writes one line of metrics to the function's log, a line for each mirror.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from dynamirror.config.load import load
from dynamirror.config.model import Guard, Mirror, OnPoison, Place, Side
from dynamirror.core.record import StreamRecord, records_of
from dynamirror.engine.item_log import show_keys
from dynamirror.engine.stream.deliver import Delivery, Outcome, deliver
from dynamirror.engine.stream.history import epoch_of
from dynamirror.engine.writing.apply import Applier
from dynamirror.errors import ConfigError, DynamirrorError
from dynamirror.observe.emf import Delivered
from dynamirror.runtimes.warm import Warm
from dynamirror.wiring import Wiring

CONFIG_VARIABLE = "DYNAMIRROR_CONFIG"

KEYS_VARIABLE = "DYNAMIRROR_LOG_KEYS"
"""Set to 1, keys of items are logged with what befell them."""

NO_DEADLINE_MS = 900_000
"""Lambda's longest time-out, where there is no context to tell a deadline."""

GARBAGE = 50_000
"""New containers after which cycles are looked for. An event of 1,000 changes has about as many,
which are no garbage, and Python's own 700 would have them walked again and again."""

log = logging.getLogger("dynamirror")


Emit = Callable[[str], None]
"""Takes a line of metrics."""


class Function:
    """One execution environment: what is kept warm between its invocations."""

    def __init__(self, config_text: str, emit: Emit | None = None) -> None:
        """``emit`` None: nobody reads metrics here."""
        self._emit = emit
        self._text = config_text
        self.wiring = Wiring(load(config_text))
        self._enrolled: dict[str, list[Mirror]] = {}
        self._loop = asyncio.new_event_loop()
        self._warm: dict[str, Warm] = {}
        gc.freeze()  # what is loaded by now stays; the collector need not walk it each time
        gc.set_threshold(GARBAGE)

    def invoke(self, event: Any, remaining_ms: Callable[[], int]) -> dict[str, Any]:
        """Apply an event and return the partial batch response.

        Raises ValueError on a malformed event or one from a table of no mirror, and
        HistoryLostError for a stream that isn't the one the table had.
        """
        records = records_of(event)
        lowest: int | None = None
        if records:
            lowest = self._loop.run_until_complete(
                self._apply(_stream_arn(event), records, remaining_ms)
            )
        failures = [] if lowest is None else [{"itemIdentifier": _spelled(event, lowest)}]
        return {"batchItemFailures": failures}

    def close(self) -> None:
        """Drop connections and loop."""
        self._loop.run_until_complete(self.wiring.close())
        self._loop.close()

    async def _apply(
        self, stream: str, records: Sequence[StreamRecord], remaining_ms: Callable[[], int]
    ) -> int | None:
        mirrors = [*mirrors_of(self.wiring.config.mirrors, stream), *self._by_pattern(stream)]
        if not mirrors:
            raise ValueError(
                f"no mirror of {self.wiring.config.path} has the source of {stream}: "
                "compare region, account and table in the configuration"
            )
        # All come to their end before we return or raise: what is left half-way in a loop that
        # stands still would go on beside the next invocation, out of order.
        ends = await asyncio.gather(
            *(self._deliver(mirror, stream, records, remaining_ms) for mirror in mirrors),
            return_exceptions=True,
        )
        deliveries = []
        for end in ends:
            if isinstance(end, BaseException):
                raise end
            deliveries.append(end)
        lowest = [one.lowest_unapplied for one in deliveries if one.lowest_unapplied is not None]
        return min(lowest, default=None)

    def _by_pattern(self, stream: str) -> list[Mirror]:
        """Return the mirrors of a stream whose table is one of a pattern's."""
        if not self.wiring.config.patterns:
            return []
        if stream not in self._enrolled:
            *_, table = source_of(stream)
            tables = {
                pattern.name: [table]
                for pattern in self.wiring.config.patterns
                if pattern.matches(table)
            }
            named = {mirror.link for mirror in self.wiring.config.mirrors}
            # A table that a mirror names as its source is left to that.
            found = (
                []
                if mirrors_of(self.wiring.config.mirrors, stream)
                else load(self._text, tables).mirrors
            )
            self._enrolled[stream] = mirrors_of(
                [mirror for mirror in found if mirror.link not in named], stream
            )
        return self._enrolled[stream]

    async def _deliver(
        self,
        mirror: Mirror,
        stream: str,
        records: Sequence[StreamRecord],
        remaining_ms: Callable[[], int],
    ) -> Delivery:
        if mirror.link not in self._warm:
            self._warm[mirror.link] = Warm(self.wiring, mirror)
        warm, outcome = self._warm[mirror.link], Outcome()
        links, wanted = warm.links, warm.links.wanted(records)
        began_ms, lost = self.wiring.clock(), links.conflicts

        def left_s() -> float:
            return (remaining_ms() - mirror.deadline_reserve_ms) / 1_000

        async def opened() -> list[Applier]:
            epoch = await self._epoch(mirror, stream)
            # Under guard ``item`` a late put may bring a deleted item back: a redrive's, here.
            # What the other guards can't refuse, a redrive looks for when it is done.
            hold = mirror.on_poison is OnPoison.PARK or mirror.guard is Guard.ITEM
            appliers = await links.open(epoch, outcome.failed, hold=hold)
            legs = [leg for one in appliers for leg in one.legs]
            await warm.outages.meet(legs, wanted, await warm.held_back())
            return appliers

        appliers: list[Applier] | None = None
        if left_s() > 0:
            with contextlib.suppress(TimeoutError):
                appliers = await asyncio.wait_for(opened(), left_s())
        if appliers is None:
            log.warning("mirror %s: time was up before anything was applied", mirror.name)
            nothing = Delivery(min(record.sequence_number for record in records), ())
            self._tell(mirror, records, (), nothing, began_ms=began_ms, conflicts=0)
            return nothing
        outages = warm.outages if mirror.backlog_seconds else None
        delivery = await deliver(appliers, wanted, outcome, left_s(), outages)
        conflicts = links.conflicts - lost
        self._tell(mirror, records, appliers, delivery, began_ms=began_ms, conflicts=conflicts)
        for error in delivery.errors:
            if not isinstance(error, DynamirrorError):
                raise error
            log.error("mirror %s stopped: %s. %s", mirror.name, error, error.hint)
        if delivery.lowest_unapplied is not None and not delivery.errors:
            log.warning("mirror %s: time was up before all was applied", mirror.name)
        if delivery.lowest_unapplied is None and mirror.backlog_seconds:
            await warm.catch_up(left_s())
        return delivery

    def _tell(
        self,
        mirror: Mirror,
        records: Sequence[StreamRecord],
        appliers: Sequence[Applier],
        delivery: Delivery,
        *,
        began_ms: int,
        conflicts: int,
    ) -> None:
        """Write the metrics of one delivery."""
        if self._emit is None:
            return
        now_ms, lowest = self.wiring.clock(), delivery.lowest_unapplied
        left = [one for one in records if lowest is not None and one.sequence_number >= lowest]
        parking = self._warm[mirror.link].links.parking
        legs = [leg for applier in appliers for leg in applier.legs]
        everyone = [one for applier in appliers for one in applier.all]
        told = Delivered(
            mirror=mirror.name,
            link=mirror.link,
            at_ms=now_ms,
            lag_ms=max(0, now_ms - int(min(record.created_at for record in records) * 1_000)),
            duration_ms=now_ms - began_ms,
            records=len(records),
            unapplied=len(left),
            writes=sum(leg.applied - leg.parked for leg in legs),
            stale=sum(leg.target.stale for leg in legs),
            retries=sum(one.retries for one in everyone),
            throttles=sum(one.throttles for one in everyone),
            parked=parking.parked if parking and appliers else 0,
            failures=len(delivery.errors),
            conflicts=conflicts if isinstance(mirror, Side) else None,
        )
        self._emit(told.line())

    async def _epoch(self, mirror: Mirror, stream: str) -> int:
        """Return the stream's epoch, which need not be asked for where none is written."""
        unmarked = mirror.guard is Guard.ORDER or isinstance(mirror, Side)
        if unmarked and mirror.on_poison is OnPoison.STOP:
            return 1
        # Asked each time: with an epoch from before a backfill, all we write would be refused.
        checkpoints = self.wiring.checkpoints(mirror)
        return epoch_of(await checkpoints.met(stream, self.wiring.clock()), stream)


def handler(event: Any, context: Any) -> dict[str, Any]:
    """Mirror the changes of one event; AWS Lambda calls this.

    Returns ``{"batchItemFailures": [...]}`` with the lowest unapplied sequence number, if any.
    Raises ValueError on a malformed event, and if the event's table is no source of ours.
    """
    global _function  # noqa: PLW0603 - the one thing that outlives an invocation
    text = os.environ.get(CONFIG_VARIABLE)
    if not text:
        raise ConfigError(f"set {CONFIG_VARIABLE} to the configuration, a path or TOML text")
    show_keys(asked=os.environ.get(KEYS_VARIABLE, "") not in ("", "0", "false"))
    if _function is None or _function[0] != text:
        if _function is not None:
            _function[1].close()
        emit = _print if "AWS_LAMBDA_FUNCTION_NAME" in os.environ else None
        _function = (text, Function(text, emit))
    remaining = getattr(context, "get_remaining_time_in_millis", lambda: NO_DEADLINE_MS)
    return _function[1].invoke(event, remaining)


_function: tuple[str, Function] | None = None


def _print(line: str) -> None:
    """Write a line to the function's log in one piece."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def mirrors_of(mirrors: Sequence[Mirror], stream: str) -> list[Mirror]:
    """Return the mirrors whose source has the stream of this ARN."""
    region, account, table = source_of(stream)
    return [mirror for mirror in mirrors if _is(mirror.source, region, account, table)]


def source_of(stream: str) -> tuple[str, str, str]:
    """Return region, account and table of a stream's ARN. Raises ValueError if it is none."""
    parts = stream.split(":", 5)
    if len(parts) != 6 or not parts[5].startswith("table/"):  # noqa: PLR2004 - an ARN's fields
        raise ValueError(f"eventSourceARN is no stream's ARN: {stream!r}")
    return parts[3], parts[4], parts[5].split("/")[1]


def _is(place: Place, region: str, account: str, table: str) -> bool:
    name = place.table.rpartition("/")[2]
    return (place.region, name) == (region, table) and place.account in (None, account)


def _spelled(event: Any, number: int) -> str:
    """Return a sequence number as the event spells it: local servers pad theirs with zeros, and
    what isn't found in the batch counts as a failure of all of it.
    """
    texts = (str(wire["dynamodb"]["SequenceNumber"]) for wire in event["Records"])
    return next(text for text in texts if int(text) == number)


def _stream_arn(event: Any) -> str:
    arns = {wire.get("eventSourceARN") for wire in event["Records"]}
    if len(arns) != 1 or not isinstance(arn := arns.pop(), str):
        raise ValueError("all records of an event come from one stream; eventSourceARN names it")
    return arn
