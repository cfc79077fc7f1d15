"""``dynamirror verify CONFIG --key``: one item, as every table has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from dynamirror.cli.arguments import perform
from dynamirror.cli.found import action_of
from dynamirror.cli.keys import key_in
from dynamirror.cli.output import Output
from dynamirror.config.model import Mirror
from dynamirror.core.values import encode
from dynamirror.engine.comparing.mended import Outcome
from dynamirror.engine.comparing.one_item import ItemAt, OneItem
from dynamirror.engine.comparing.suspects import Reason
from dynamirror.errors import Exit
from dynamirror.runtimes.presence import see_all
from dynamirror.runtimes.process import looker_of
from dynamirror.wiring import Wiring


def show_item(
    wiring: Wiring, output: Output, mirrors: Sequence[Mirror], given: dict[str, Any]
) -> Exit:
    """Print what is known of an item in each mirror that has such a key."""
    # Of a two-way mirror's sides one tells of all.
    firsts = list({mirror.name: mirror for mirror in reversed(mirrors)}.values())[::-1]

    async def work(mirror: Mirror) -> Exit:
        await see_all(wiring, mirror)
        key = await key_in(wiring, mirror, given)
        found = await (await looker_of(wiring, mirror)).look(key)
        output.line("item", **msgspec.structs.asdict(found))
        _print(output, found)
        return Exit.FINDING if found.drift or found.parked else Exit.DONE

    return perform(wiring, output, firsts, work)


def _print(output: Output, found: OneItem) -> None:
    output.say(f"{found.mirror}:", "bold")
    for place in found.places:
        _print_place(output, place)
    for drift in found.drift:
        where = f" in {', '.join(drift.attributes)}" if drift.attributes else ""
        if drift.reason is Reason.UNTOLD:
            where = ": no ledger tells of a delete"
        why = f": {drift.why}" if drift.why else ""
        output.say(f"  {drift.kind} at {drift.target}{where}{why}", "bad")
    if not found.drift:
        output.say("  equal everywhere", "good")
    for change in found.parked:
        output.say(f"  parked for {change.target}: {change.event_name}, {change.error}", "finding")
    for conflict in found.conflicts:
        loser, winner = conflict.loser, conflict.winner
        output.say(
            f"  lost at {conflict.replica}, {conflict.reason}: version {loser.version} of "
            f"{loser.origin} to {winner.version} of {winner.origin} ({conflict.id})"
        )
    for mended in found.repair:
        if mended.outcome is Outcome.PLANNED:
            though = f": {mended.why}" if mended.why else ""
            output.say(f"  a repair would {action_of(mended)}{though}")
        elif mended.outcome is Outcome.LEFT:
            output.say(f"  a repair would leave it: {mended.why}", "finding")


def _print_place(output: Output, place: ItemAt) -> None:
    about = []
    if place.rank is not None:
        about.append(f"rank {place.rank.version} of {place.rank.origin}")
    if place.mark is not None:
        about.append(f"mark {place.mark}")
    told = f" ({', '.join(about)})" if about else ""
    image = "no item" if place.image is None else encode(place.image).decode()
    output.say(f"  {place.name}, {place.table}{told}: {image}")
    if place.ledger is not None:
        output.say(f"    ledger: {encode(place.ledger).decode()}")
