"""A one-way mirror's places, what applications do at its source, and what must hold at its target.

The source's item ``v`` counts up with every write, so no two images are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from functools import cache
from itertools import count
from typing import Any

import msgspec

from dynamirror.config.load import load
from dynamirror.config.model import Guard, OneWay
from dynamirror.core.drift import Kind
from dynamirror.core.marks import SEQUENCE_ATTRIBUTE
from dynamirror.core.values import Wire, decode, encode, key_of, opened
from dynamirror.engine.comparing.repair import OneWayRepairer
from dynamirror.engine.comparing.suspects import Drift
from dynamirror.engine.comparing.verify import Verifier
from dynamirror.engine.copying.backfill import Backfill
from dynamirror.engine.held.redrive import Redriver
from dynamirror.engine.retry import Backoff
from dynamirror.engine.station import Station
from dynamirror.engine.stream.checkpoints import Checkpoints
from dynamirror.engine.stream.consumer import Consumer
from dynamirror.engine.stream.lease import Lease
from dynamirror.engine.writing.links import Links, ours_on
from dynamirror.engine.writing.views import TargetView
from dynamirror.errors import ServiceError, UnfitError
from dynamirror.memory import MemoryDynamoDB
from dynamirror.simulation.processes import Asked, Gate, Process

SOURCE, TARGET, TABLE = "us-east-1", "eu-west-1", "Stories"
CHECKPOINTS, PARKED = f"{TABLE}-dynamirror-checkpoints", f"{TABLE}-dynamirror-parked"
LEDGER = f"{TABLE}-dynamirror-ledger"

INDEXED = "tag"
"""A text, by an index of the target; an item with another ``tag`` can't be there."""


