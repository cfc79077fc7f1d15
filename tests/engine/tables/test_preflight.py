from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tests.engine.regions import SIMPLE, Regions

from dynamirror.config.model import Deletes, Guard
from dynamirror.core.values import Wire
from dynamirror.core.view.lens import View
from dynamirror.core.view.shape import Shape
from dynamirror.engine.tables.findings import Finding, Severity
from dynamirror.engine.tables.preflight import Checked, Preflight
from dynamirror.errors import AccessDeniedError

Break = Callable[[Regions], Any]


def checked(regions: Regions) -> Checked:
    preflight = Preflight(
        regions.mirror,
        regions.api_of,
        regions.checkpoints(),
        lambda _: "these regions are in memory",
        clock=lambda: regions.now_ms,
    )
    return asyncio.run(preflight.run())


def ready(**settings: Any) -> Regions:
    """Return regions in which the mirror could run."""
    regions = Regions(**settings)
    regions.source()
    regions.init()
    regions.called.clear()
    return regions


def grave(found: Checked) -> list[Finding]:
    return [one for one in found.findings if one.severity is not Severity.NOTE]


def expire(regions: Regions, source: str, target: str) -> None:
    """Turn time to live on, by these attributes; empty: leave it off."""
    for api, attribute in ((regions.us, source), (regions.eu, target)):
        specification = {"Enabled": True, "AttributeName": attribute}
        request = {"TableName": "Stories", "TimeToLiveSpecification": specification}
        if attribute:
            api.perform("UpdateTimeToLive", request)


def replace_parked(regions: Regions) -> None:
    delete(regions, "us", "Stories-dynamirror-parked")
    regions.us.perform("CreateTable", {"TableName": "Stories-dynamirror-parked", **SIMPLE})


def delete(regions: Regions, region: str, table: str) -> None:
    {"us": regions.us, "eu": regions.eu}[region].perform("DeleteTable", {"TableName": table})


@pytest.mark.parametrize("guard", Guard)
def test_what_init_made_is_fine(guard: Guard) -> None:
    """After init, check has nothing to find."""
    assert grave(checked(ready(guard=guard))) == []


@pytest.mark.parametrize("guard", Guard)
def test_a_check_changes_nothing(guard: Guard) -> None:
    """Trying permissions leaves no item and no stream record anywhere."""
    regions = ready(guard=guard)
    regions.put({"id": {"S": "a"}})

    checked(regions)

    assert list(regions.us.table("Stories").items.values()) == [{"id": {"S": "a"}}]
    assert not regions.eu.table("Stories").items
    for name in ("checkpoints", "parked"):
        assert not regions.us.table(f"Stories-dynamirror-{name}").items
    assert set(regions.called) <= {"PutItem", "DeleteItem", "TransactWriteItems"}


def test_everything_that_is_missing_is_told_at_once() -> None:
    """With no table anywhere, each is a finding with its remedy."""
    found = checked(Regions(guard=Guard.LEDGER)).findings

    assert [one.severity for one in found] == [Severity.UNUSABLE] * 5
    assert all(one.what == "there is no such table" and one.remedy for one in found)


