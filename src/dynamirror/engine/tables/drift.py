"""How a table differs from the one that it was made like, and what makes it like that again.

The source is the model; in a two-way mirror, the strongest replica. Nothing that is there is ever
taken away: what the other table has more (an index, a tag, longer recovery) is its owner's choice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from dynamirror.config.model import Deletes, Mirror, Place, Side
from dynamirror.core.servers import habits_of
from dynamirror.core.values import Wire
from dynamirror.engine.source import Table
from dynamirror.engine.tables.findings import Finding, Severity, bare, label
from dynamirror.engine.tables.furniture import Seen
from dynamirror.engine.tables.schema import (
    ON_DEMAND,
    billing,
    definitions,
    expiry_seen,
    index_of,
    kms_key,
    limits,
    local_indexes,
    throughput,
)

MEND = "run `dynamirror init CONFIG --mend`"


class Change(msgspec.Struct, frozen=True):
    """One request that mends something; ``request`` lacks what names the table."""

    sentence: str
    operation: str
    request: Wire


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One thing in which two tables differ."""

    severity: Severity
    what: str
    here: str
    """At the model."""
    there: str
    """At the table that should be like it."""
    remedy: str = MEND
    mend: tuple[Change, ...] = ()
    """Empty: it can't be mended for the user."""

    def finding(self, model: Place, place: Place) -> Finding:
        """Return it as ``check`` tells it."""
        return Finding(
            severity=self.severity,
            region=place.region,
            table=bare(place.table),
            what=f"{self.what}: {self.there} here, {self.here} at {label(model)}",
            remedy=self.remedy,
            here=self.here,
            there=self.there,
        )


def copies(mirror: Mirror) -> tuple[Place, ...]:
    """Return the places of the tables that should be like the mirror's source."""
    if isinstance(mirror, Side) and mirror.source.name != mirror.replicas[0].name:
        return ()
    return mirror.targets


def differences(mirror: Mirror, target: Place, model: Seen, copy: Seen) -> list[Difference]:
    """Return how a mirror's target differs from its source, in a stable order."""
    if model.table is None or copy.table is None:
        return []
    view = mirror.views.get(target.name)
    reshaped = view is not None and bool(view.key or view.shape.rename)
    lacks = habits_of(target.server).lacks
    found = [
        *_billing(model.table.description, copy.table.description),
        *([] if reshaped else _indexes(model.table, copy.table)),
        *_expiry(mirror, expiry_seen(view, model.expires_by), copy),
        *_recovery(model, copy),
        *_switches(model.table.description, copy.table.description),
        *_tags(model.tags, copy.tags),
        *_encryption(model.table.description, copy.table.description),
    ]
    # What a server can't do is no difference: there is nothing that anybody could do about it.
    return [one for one in found if not lacks.intersection(step.operation for step in one.mend)]


def _billing(model: Wire, copy: Wire) -> Iterator[Difference]:
    mode, other = billing(model), billing(copy)
    if mode != other:
        request: Wire = {"BillingMode": mode}
        if mode != ON_DEMAND:
            request |= throughput(model)
            indexes = {index["IndexName"]: index for index in _global(model)}
            units = [
                {"Update": {"IndexName": name, **throughput(indexes.get(name, model))}}
                for name in (index["IndexName"] for index in _global(copy))
            ]
            request |= {"GlobalSecondaryIndexUpdates": units} if units else {}
        change = Change(f"bill it {_mode(mode)}", "UpdateTable", request)
        here, there = _mode(mode), _mode(other)
        yield Difference(
            severity=Severity.NOTE, what="billing", here=here, there=there, mend=(change,)
        )
    elif mode == ON_DEMAND and limits(model) != limits(copy):
        none = {"MaxReadRequestUnits": -1, "MaxWriteRequestUnits": -1}
        change = Change(
            "limit its throughput alike",
            "UpdateTable",
            {"OnDemandThroughput": {**none, **limits(model)}},
        )
        yield Difference(
            severity=Severity.NOTE,
            what="most throughput on demand",
            here=_units(limits(model)),
            there=_units(limits(copy)),
            mend=(change,),
        )


def _indexes(model: Table, copy: Table) -> Iterator[Difference]:
    there = {index["IndexName"]: index for index in _global(copy.description)}
    for index in _global(model.description):
        name = index["IndexName"]
        if index.get("IndexStatus") == "DELETING":
            continue
        if name not in there:
            made = index_of(index, copy.description)
            request = {
                "AttributeDefinitions": definitions(model.description, [copy.description, index]),
                "GlobalSecondaryIndexUpdates": [{"Create": made}],
            }
            yield Difference(
                severity=Severity.FINDING,
                what=f"global index {name}",
                here="there",
                there="missing",
                mend=(Change(f"add index {name}", "UpdateTable", request),),
            )
        elif _schema(index) != _schema(there[name]):
            yield _other_index("global", name, f"delete it there, then {MEND}")
    local = {index["IndexName"]: index for index in local_indexes(copy.description)}
    for index in local_indexes(model.description):
        name = index["IndexName"]
        remedy = "local indexes are made with their table only: make the table anew, and backfill"
        if name not in local:
            what, kind = f"local index {name}", Severity.FINDING
            yield Difference(severity=kind, what=what, here="there", there="missing", remedy=remedy)
        elif _schema(index) != _schema(local[name]):
            yield _other_index("local", name, remedy)
    mine = {index["IndexName"] for index in _global(model.description)}
    for name in sorted(there.keys() - mine):
        what = f"global index {name}"
        yield Difference(
            severity=Severity.NOTE, what=what, here="missing", there="there", remedy=""
        )