def halved(image: Wire) -> Wire | None:
    """Leave every third item out, and give the others something of their own."""
    number = int(image["v"]["N"])
    return None if number % 3 == 0 else {**image, "half": {"N": str(number // 2)}}


VIEWS = {
    "whole": "",
    "where": "where = \"kind = 'public'\"",
    "where of keys": "where = \"begins_with(id, 'a')\"",
    "shape": 'attributes = { exclude = ["email"], mask = { name = "hash" }, '
    'rename = { id = "pk", kind = "sort" }, secret_env = "SECRET" }',
    "transform": f'transform = "{__name__}:halved"',
    "moving": 'key = { pk = "{kind}#{id}" }',
    "moving and where": 'key = { pk = "{kind}#{id}" }\nwhere = "kind <> \'private\'"',
}

_WRITES = ("PutItem", "DeleteItem", "BatchWriteItem", "TransactWriteItems")


class Link:
    """Two regions, a mirror between them, and the applications that write the source."""

    def __init__(self, guard: Guard, view: str, clock: Callable[[], int]) -> None:
        self.dead: set[str] = set()
        """Names of processes that were killed."""
        self.mirror = _mirror(guard, view)
        seen = self.mirror.views.get(TARGET)
        transform = halved if seen is not None and seen.transform else None
        self._view = TargetView(seen, ours_on(()), b"secret", transform) if seen else None
        self._clock = clock
        self._entries = count(1)
        self._names = count(1)
        self._versions = count(1)
        self._allowed: set[bytes] = set()
        """Every image that the target may ever have had."""
        self._foreign: list[str] = []
        self._drifts: list[Drift] = []
        self._dbs = {
            SOURCE: MemoryDynamoDB(SOURCE, clock=clock),
            TARGET: MemoryDynamoDB(TARGET, clock=clock, unprocessed=self._is_left),
        }
        key = self.mirror.views[TARGET].key_names(("id",))[0] if seen else "id"
        _create(self._dbs[SOURCE], TABLE, "id", stream=True)
        _create(self._dbs[SOURCE], CHECKPOINTS, "link", "shard")
        _create(self._dbs[SOURCE], PARKED, "k", "seq")
        _create(self._dbs[TARGET], TABLE, key, index=INDEXED)
        _create(self._dbs[TARGET], LEDGER, "k")

    @property
    def items(self) -> list[Wire]:
        """The source's."""
        return self._dbs[SOURCE].table(TABLE).contents()

    @property
    def parked(self) -> bool:
        """Whether keys are listed as parked."""
        rows = self._dbs[SOURCE].table(PARKED).contents()
        return any("listing" in row for row in rows)

    def save(self, key: str, kind: str, *, poison: bool) -> str:
        """Save an item; return what was done, for people."""
        number = next(self._versions)
        item: Wire = {
            "id": {"S": key},
            "kind": {"S": kind},
            "v": {"N": str(number)},
            "name": {"S": "Ann"},
            "email": {"S": f"{key}@example.com"},
            INDEXED: {"N": "1"} if poison and number % 2 else {"S": "t"},
        }
        if poison and kind != "a#b":
            item["sort"] = {"S": "taken"}  # the new name of another one
        self._dbs[SOURCE].perform("PutItem", {"TableName": TABLE, "Item": item})
        if (image := self._wanted(item)) is not None:
            self._allowed.add(_digest(image))
        return f"save {encode(item).decode()}"

    def delete(self, key: str) -> str:
        """Delete an item; return what was done, for people."""
        self._dbs[SOURCE].perform("DeleteItem", {"TableName": TABLE, "Key": {"id": {"S": key}}})
        return f"delete {key}"

    def mend(self) -> Iterator[str]:
        """Save every item again that can't be at the target as it is."""
        for item in self.items:
            if "S" not in item[INDEXED] or "sort" in item or item["kind"]["S"] == "a#b":
                yield self.save(item["id"]["S"], "public", poison=False)

    def split(self, *, roll: bool) -> None:
        """Split one of the stream's shards, or end it."""
        stream = self._dbs[SOURCE].table(TABLE).stream
        if stream is not None:
            shard = stream.open_shards[0].id
            stream.roll_over(shard) if roll else stream.split(shard)

    def process(self, what: str) -> Process:
        """Return a process of ours that has not begun yet."""
        process = Process(f"{what} {next(self._names)}")
        process.main = self._main(what, process)
        return process

    def perform(self, asked: Asked) -> bytes | ServiceError:
        """Carry a request out; return its answer, or how it is refused."""
        try:
            answer = self._dbs[asked.place].perform(asked.operation, decode(asked.request))
        except ServiceError as error:
            return error
        if self.writes_items(asked):
            self._see(asked)
        return encode(answer)

    def writes_items(self, asked: Asked) -> bool:
        """Tell whether a request writes the target's items."""
        return asked.place == TARGET and asked.operation in _WRITES

    def complaints(self) -> list[str]:
        """Return what is wrong once all is quiet."""
        wanted = {}
        for item in self.items:
            if (image := self._wanted(item)) is not None:
                wanted[_digest(image)] = item["id"]["S"]
        held = {_digest(_bare(item)) for item in self._dbs[TARGET].table(TABLE).contents()}
        found = [f"missing: {wanted[each]} as it is now" for each in sorted(wanted.keys() - held)]
        found += [f"extra: {each.decode()}" for each in sorted(held - wanted.keys())]
        if self.parked:
            found.append("parked: keys are parked, though every item was mended")
        if self._drifts and not found:
            found.append(f"verify: {self._drifts[0]}, though both are the same")
        if found and not self._drifts:
            found.append("verify: no drift found")
        return [*self._foreign, *found]

    def _main(self, what: str, process: Process) -> Coroutine[Any, Any, Any]:
        backoff = Backoff(draw=lambda: 0.5)
        source, target = Gate(process, SOURCE), Gate(process, TARGET)
        views = {TARGET: self._view} if self._view else {}
        named: dict[str, Any] = {"clock": self._clock, "backoff": backoff}
        links = Links(self.mirror, source, {TARGET: target}, views=views, **named)
        checkpoints = Checkpoints(source, CHECKPOINTS, self.mirror.link, backoff)
        lease = Lease(
            checkpoints, process.name, clock=self._clock, is_dead=lambda name: name in self.dead
        )
        station = Station(links, source, checkpoints, lease, **named)
        match what:
            case "engine":
                return Consumer(station).run()
            case "drain":
                return Consumer(station).run(once=True)
            case "backfill":
                return Backfill(station).run(lambda _: None, restart=True)
            case "redrive":
                return Redriver(station).run(lambda _: None)
            case "repair":
                repairer = OneWayRepairer(station, {TARGET: target})
                return repairer.run(self._suspected(), lambda _: None)
            case _:
                engines = [(checkpoints, lease)]
                verifier = Verifier(links, source, {TARGET: target}, engines, **named)
                return verifier.run(self._drifts.append, lambda _: None)

    def _suspected(self) -> list[Drift]:
        """Return every item that is at the target, or should be, whether or not it differs."""
        names = self._dbs[TARGET].table(TABLE).key_names
        items = self._dbs[TARGET].table(TABLE).contents()
        wanted = (self._wanted(item) for item in self.items)
        keys = [
            {name: item[name] for name in names} for item in (*items, *wanted) if item is not None
        ]
        distinct = {key_of(one): one for one in keys}
        return [Drift(Kind.DIFFERENT, TARGET, one, []) for one in distinct.values()]

    def _wanted(self, item: Wire) -> Wire | None:
        """Return an item of the source as the target is to have it; None: it is not to be there."""
        if self._view is None:
            return item
        try:
            seen = self._view.lens({"id": item["id"]}).see({"id": item["id"]}, dict(item))
        except UnfitError:
            return None
        return None if seen is None else opened(seen.image)

    def _see(self, asked: Asked) -> None:
        """Complain of what is written that the view never made of any item."""
        for image in _puts(decode(asked.request)):
            if _digest(_bare(image)) not in self._allowed:
                self._foreign.append(f"foreign: {asked.operation} of {encode(image).decode()}")

    def _is_left(self, _table: str, _key: Wire) -> bool:
        return next(self._entries) % 9 == 0


def _puts(request: Wire) -> Iterator[Wire]:
    """Yield the items of the target that a request puts."""
    if "Item" in request and request["TableName"] == TABLE:
        yield request["Item"]
    for entry in request.get("RequestItems", {}).get(TABLE, ()):
        if "PutRequest" in entry:
            yield entry["PutRequest"]["Item"]
    for entry in request.get("TransactItems", ()):
        if "Put" in entry:
            yield from _puts(entry["Put"])


def _bare(image: Wire) -> Wire:
    return {name: value for name, value in image.items() if name != SEQUENCE_ATTRIBUTE}


def _digest(image: Wire) -> bytes:
    return msgspec.json.encode(image, order="deterministic")


@cache
def _mirror(guard: Guard, view: str) -> OneWay:
    (mirror,) = load(
        f'[mirrors.stories]\nmode = "one-way"\nguard = "{guard}"\non_poison = "park"\n'
        f'source = {{ region = "{SOURCE}", table = "{TABLE}" }}\n'
        f'targets = [{{ region = "{TARGET}" }}]\n{VIEWS[view]}\n'
    ).mirrors
    if not isinstance(mirror, OneWay):
        raise TypeError(mirror)
    return mirror


def _create(
    db: MemoryDynamoDB, table: str, *names: str, stream: bool = False, index: str | None = None
) -> None:
    kinds = ("HASH", "RANGE")
    request: Wire = {
        "TableName": table,
        "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": [
            {"AttributeName": name, "KeyType": kind}
            for name, kind in zip(names, kinds, strict=False)
        ],
        "AttributeDefinitions": [
            {"AttributeName": name, "AttributeType": "S"} for name in (*names, index) if name
        ],
    }
    if stream:
        view = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
        request["StreamSpecification"] = view
    if index is not None:
        keys = [{"AttributeName": index, "KeyType": "HASH"}]
        by = {"IndexName": "by", "KeySchema": keys, "Projection": {"ProjectionType": "ALL"}}
        request["GlobalSecondaryIndexes"] = [by]
    db.perform("CreateTable", request)