BROKEN: dict[str, tuple[Break, Severity, str]] = {
    "stream off": (
        lambda at: at.us.perform(
            "UpdateTable",
            {"TableName": "Stories", "StreamSpecification": {"StreamEnabled": False}},
        ),
        Severity.UNUSABLE,
        "stream is off",
    ),
    "target gone": (lambda at: delete(at, "eu", "Stories"), Severity.UNUSABLE, "no such table"),
    "checkpoints gone": (
        lambda at: delete(at, "us", "Stories-dynamirror-checkpoints"),
        Severity.UNUSABLE,
        "no such table",
    ),
    "another's table": (
        replace_parked,
        Severity.UNUSABLE,
        "has the key id (S), not k (S), seq (S)",
    ),
    "rows of ours stay": (
        lambda at: at.us.perform(
            "UpdateTimeToLive",
            {
                "TableName": "Stories-dynamirror-parked",
                "TimeToLiveSpecification": {"Enabled": False, "AttributeName": "expires_at"},
            },
        ),
        Severity.FINDING,
        "time to live is off",
    ),
    "the target expires by itself": (
        lambda at: expire(at, "", "until"),
        Severity.FINDING,
        "while the source has none",
    ),
    "the target expires otherwise": (
        lambda at: expire(at, "until", "at"),
        Severity.FINDING,
        "while the source goes by 'until'",
    ),
    "a stamp that isn't ours": (
        lambda at: at.put({"id": {"S": "a"}, "_mirror": {"S": "mine"}}),
        Severity.FINDING,
        "1 of 1 sampled items have an attribute '_mirror'",
    ),
    "parked": (
        lambda at: at.us.perform(
            "PutItem",
            {
                "TableName": "Stories-dynamirror-parked",
                "Item": {"k": {"S": "k"}, "seq": {"S": "s"}},
            },
        ),
        Severity.FINDING,
        "parked changes",
    ),
    "history lost": (
        lambda at: asyncio.run(_lose(at)),
        Severity.UNUSABLE,
        "history was lost: trimmed",
    ),
    "re-created stream": (
        lambda at: asyncio.run(_enroll(at, "arn:old")),
        Severity.UNUSABLE,
        "the stream was re-created: arn:old was followed",
    ),
}


async def _enroll(regions: Regions, stream: str) -> None:
    checkpoints = regions.checkpoints()
    await checkpoints.enroll(await checkpoints.load(), stream, regions.now_ms)


async def _lose(regions: Regions) -> None:
    checkpoints = regions.checkpoints()
    known = await checkpoints.met("arn:old", regions.now_ms)
    await checkpoints.lose(known, "trimmed")


@pytest.mark.parametrize("broken", BROKEN)
def test_what_is_wrong_is_found(broken: str) -> None:
    """Each thing that is wrong is one finding, with what to do about it."""
    break_it, severity, what = BROKEN[broken]
    regions = ready()
    break_it(regions)

    (finding,) = grave(checked(regions))

    assert finding.severity is severity
    assert what in finding.what
    assert finding.remedy