def _other_index(kind: str, name: str, remedy: str) -> Difference:
    return Difference(
        severity=Severity.FINDING,
        what=f"key or projection of {kind} index {name}",
        here="another",
        there="its own",
        remedy=remedy,
    )


def _expiry(mirror: Mirror, name: str | None, copy: Seen) -> Iterator[Difference]:
    """Yield that a table doesn't expire items by itself; one that does is ``needs``' to judge.

    ``name``: by which attribute it should.
    """
    if name is None or copy.expires_by is not None or mirror.ttl_deletes is Deletes.IGNORE:
        return
    specification = {"Enabled": True, "AttributeName": name}
    change = Change(
        f"let items expire by {name!r}",
        "UpdateTimeToLive",
        {"TimeToLiveSpecification": specification},
    )
    yield Difference(
        severity=Severity.NOTE,
        what="time to live",
        here=f"by {name!r}",
        there="off",
        mend=(change,),
    )


def _recovery(model: Seen, copy: Seen) -> Iterator[Difference]:
    mine, theirs = model.recovery, copy.recovery
    if mine is None or theirs is None or not mine.on:
        return
    if theirs.on and (theirs.days or 0) >= (mine.days or 0):
        return
    yield Difference(
        severity=Severity.NOTE if theirs.on else Severity.FINDING,
        what="point-in-time recovery",
        here=_days(mine.days),
        there=_days(theirs.days) if theirs.on else "off",
        mend=(recovery_like(model),),
    )


def recovery_like(model: Seen) -> Change:
    """Return what turns on point-in-time recovery as far back as the model's."""
    specification: Wire = {"PointInTimeRecoveryEnabled": True}
    if model.recovery is not None and model.recovery.days is not None:
        specification["RecoveryPeriodInDays"] = model.recovery.days
    return Change(
        "turn on point-in-time recovery",
        "UpdateContinuousBackups",
        {"PointInTimeRecoverySpecification": specification},
    )


def _switches(model: Wire, copy: Wire) -> Iterator[Difference]:
    if model.get("DeletionProtectionEnabled") and not copy.get("DeletionProtectionEnabled"):
        request: Wire = {"DeletionProtectionEnabled": True}
        yield Difference(
            severity=Severity.FINDING,
            what="protection from deletion",
            here="on",
            there="off",
            mend=(Change("protect it from deletion", "UpdateTable", request),),
        )
    mine, theirs = _class(model), _class(copy)
    if mine != theirs:
        request = {"TableClass": mine}
        yield Difference(
            severity=Severity.NOTE,
            what="table class",
            here=mine,
            there=theirs,
            mend=(Change(f"make its class {mine}", "UpdateTable", request),),
        )


def _tags(model: Mapping[str, str] | None, copy: Mapping[str, str] | None) -> Iterator[Difference]:
    if model is None or copy is None:
        return
    wrong = {name: model[name] for name in sorted(model) if copy.get(name) != model[name]}
    if not wrong:
        return
    tags = [{"Key": name, "Value": text} for name, text in wrong.items()]
    yield Difference(
        severity=Severity.NOTE,
        what="tags",
        here=", ".join(f"{name}={text}" for name, text in wrong.items()),
        there=", ".join(f"{name}={copy[name]}" for name in wrong if name in copy) or "none of them",
        mend=(Change(f"tag it: {', '.join(wrong)}", "TagResource", {"Tags": tags}),),
    )


def _encryption(model: Wire, copy: Wire) -> Iterator[Difference]:
    if kms_key(model) is not None and kms_key(copy) is None:
        yield Difference(
            severity=Severity.NOTE,
            what="encryption",
            here="with a KMS key",
            there="with AWS's own key",
            remedy="keys belong to a region and an account: set one of its own"
            " (UpdateTable, SSESpecification), if it should have one",
        )


def _global(description: Wire) -> list[Wire]:
    return list(description.get("GlobalSecondaryIndexes") or ())


def _schema(index: Wire) -> list[object]:
    projection = index["Projection"]
    more = sorted(projection.get("NonKeyAttributes") or ())
    return [index["KeySchema"], projection.get("ProjectionType"), more]


def _class(description: Wire) -> str:
    return str((description.get("TableClassSummary") or {}).get("TableClass") or "STANDARD")


def _mode(mode: str) -> str:
    return "on demand" if mode == ON_DEMAND else "provisioned"


def _units(given: Wire) -> str:
    names = {"MaxReadRequestUnits": "reads", "MaxWriteRequestUnits": "writes"}
    told = [f"{given[name]} {noun} a second" for name, noun in names.items() if name in given]
    return ", ".join(told) or "unlimited"


def _days(days: int | None) -> str:
    return "on" if days is None else f"{days} days back"
