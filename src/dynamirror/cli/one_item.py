"""``dynamirror verify CONFIG --key``: one item, as every table has it."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Any

import click
import msgspec

from dynamirror.cli.arguments import perform
from dynamirror.cli.found import action_of
from dynamirror.cli.output import Output
from dynamirror.config.model import Mirror
from dynamirror.core.values import Wire, encode, key_of
from dynamirror.engine.comparing.mended import Outcome
from dynamirror.engine.comparing.one_item import ItemAt, OneItem
from dynamirror.engine.source import described
from dynamirror.errors import DynamirrorError, Exit
from dynamirror.runtimes.presence import see_all
from dynamirror.runtimes.process import looker_of
from dynamirror.wiring import Wiring

WORDS = {"S": "text", "N": "a number", "B": "binary, as base64 text"}

EXAMPLES = {"S": '"a"', "N": "1", "B": '"YQ=="'}


class NoKeyError(DynamirrorError):
    """What was given is no key of the table."""

    hint = "Write the key attributes as JSON, or with their types as DynamoDB JSON."


class _Number(str):
    """A number of JSON, every digit of it."""

    __slots__ = ()


class Key(click.ParamType[dict[str, Any]]):
    """An item's key as JSON; whether it is a table's is told when the table is known."""

    name = "JSON"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[str, Any]:
        try:
            key = json.loads(str(value), parse_int=_Number, parse_float=_Number)
        except ValueError as error:
            self.fail(f'{value!r} is no JSON ({error}): write \'{{"id": "a"}}\'', param, ctx)
        if not isinstance(key, dict):
            self.fail(f'{value!r}: write an object, \'{{"id": "a"}}\'', param, ctx)
        return key


def typed_key(given: dict[str, Any], names: Sequence[str], types: Sequence[str]) -> Wire:
    """Return a table's key in wire form, given as plain JSON or with types.

    Raises NoKeyError, which says what the table's key is like.
    """
    schema = dict(zip(names, types, strict=True))
    like = ", ".join(f'"{name}": {EXAMPLES[kind]}' for name, kind in schema.items())
    told = ", ".join(f"{name} ({WORDS[kind]})" for name, kind in schema.items())
    if given.keys() != schema.keys():
        raise NoKeyError(f"the table's key is {told}: write {{{like}}}")
    key = {}
    for name, kind in schema.items():
        value = given[name]
        if isinstance(value, dict):
            if value.keys() != {kind} or not isinstance(value[kind], str):
                raise NoKeyError(f'{name} is {WORDS[kind]}: write {{"{kind}": "..."}}')
            value = value[kind]
        elif not isinstance(value, str) or isinstance(value, _Number) != (kind == "N"):
            raise NoKeyError(f"{name} is {WORDS[kind]}: write {{{like}}}")
        key[name] = {kind: str(value)}
        try:
            key_of({name: key[name]})
            base64.b64decode(value if kind == "B" else "", validate=True)
        except (ValueError, binascii.Error) as error:
            raise NoKeyError(f"{name} is {WORDS[kind]}, {value!r} is not ({error})") from None
    return key


def show_item(
    wiring: Wiring, output: Output, mirrors: Sequence[Mirror], given: dict[str, Any]
) -> Exit:
    """Print what is known of an item in each mirror that has such a key."""
    # Of a two-way mirror's sides one tells of all.
    firsts = list({mirror.name: mirror for mirror in reversed(mirrors)}.values())[::-1]

    async def work(mirror: Mirror) -> Exit:
        await see_all(wiring, mirror)
        table = await described(wiring.source(mirror), mirror.source.table, wiring.backoff)
        key = typed_key(given, table.key_names, table.key_types)
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
            output.say(f"  a repair would {action_of(mended)}")
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
