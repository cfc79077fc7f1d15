"""What a target holds is the view of what its source holds, whatever happened on the way."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.images import wire_of

from dynamirror.core.record import StreamRecord, record_of
from dynamirror.core.values import Wire, encode, key_of, opened, same
from dynamirror.core.view.lens import Lens, View
from dynamirror.core.view.shape import Hiding, Mask, Shape
from dynamirror.core.view.template import Template
from dynamirror.core.view.where import Where
from dynamirror.errors import UnfitError

TYPES = {"id": "S"}

PUBLIC = Where("kind = 'public' AND age >= 18")
SHAPED = Shape(
    exclude=frozenset({"email"}),
    mask={"name": Mask(Hiding.HASH), "notes": Mask(Hiding.TRUNCATE, 3)},
    rename={"age": "years", "id": "pk"},
    set={"from": {"S": "us"}},
    secret_env="SECRET",
)


def adults(image: Wire) -> Wire | None:
    """A user's transform: leaves some out, adds to others, and changes what it was given."""
    if int(image.get("age", {"N": "0"})["N"]) < 18:
        return None
    image["grown"] = {"BOOL": True}
    return image


VIEWS = {
    "where": View(where=PUBLIC),
    "where of keys": View(where=Where("begins_with(id, :a)", {}, {":a": {"S": "a"}})),
    "shape": View(shape=SHAPED),
    "include": View(shape=Shape(include=frozenset({"kind"}))),
    "transform": View(transform="m:adults"),
    "composed key": View(key={"pk": Template("USER#{id}")}),
    "moving key": View(key={"pk": Template("{kind}#{id}"), "sk": Template("{age}")}),
    "all": View(PUBLIC, SHAPED, None, {"pk": Template("{kind}#{id}")}),
}


def lens_of(view: View) -> Lens:
    function = adults if view.transform else None
    return Lens(view, TYPES, ("_mirror",), b"secret", function)


items = st.fixed_dictionaries(
    {
        "id": st.sampled_from(["a1", "a2", "b"]).map(lambda text: {"S": text}),
        "kind": st.sampled_from(["public", "private"]).map(lambda text: {"S": text}),
        "age": st.integers(16, 19).map(lambda number: {"N": str(number)}),
    },
    optional={
        "name": st.sampled_from(["Ann", "Bo"]).map(lambda text: {"S": text}),
        "notes": st.text(max_size=6).map(lambda text: {"S": text}),
        "email": st.just({"S": "a@b"}),
    },
)
steps = st.lists(st.tuples(st.sampled_from(["put", "put", "delete"]), items), max_size=12)


class Tables:
    """A source, its records, and a target that gets them through a lens."""

    def __init__(self, lens: Lens) -> None:
        self.lens = lens
        self.source: dict[str, Wire] = {}
        self.target: dict[Any, Wire] = {}
        self.records: list[StreamRecord] = []

    def step(self, kind: str, item: Wire) -> None:
        name = item["id"]["S"]
        old, new = self.source.get(name), item if kind == "put" else None
        if old is None and new is None:
            return
        wire = wire_of({"id": {"S": name}}, new, old, number=len(self.records) + 1)
        self.records.append(record_of(wire))
        if new is None:
            del self.source[name]
        else:
            self.source[name] = new

    def apply(self, record: StreamRecord) -> None:
        for change in self.lens.changes(record):
            assert change.key == key_of(change.keys)
            if change.new_image is None:
                self.target.pop(change.key, None)
            else:
                image = opened(change.new_image)
                assert change.keys.items() <= image.items()
                self.target[change.key] = image

    @property
    def expected(self) -> dict[Any, Wire]:
        seen = (self.lens.see({"id": item["id"]}, item) for item in self.source.values())
        return {key_of(one.keys): opened(one.image) for one in seen if one is not None}


@pytest.mark.parametrize("name", VIEWS)
@settings(deadline=None)
@given(steps=steps, replays=st.lists(st.integers(0, 11), max_size=3))
def test_a_target_is_the_view_of_its_source(
    name: str, steps: list[tuple[str, Wire]], replays: list[int]
) -> None:
    """After any history, from each change's own images alone, replays from earlier included."""
    tables = Tables(lens_of(VIEWS[name]))
    for step in steps:
        tables.step(*step)
    for start in (*sorted(replays, reverse=True), 0):
        for record in tables.records[start:] if start else tables.records:
            tables.apply(record)

    assert tables.target == tables.expected


