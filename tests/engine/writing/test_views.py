"""A target holds the view of its source: followed, copied, or both at once, under every guard."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any

import msgspec
import pytest
from tests.engine.virtual_time import now_ms, run
from tests.engine.world import CHECKPOINTS, LEDGER, PARKED, Faults, change, create

from dynamirror.config.load import load
from dynamirror.config.model import Guard
from dynamirror.core.values import Wire, differing
from dynamirror.engine.retry import Backoff
from dynamirror.engine.writing.views import TargetView
from dynamirror.errors import ConfigError, UnfitError
from dynamirror.memory.dynamodb import MemoryDynamoDB
from dynamirror.runtimes.process import backfill_of, consumer_of, verifier_of
from dynamirror.wiring import Wiring, target_views_of

SECRET = "DYNAMIRROR_TEST_SECRET"

VIEWS = {
    "where": "where = \"kind = 'public'\"",
    "shape": 'attributes = { exclude = ["email"], mask = { name = "hash" }, '
    f'rename = {{ id = "pk", value = "n" }}, secret_env = "{SECRET}" }}',
    "transform": f'transform = "{__name__}:halved"',
    "moving": 'key = { pk = "{kind}#{id}" }\nwhere = "value > 30"',
}

KEY_OF = {"where": "id", "shape": "pk", "transform": "id", "moving": "pk"}


def halved(image: Wire) -> Wire | None:
    """Leave out odd values, halve even ones."""
    value = int(image["value"]["N"])
    return None if value % 2 else {**image, "value": {"N": str(value // 2)}}


@pytest.fixture(autouse=True)
def secret() -> Iterator[None]:
    os.environ[SECRET] = "a secret"
    yield
    del os.environ[SECRET]


class Two:
    """A source, a target that gets to see a view of it, and the mirror between them."""

    def __init__(self, name: str, guard: Guard, seed: int) -> None:
        self.chance = Random(seed)
        self.source = MemoryDynamoDB("us-east-1", clock=now_ms, seed=seed)
        self.target = MemoryDynamoDB("eu-west-1", clock=now_ms, seed=seed)
        create(self.source, "Stories", "id", stream=True)
        create(self.source, CHECKPOINTS, "link", "shard")
        create(self.source, PARKED, "k", "seq")
        create(self.target, "Stories", KEY_OF[name])
        create(self.target, LEDGER, "k")
        text = (
            f'[mirrors.stories]\nmode = "one-way"\nguard = "{guard}"\non_poison = "park"\n'
            'source = { region = "us-east-1", table = "Stories" }\n'
            f'targets = [{{ region = "eu-west-1" }}]\n{VIEWS[name]}\n'
        )
        apis = {"us-east-1": self.source, "eu-west-1": self.target}
        self.wiring = Wiring(
            load(text),
            connect=lambda place, _: apis[place.region],
            clock=now_ms,
            backoff=Backoff(draw=self.chance.random),
        )
        (self.mirror,) = self.wiring.config.mirrors

    def write(self, writes: int) -> None:
        for _ in range(writes):
            name = f"k{self.chance.randrange(12)}"
            if self.chance.random() < 0.25:
                self.source.perform(
                    "DeleteItem", {"TableName": "Stories", "Key": {"id": {"S": name}}}
                )
                continue
            item = {
                "id": {"S": name},
                "kind": {"S": self.chance.choice(["public", "private"])},
                "value": {"N": str(self.chance.randrange(100))},
                "name": {"S": self.chance.choice(["Ann", "Bo"])},
                "email": {"S": "a@b"},
            }
            self.source.perform("PutItem", {"TableName": "Stories", "Item": item})

    @property
    def strangers(self) -> Wire:
        """Return an item that the source doesn't have; under a composed key, of somebody else."""
        (name,) = self.target.table("Stories").key_names
        return {name: {"S": "nobody's"}}

    def key_of(self, item: Wire) -> Wire:
        return {name: item[name] for name in self.target.table("Stories").key_names}

    async def verified(self) -> dict[str, int]:
        """Return how many items are found to differ, by kind."""
        found: Counter[str] = Counter()
        verifier = verifier_of(self.wiring, self.mirror)
        compared = await verifier.run(lambda drift: found.update([drift.kind]), lambda _: None)
        assert compared.in_flight == 0
        return dict(found)

    @property
    def differences(self) -> list[Any]:
        (view,) = target_views_of(self.mirror, ()).values()
        expected = {}
        for item in self.source.table("Stories").contents():
            keys = {"id": item["id"]}
            seen = view.lens(keys).see(keys, dict(item))
            if seen is not None:
                expected[str(seen.keys)] = seen.image
        held = {}
        for item in self.target.table("Stories").contents():
            image = {name: value for name, value in item.items() if name != "_mirror_seq"}
            held[str(self.key_of(item))] = image
        return [
            key
            for key in sorted(expected.keys() | held.keys())
            if key not in held or key not in expected or differing(held[key], expected[key])
        ]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("guard", Guard)
