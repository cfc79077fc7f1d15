"""Which shards may be read: never a child before its parent's end."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dynamirror.core.lineage import Shard, merged, readable, stream_page_of
from dynamirror.core.values import encode


@st.composite
def lineages(draw: st.DrawFn) -> dict[str, Shard]:
    """Any family of shards, listed in any order, some with parents that are gone."""
    count = draw(st.integers(1, 12))
    shards = []
    for number in range(count):
        parents = st.none() | st.integers(0, number - 1) if number else st.none()
        parent = draw(parents | st.just(-1))
        name = None if parent is None else f"s{parent}" if parent >= 0 else "trimmed"
        shards.append(Shard(f"s{number}", name, draw(st.booleans())))
    return {shard.shard_id: shard for shard in draw(st.permutations(shards))}


@given(lineages(), st.randoms(use_true_random=False))
def test_every_shard_is_read_once_after_its_parent(shards: dict[str, Shard], chance: Any) -> None:
    done: list[str] = []
    while ready := readable(shards, done):
        assert not set(ready) & set(done)
        shard = shards[chance.choice(ready)]
        assert shard.parent not in shards or shard.parent in done
        done.append(shard.shard_id)

    assert sorted(done) == sorted(shards)


def test_shards_are_named_in_the_order_of_their_listing() -> None:
    shards = {name: Shard(name) for name in ("b", "a", "c")}

    assert readable(shards, {"a"}) == ["b", "c"]


def test_a_child_waits_and_an_orphan_does_not() -> None:
    shards = {
        "child": Shard("child", "parent"),
        "parent": Shard("parent"),
        "orphan": Shard("orphan", "trimmed"),
    }

    assert readable(shards, ()) == ["parent", "orphan"]
    assert readable(shards, {"parent", "orphan"}) == ["child"]


def test_a_shard_once_seen_is_never_forgotten() -> None:
    """The listing is eventually consistent; a parent left out of it is still to be read first."""
    known = merged({}, [Shard("parent"), Shard("child", "parent")])
    known = merged(known, [Shard("child", "parent", closed=True)])

    assert readable(known, ()) == ["parent"]
    assert known["child"].closed


def test_an_answer_of_describe_stream_tells_shards_and_where_to_go_on() -> None:
    answer = {
        "StreamDescription": {
            "StreamStatus": "DISABLED",
            "LastEvaluatedShardId": "b",
            "Shards": [
                {
                    "ShardId": "a",
                    "SequenceNumberRange": {
                        "StartingSequenceNumber": "1",
                        "EndingSequenceNumber": "2",
                    },
                },
                {"ShardId": "b", "ParentShardId": "a", "SequenceNumberRange": {}},
                {"ShardId": "c"},
            ],
        }
    }

    page = stream_page_of(encode(answer))

    assert page.shards == [Shard("a", None, closed=True), Shard("b", "a"), Shard("c")]
    assert (page.status, page.last_shard_id) == ("DISABLED", "b")
    assert stream_page_of(b'{"StreamDescription":{}}').status == "ENABLED"