@pytest.mark.parametrize("name", VIEWS)
@settings(deadline=None)
@given(steps=steps, cut=st.integers(0, 12))
def test_squashed_changes_come_to_the_same(
    name: str, steps: list[tuple[str, Wire]], cut: int
) -> None:
    """Also where a part of them has been applied already, as after a crash."""
    tables = Tables(lens_of(VIEWS[name]))
    for step in steps:
        tables.step(*step)
    for record in tables.records[:cut]:
        tables.apply(record)
    waiting: dict[Any, list[StreamRecord]] = {}
    for record in tables.records:
        queue = waiting.setdefault(record.key, [])
        both = tables.lens.squashed(queue[-1], record) if queue else None
        if both is None:
            queue.append(record)
        else:
            queue[-1] = both
    for queue in waiting.values():
        for record in queue:
            tables.apply(record)

    assert tables.target == tables.expected


@pytest.mark.parametrize("name", VIEWS)
@given(item=items)
def test_a_targets_key_leads_back_to_its_source(name: str, item: Wire) -> None:
    """So an item that nobody's source has can be told from one that somebody's has."""
    lens = lens_of(VIEWS[name])
    seen = lens.see({"id": item["id"]}, item)

    if seen is not None:
        assert lens.traced(seen.keys) == {"id": item["id"]}


def test_an_image_that_is_only_filtered_is_carried_as_it_came() -> None:
    """Bytes in, bytes out."""
    image = msgspec.Raw(b'{"id": {"S":"a"}, "kind":{"S":"public"},"age":{"N":"18.0"}}')
    seen = lens_of(VIEWS["where"]).see({"id": {"S": "a"}}, image)

    assert seen is not None
    assert seen.image is image


def test_a_condition_on_keys_alone_parses_no_image() -> None:
    """Whether such an item is in view is told by its keys."""
    seen = lens_of(VIEWS["where of keys"]).see({"id": {"S": "a"}}, msgspec.Raw(b"not JSON"))

    assert seen is not None


def test_marks_of_ours_are_seen_by_no_view() -> None:
    """A transform must not meet, and an image must not carry on, what another link left there."""
    stamp = {"M": {"version": {"N": "1"}, "origin": {"S": "eu"}}}
    item = {"id": {"S": "a"}, "age": {"N": "20"}, "_mirror": stamp}
    seen = lens_of(VIEWS["transform"]).see({"id": {"S": "a"}}, item)

    assert seen is not None
    assert "_mirror" not in opened(seen.image)
    assert "grown" not in item, "the function gets an image of its own"


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (lambda _: 1 / 0, "failed: ZeroDivisionError"),
        (lambda _: "text", "returned a str"),
        (lambda image: {**image, "id": {"S": "other"}}, "changed a key attribute"),
        (lambda _: {}, "changed a key attribute"),
    ],
)
def test_what_a_transform_does_wrong_is_said(function: Any, told: str) -> None:
    """Its item is parked or stops the mirror, as any change that can't be applied as it is."""
    lens = Lens(View(transform="m:f"), TYPES, transform=function)

    with pytest.raises(UnfitError, match=told):
        lens.see({"id": {"S": "a"}}, {"id": {"S": "a"}})


def test_a_rename_never_overwrites() -> None:
    """An attribute that is there already by the new name is not lost in silence."""
    lens = Lens(View(shape=Shape(rename={"a": "b"})), TYPES)
    item = {"id": {"S": "x"}, "a": {"N": "1"}, "b": {"N": "2"}}

    with pytest.raises(UnfitError, match="already"):
        lens.see({"id": {"S": "x"}}, item)


@pytest.mark.parametrize(
    ("view", "told"),
    [
        (View(shape=Shape(exclude=frozenset({"id"}))), "exclude names the key attribute 'id'"),
        (View(shape=Shape(mask={"id": Mask(Hiding.REDACT)})), "mask names the key attribute"),
        (View(shape=Shape(set={"id": {"S": "1"}})), "set names the key attribute"),
        (
            View(shape=Shape(rename={"id": "pk"}, set={"pk": {"S": "1"}})),
            "set overwrites 'pk'",
        ),
        (View(key={"pk": Template("{kind}")}), "the key lacks id, so two items could become one"),
    ],
)
def test_a_view_in_which_two_items_could_meet_is_refused(view: View, told: str) -> None:
    """Never silently overwritten: what can't be told apart is not mirrored."""
    assert any(told in fault for fault in view.faults(("id",)))