@pytest.mark.parametrize("name", VIEWS)
def test_a_target_ends_as_the_view_of_its_source(name: str, guard: Guard, seed: int) -> None:
    """Copied beside live writes and followed from then on, with throttles and lost answers."""

    async def main() -> None:
        two = Two(name, guard, seed)
        faults = Faults(seed, 0.1)
        two.target.before, two.target.after = faults.before, faults.after
        two.write(40)
        following = asyncio.create_task(consumer_of(two.wiring, two.mirror).run())
        await asyncio.sleep(2)
        copying = asyncio.create_task(backfill_of(two.wiring, two.mirror).run(lambda _: None))
        for _ in range(10):
            two.write(20)
            await asyncio.sleep(1)
        await copying
        two.write(20)
        await asyncio.sleep(120)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)

        assert two.differences == []
        held = two.target.table("Stories").contents()
        assert held, "a view that shows nothing proves nothing"
        assert await two.verified() == {}

        two.target.perform(
            "PutItem", {"TableName": "Stories", "Item": {**held[0], "more": {"S": "x"}}}
        )
        two.target.perform("DeleteItem", {"TableName": "Stories", "Key": two.key_of(held[1])})
        two.target.perform("PutItem", {"TableName": "Stories", "Item": two.strangers})
        extra = {"extra"} if name != "moving" else set()
        assert set(await two.verified()) == {"different", "missing"} | extra

    run(main)


def test_a_secret_that_is_not_there_is_said_before_anything_is_sent() -> None:
    """Without it, hashes would be ones that anybody can try values out on."""

    async def main() -> None:
        two = Two("shape", Guard.ORDER, 0)
        del os.environ[SECRET]
        with pytest.raises(ConfigError, match=f"set the environment variable {SECRET}"):
            two.wiring.links(two.mirror)
        os.environ[SECRET] = ""

    run(main)


@pytest.mark.parametrize(
    ("function", "told"),
    [
        ("no.such.module:f", "can't be imported"),
        (f"{__name__}:missing", "can't be imported"),
        (f"{__name__}:SECRET", "is no function"),
    ],
)
def test_a_function_that_is_not_there_is_said(function: str, told: str) -> None:
    """With what to do."""
    text = (
        '[mirrors.m]\nmode = "one-way"\nsource = { region = "us-east-1", table = "Stories" }\n'
        f'targets = [{{ region = "eu-west-1" }}]\ntransform = "{function}"\n'
    )
    with pytest.raises(ConfigError, match=told):
        target_views_of(load(text).mirrors[0], ())


def test_a_two_way_view_asks_for_keys_only() -> None:
    """An item must be in view or out of it for good."""
    text = (
        '[mirrors.m]\nmode = "two-way"\n'
        'replicas = [{ region = "us-east-1", table = "Stories" }, { region = "eu-west-1" }]\n'
    )

    def view(where: str) -> TargetView:
        return target_views_of(load(f'{text}where = "{where}"\n').mirrors[0], ())["eu-west-1"]

    assert view("begins_with(id, 'a')").holds_keys({"id": {"S": "ab"}})
    assert not view("begins_with(id, 'a')").holds_keys({"id": {"S": "b"}})
    with pytest.raises(UnfitError, match="key attributes only"):
        view("kind = 'public'").holds_keys({"id": {"S": "b"}})


@pytest.mark.parametrize("guard", Guard)
@pytest.mark.parametrize("where", ["", "where = \"begins_with(id, 'a')\""])
def test_images_that_no_view_looks_into_travel_unparsed(guard: Guard, where: str) -> None:
    """Bytes in, bytes out, under every guard: without a view, and with one that asks for keys."""
    image = b'"v" : {"N":"1.00"} , "id": {"S":"a"} }'
    record = msgspec.structs.replace(
        change("a", 1), new_image=msgspec.Raw(b"{ " + image), old_image=msgspec.Raw(b"not JSON")
    )
    sent = []

    class Api:
        async def call(self, _: str, request: bytes) -> bytes:
            sent.append(request)
            return b'{"UnprocessedItems":{}}'

        async def close(self) -> None:
            pass

    text = (
        f'[mirrors.m]\nmode = "one-way"\nguard = "{guard}"\n{where}\n'
        'source = { region = "us-east-1", table = "Stories" }\n'
        'targets = [{ region = "eu-west-1" }]\n'
    )
    wiring = Wiring(load(text), connect=lambda _place, _transport: Api(), clock=lambda: 0)
    (mirror,) = wiring.config.mirrors
    asyncio.run(wiring.links(mirror).target("eu-west-1", 1).send([record]))

    (request,) = sent
    assert (image if guard is not Guard.ITEM else image[:-2]) in request