def test_another_key_is_unusable() -> None:
    """A target whose key has another name or type can't hold the source's items."""
    regions = Regions()
    regions.source()
    other = {**SIMPLE, "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "N"}]}
    regions.eu.perform("CreateTable", {"TableName": "Stories", **other})
    regions.init()

    (finding,) = grave(checked(regions))

    assert finding.what == "its key is id (N), the source's is id (S)"


@pytest.mark.parametrize(
    "operation",
    [
        *("DescribeTable", "DescribeTimeToLive", "DescribeStream"),
        *("Scan", "Query", "GetShardIterator", "GetRecords", "PutItem", "DeleteItem"),
    ],
)
def test_a_missing_permission_is_named(operation: str) -> None:
    """Every request the mirror needs is tried; a refusal names the action to allow."""
    regions = ready()
    regions.denied.add(operation)

    found = grave(checked(regions))

    assert found
    assert {one.severity for one in found} == {Severity.UNUSABLE}
    assert all(f"dynamodb:{operation}" in one.remedy for one in found)


def test_a_denied_transaction_is_named() -> None:
    """The guard ledger's transactions are tried too."""
    regions = ready(guard=Guard.LEDGER)
    regions.denied.add("TransactWriteItems")

    assert any("in a transaction" in one.what for one in grave(checked(regions)))


def test_expiry_on_both_sides_is_explained() -> None:
    """Time to live alike on both sides is no fault, but the target then deletes on its own."""
    regions = ready()
    expire(regions, "until", "until")

    found = checked(regions)

    assert grave(found) == []
    assert any("deletes items on its own" in one.what for one in found.findings)


@pytest.mark.parametrize(
    ("there", "fault"),
    [("gone_at", ""), ("until", "goes by 'until', here 'gone_at'"), ("other", "here 'gone_at'")],
)
def test_a_target_expires_by_the_name_in_its_view(there: str, fault: str) -> None:
    """Time to live by the attribute that the view renames is alike; by another it is a finding."""
    regions = ready(views={"eu-west-1": View(shape=Shape(rename={"until": "gone_at"}))})
    expire(regions, "until", there)

    found = grave(checked(regions))

    assert [one.what for one in found if "time to live" in one.what and fault in one.what] == [
        one.what for one in found
    ]
    assert bool(found) is bool(fault)


def test_a_target_that_must_keep_expired_items_may_not_expire_them() -> None:
    """With ttl_deletes = "ignore", time to live at the target is a finding."""
    regions = ready(ttl_deletes=Deletes.IGNORE)
    expire(regions, "until", "until")

    assert any("despite ttl_deletes" in one.what for one in grave(checked(regions)))


@pytest.mark.parametrize(("guard", "told"), [(Guard.ORDER, 1), (Guard.ITEM, 1), (Guard.LEDGER, 0)])
def test_late_requests_are_told_of(guard: Guard, told: int) -> None:
    """Guards that can't refuse a late request say so; the one that can doesn't."""
    found = checked(ready(guard=guard)).findings

    assert sum("late request" in one.what for one in found) == told


def test_a_running_mirror_is_told_of() -> None:
    """Who reads the stream is a note: a second run would be refused."""
    regions = ready()
    until_ms = regions.now_ms + 1_000
    asyncio.run(regions.checkpoints().put("#lease", owner="me", until_ms=until_ms, report=""))

    found = checked(regions)

    assert grave(found) == []
    assert any("is read by me" in one.what for one in found.findings)


def test_a_slower_target_is_a_finding() -> None:
    """A provisioned target takes at least what its source does, twice that with transactions."""
    provisioned = {
        "BillingMode": "PROVISIONED",
        "ProvisionedThroughput": {"ReadCapacityUnits": 5, "WriteCapacityUnits": 7},
    }
    for guard, needs in ((Guard.ORDER, None), (Guard.LEDGER, "14")):
        regions = Regions(guard=guard)
        regions.source(**provisioned)
        regions.init()

        found = [one.what for one in grave(checked(regions))]

        assert bool(found) is bool(needs)
        assert all(f"may need {needs}" in what for what in found)


def test_attributes_that_collide_make_guard_item_unusable() -> None:
    """An item with an attribute called like our mark, but no mark, could never be written."""
    regions = ready(guard=Guard.ITEM)
    regions.put({"id": {"S": "a"}, "_mirror_seq": {"S": "mine"}})
    regions.put({"id": {"S": "b"}, "_mirror_seq": {"S": f"{1:010d}#{1:040d}"}})

    (finding,) = grave(checked(regions))

    assert "1 of 2 sampled items" in finding.what
    assert "sequence_attribute" in finding.remedy


def test_items_without_room_for_the_mark_are_found() -> None:
    """With guard item, a target's item is larger than the source's by the mark."""
    item: Wire = {"id": {"S": "a"}, "text": {"S": "x" * (400 * 1024 - 20)}}
    for guard, found in ((Guard.ITEM, 1), (Guard.ORDER, 0)):
        regions = ready(guard=guard)
        regions.put(item)

        assert len(grave(checked(regions))) == found


def test_a_key_that_may_not_be_used_is_told_as_such() -> None:
    """The table may be allowed and its KMS key not: the remedy is the key's."""
    regions = ready()

    async def refuse(operation: str, _: bytes) -> None:
        if operation == "PutItem":
            raise AccessDeniedError("KMSAccessDeniedException", "no kms:Decrypt")

    regions.eu.before = refuse

    (finding,) = grave(checked(regions))

    assert (finding.severity, finding.region) == (Severity.UNUSABLE, "eu-west-1")
    assert "KMS key may not be used" in finding.what
    assert "kms:Decrypt" in finding.remedy