def test_what_is_known_of_an_item_that_is_resynced_is_only_its_present() -> None:
    """A redrive tells no old image: an item out of view may still be at the target, so it goes."""
    lens = lens_of(VIEWS["where"])
    private = {"id": {"S": "a"}, "kind": {"S": "private"}}
    record = record_of(wire_of({"id": {"S": "a"}}, private, private))
    (change,) = lens.changes(msgspec.structs.replace(record, old_image=None))

    assert change.new_image is None
    assert not lens.changes(msgspec.structs.replace(record, event_name="INSERT", old_image=None))


def test_a_view_is_told_from_others_by_its_digest() -> None:
    """Whatever the configuration says otherwise changes it."""
    digests = {view.digest for view in VIEWS.values()}

    assert len(digests) == len(VIEWS)
    assert View(where=PUBLIC).digest in digests


def test_equal_values_have_equal_hashes_however_spelled() -> None:
    """So a masked attribute can still be compared and joined on."""
    mask = Mask(Hiding.HASH)

    assert mask.hide({"N": "10"}, b"s") == mask.hide({"N": "1.0E1"}, b"s")
    assert mask.hide({"SS": ["a", "b"]}, b"s") == mask.hide({"SS": ["b", "a"]}, b"s")
    assert mask.hide({"N": "10"}, b"s") != mask.hide({"S": "10"}, b"s")
    assert mask.hide({"N": "10"}, b"s") != mask.hide({"N": "10"}, b"t")


@pytest.mark.parametrize(
    "value",
    [
        {"S": "secret"},
        {"N": "42"},
        {"B": "c2VjcmV0"},
        {"BOOL": True},
        {"NULL": True},
        {"SS": ["secret"]},
        {"NS": ["42"]},
        {"BS": ["c2VjcmV0"]},
        {"L": [{"S": "secret"}]},
        {"M": {"secret": {"S": "secret"}}},
    ],
)
def test_what_is_redacted_keeps_its_type_and_tells_nothing(value: Wire) -> None:
    """An index may demand the type; a truncation of what has no beginning redacts it too."""
    for mask in (Mask(Hiding.REDACT), Mask(Hiding.TRUNCATE, 2)):
        hidden = mask.hide(value, b"")
        assert hidden.keys() == value.keys()
        assert b"secret" not in encode(hidden)
        assert b"42" not in encode(hidden)
    assert same({"a": Mask(Hiding.TRUNCATE, 2).hide({"S": "secret"}, b"")}, {"a": {"S": "se"}})
    assert Mask(Hiding.TRUNCATE, 2).hide({"B": "c2VjcmV0"}, b"") == {"B": "c2U="}


def test_a_key_that_no_item_of_the_source_makes_leads_nowhere() -> None:
    """007 is not how a key 7 is written: somebody else put it there."""
    lens = Lens(View(key={"pk": Template("USER#{id}")}), {"id": "N"})

    assert lens.traced({"pk": {"S": "USER#7"}}) == {"id": {"N": "7"}}
    assert lens.traced({"pk": {"S": "USER#007"}}) is None
    assert lens.traced({"pk": {"S": "USER#x"}}) is None
    assert lens.traced({"pk": {"S": "ITEM#7"}}) is None


def test_an_item_that_a_squashed_change_brought_is_taken_away_again() -> None:
    """Also where its removal between was not mirrored, and tells of no old image."""
    lens = lens_of(VIEWS["where"])
    public = {"id": {"S": "a"}, "kind": {"S": "public"}, "age": {"N": "18"}}
    private = {"id": {"S": "a"}, "kind": {"S": "private"}}
    first = record_of(wire_of({"id": {"S": "a"}}, public))
    second = record_of(wire_of({"id": {"S": "a"}}, private, number=2))
    both = lens.squashed(first, second)

    assert both is not None
    assert [change.new_image for change in lens.changes(both)] == [None]
