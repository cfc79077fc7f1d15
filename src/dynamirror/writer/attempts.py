"""Attempts: one write with its version, and what a failed condition says about it.

An attempt is asked for its request, then told how that went. A condition that failed was the
caller's, ours, or both. Nothing is guessed from the caller's expression: where ours failed, the
attempt changes so that ours holds and goes again, and the service judges the caller's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from dynamirror.core.update import Update
from dynamirror.core.values import Wire
from dynamirror.writer.phrases import Phrases, read_update, with_assignment
from dynamirror.writer.saving import ANY, Target, expected, refuse_legacy
from dynamirror.writer.versions import is_wire, number, number_in, raised

ON_FAILURE = "ReturnValuesOnConditionCheckFailure"


class Attempt(Protocol):
    """A write on its way."""

    shows_old: bool
    """The caller wants to see the item that failed its condition."""

    def request(self) -> Wire:
        """Return what to send now."""
        ...

    def lost(self, old: Wire | None) -> bool:
        """Take in that the condition failed, on this item if any; tell whether to go again.

        Raises VersionError where no version can be above the item's.
        """
        ...

    def done(self, answer: Wire) -> None:
        """Take in the answer."""
        ...


def expecting(phrases: Phrases, attribute: str, expect: Any, *, wire: bool) -> None:
    """Add the condition that the item has the expected version; 0 is that of an item without."""
    if expect is ANY:
        return
    version, name = expected(expect), phrases.name(attribute)
    if version is None:
        phrases.require(f"attribute_not_exists({name})")
        return
    equal = f"{name} = {phrases.value(number(version, wire=wire))}"
    phrases.require(equal if version else f"(attribute_not_exists({name}) OR {equal})")


class Putting:
    """A put carries its version, higher than any known, on condition that the item's is lower."""

    def __init__(self, target: Target, request: Mapping[str, Any], expect: Any = ANY) -> None:
        refuse_legacy(request)
        self.shows_old = request.get(ON_FAILURE) == "ALL_OLD"
        self._target = target
        self._given = request
        self._expect = expect
        self._item: Wire = dict(request.get("Item") or {})
        floor = target.floor(
            self._item,
            target.version_of(self._item),
            None if expect is ANY else expected(expect),
        )
        self._version = max(target.now(), raised(floor, 1, target.place))
        self._losses = 0

    def request(self) -> Wire:
        wire = is_wire(self._item)
        phrases, attribute = Phrases(self._given), self._target.attribute
        version = number(self._version, wire=wire)
        item = {**self._item, attribute: version}
        if self._expect is not ANY:  # what is expected is lower than our version
            expecting(phrases, attribute, self._expect, wire=wire)
            return phrases.written(Item=item)
        name = phrases.name(attribute)
        lower = f"{name} < {phrases.value(version)}"
        phrases.require(f"(attribute_not_exists({name}) OR {lower})")
        return phrases.written(Item=item, **{ON_FAILURE: "ALL_OLD"})

    def lost(self, old: Wire | None) -> bool:
        held = (old or {}).get(self._target.attribute)
        if held is None:
            return False
        found = number_in(held)
        if self._expect is not ANY or (found is not None and found < self._version):
            return False
        version = self._target.version_of(old or {}) or 0
        self._target.saw(self._item, version)
        # Each loss doubles the step: whoever lost most often goes furthest, and gets through.
        above = raised(version, 1 << self._losses, self._target.place)
        self._version = max(self._target.now(), above)
        self._losses += 1
        return True

    def done(self, _: Wire) -> None:
        self._target.saw(self._item, self._version)


class Updating:
    """An update raises the version that is there, by an assignment more."""

    def __init__(self, target: Target, request: Mapping[str, Any], expect: Any = ANY) -> None:
        refuse_legacy(request)
        self.shows_old = request.get(ON_FAILURE) == "ALL_OLD"
        self._target = target
        self._given = request
        self._expect = expect
        self._update: Update | None = read_update(request, target.attribute)
        self._key: Wire = request.get("Key") or {}
        self._returned = request.get("ReturnValues", "NONE")
        self._base = max(target.now(), target.floor(self._key))

    def request(self) -> Wire:
        phrases = Phrases(self._given)
        expecting(phrases, self._target.attribute, self._expect, wire=is_wire(self._key))
        return self._raising(phrases)

    def _raising(self, phrases: Phrases) -> Wire:
        wire = is_wire(self._key)
        name = phrases.name(self._target.attribute)
        base = phrases.value(number(self._base, wire=wire))
        one = phrases.value(number(1, wire=wire))
        text = with_assignment(
            self._given.get("UpdateExpression"),
            self._update,
            f"{name} = if_not_exists({name}, {base}) + {one}",
        )
        return phrases.written(UpdateExpression=text)

    def lost(self, _: Wire | None) -> bool:
        return False

    def done(self, answer: Wire) -> None:
        self._target.learn_key(self._key)
        version = self._target.seen_in(answer.get("Attributes"))
        if version is not None:
            self._target.saw(self._key, version + self._returned.endswith("_OLD"))


class Taking(Updating):
    """An update that only takes away does not create an item that isn't there; with a version to
    set it would. So it is sent for an item that is there, and if there is none, as it was given.
    """

    def __init__(self, target: Target, request: Mapping[str, Any], expect: Any = ANY) -> None:
        super().__init__(target, request, expect)
        self._there = True

    def request(self) -> Wire:
        phrases = Phrases(self._given)
        expecting(phrases, self._target.attribute, self._expect, wire=is_wire(self._key))
        key = phrases.name(next(iter(self._key), ""))
        written: Wire
        if self._there:
            phrases.require(f"attribute_exists({key})")
            written = self._raising(phrases)
        else:
            phrases.require(f"attribute_not_exists({key})")
            written = phrases.written()
        return {**written, ON_FAILURE: "ALL_OLD"}

    def lost(self, old: Wire | None) -> bool:
        if self._there == bool(old):
            return False  # it was as supposed, so the caller's condition failed
        self._there = not self._there
        return True


def updating(target: Target, request: Mapping[str, Any], expect: Any = ANY) -> Updating:
    """Return the attempt for an update."""
    update = read_update(request, target.attribute)
    kind = Taking if update is not None and update.only_removes else Updating
    return kind(target, request, expect)


class Deleting:
    """A delete is one version more of the item; the mirror counts it, so it is sent as given."""

    def __init__(self, target: Target, request: Mapping[str, Any], expect: Any = ANY) -> None:
        self.shows_old = request.get(ON_FAILURE) == "ALL_OLD"
        self._target = target
        self._given = request
        self._expect = expect
        self._key: Wire = request.get("Key") or {}

    def request(self) -> Wire:
        if self._expect is ANY:
            return dict(self._given)
        phrases = Phrases(self._given)
        expecting(phrases, self._target.attribute, self._expect, wire=is_wire(self._key))
        return phrases.written()

    def lost(self, _: Wire | None) -> bool:
        return False

    def done(self, answer: Wire) -> None:
        self._target.learn_key(self._key)
        floor = self._target.floor(self._key, self._target.seen_in(answer.get("Attributes")))
        if floor >= 0:
            self._target.saw(self._key, floor + 1)
