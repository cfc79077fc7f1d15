"""What a mirror's function may do: this, for these reasons, and no more.

Each grant is a reason, actions and tables; ``tests/deploy/test_permissions.py`` holds them to what
the engine really asks of the service. A ``Sid`` is the reason, so that whoever reads a policy in
the console sees why.

Sources: Service Authorization Reference, 'Actions, resources, and condition keys for Amazon
DynamoDB'; Amazon DynamoDB Developer Guide, 'Using identity-based policies' (a batch has an action
of its own, a transaction that of each of its operations).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dynamirror.config.model import Guard, Mirror, OnPoison, Place, Side, Unversioned
from dynamirror.config.problems import bare
from dynamirror.config.relations import account_of, is_elsewhere

Json = dict[str, Any]

POLICY_VERSION = "2012-10-17"
"""Of the policy language, the newest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Actions on a table, and why."""

    reason: str
    """Letters and digits only: it is the statement's Sid."""
    actions: tuple[str, ...]
    """Of DynamoDB, without the prefix."""
    place: Place
    """Whose credentials reach it."""
    table: str
    """Name or ARN."""


def grants(mirror: Mirror) -> Iterator[Grant]:
    """Yield what the function of a mirror's consumer asks of tables."""
    source = mirror.source
    if isinstance(mirror, Side):
        yield from _two_way(mirror)
    else:
        for target in mirror.targets:
            yield from _one_way(mirror, target)
    marked = mirror.guard is not Guard.ORDER and not isinstance(mirror, Side)
    if marked or mirror.on_poison is OnPoison.PARK:
        yield Grant(
            reason="TellTheStreamsEpoch",
            actions=("PutItem", "Query"),
            place=source,
            table=mirror.checkpoints,
        )
    if mirror.on_poison is OnPoison.PARK:
        yield Grant(
            reason="ParkWhatCannotBeApplied",
            actions=("PutItem", "Query"),
            place=source,
            table=mirror.parked,
        )
    if mirror.backlog_seconds:
        yield from _absence(mirror)


def _absence(mirror: Mirror) -> Iterator[Grant]:
    """Yield what it asks for while a target is away, and when that is back."""
    yield Grant(
        reason="ParkWhatATargetLacks",
        actions=("BatchWriteItem", "DeleteItem", "GetItem", "PutItem", "Query", "UpdateItem"),
        place=mirror.source,
        table=mirror.parked,
    )
    yield Grant(
        reason="BringItToTheTarget",
        actions=("GetItem",),
        place=mirror.source,
        table=mirror.source.table,
    )
    yield Grant(
        reason="SeeWhichLinksArePaused",
        actions=("Query",),
        place=mirror.source,
        table=mirror.checkpoints,
    )
    yield Grant(
        reason="OneAtATime",
        actions=("DeleteItem", "GetItem", "PutItem"),
        place=mirror.source,
        table=mirror.checkpoints,
    )


def copying(mirror: Mirror) -> Iterator[Grant]:
    """Yield what copying a mirror's source asks of tables."""
    source = mirror.source
    yield Grant(
        reason="CopyTheTable",
        actions=("DescribeTable", "Scan"),
        place=source,
        table=source.table,
    )
    pauses = () if mirror.copies_beside else ("DeleteItem",)
    yield Grant(
        reason="NoteWhatIsCopied",
        actions=(*pauses, "PutItem", "Query"),
        place=source,
        table=mirror.checkpoints,
    )
    if isinstance(mirror, Side):
        ledger = mirror.ledger_of(source)
        yield from _two_way(mirror)
        yield Grant(reason="CopyDeletes", actions=("Scan",), place=source, table=ledger)
        return
    ledgered = mirror.guard is Guard.LEDGER
    for target in mirror.targets:
        yield Grant(
            reason="PutCopies",
            actions=("PutItem",) if ledgered else ("BatchWriteItem", "PutItem"),
            place=target,
            table=target.table,
        )
        if ledgered:
            yield Grant(
                reason="OnlyWhereNothingArrived",
                actions=("ConditionCheckItem",),
                place=target,
                table=mirror.ledger_of(target),
            )


def comparing(mirror: Mirror) -> Iterator[Grant]:
    """Yield what comparing a mirror's tables in shares asks of them."""
    source = mirror.source
    if not mirror.compared:
        return
    for place in (source, *mirror.compared):
        schema = "DescribeTable" if place is source else "DescribeTimeToLive"
        yield Grant(
            reason="CompareTables",
            actions=("BatchGetItem", schema, "Scan"),
            place=place,
            table=place.table,
        )
    replicas = mirror.replicas if isinstance(mirror, Side) else (source,)
    for replica in replicas:
        yield Grant(
            reason="AskHowFarBehindItIs",
            actions=("Query",),
            place=replica,
            table=replace(mirror, source=replica).checkpoints,
        )
        if isinstance(mirror, Side):
            yield Grant(
                reason="LookForDeletes",
                actions=("BatchGetItem",),
                place=replica,
                table=mirror.ledger_of(replica),
            )
    yield Grant(
        reason="NoteWhatWasCompared",
        actions=("PutItem",),
        place=source,
        table=mirror.checkpoints,
    )


def _one_way(mirror: Mirror, target: Place) -> Iterator[Grant]:
    batch = ("BatchWriteItem",) if mirror.guard is Guard.ORDER else ()
    yield Grant(
        reason="WriteTheTarget",
        actions=(*batch, "DeleteItem", "PutItem"),
        place=target,
        table=target.table,
    )
    if mirror.guard is Guard.LEDGER:
        yield Grant(
            reason="MarkWhatWasApplied",
            actions=("PutItem",),
            place=target,
            table=mirror.ledger_of(target),
        )


def _two_way(side: Side) -> Iterator[Grant]:
    here = side.source
    raising = ("UpdateItem",) if side.unversioned is Unversioned.BUMP else ()
    yield Grant(
        reason="SettleConflictsHere",
        actions=("DeleteItem", "UpdateItem"),
        place=here,
        table=here.table,
    )
    for there in side.targets:
        yield Grant(
            reason="CarryChangesToTheOthers",
            actions=("DeleteItem", "PutItem", *raising),
            place=there,
            table=there.table,
        )
    if side.unversioned is Unversioned.REPORT:
        yield Grant(
            reason="ListWhatRaisedNoVersion",
            actions=("DeleteItem", "PutItem", "Query"),
            place=here,
            table=side.checkpoints,
        )
    for replica in (here, *side.targets):
        yield Grant(
            reason="RememberDeletes",
            actions=("GetItem", "UpdateItem"),
            place=replica,
            table=side.ledger_of(replica),
        )
        yield Grant(
            reason="KeepWritesThatLost",
            actions=("PutItem",),
            place=replica,
            table=side.journal_of(replica),
        )


def statements(asked: Iterable[Grant], account: str, home: str) -> list[Json]:
    """Return the statements that grant it all to a role of an account.

    There is one for each reason and set of actions, under Sids that differ. ``account`` is empty
    where it is whoever's who deploys, and ``home`` where that isn't known.
    """
    found: dict[tuple[str, tuple[str, ...]], list[Json]] = {}
    for grant in asked:
        if is_elsewhere(grant.place.endpoint_url):
            continue
        resources = found.setdefault((grant.reason, grant.actions), [])
        resource = table_arn(grant.place, grant.table, account, home)
        if resource not in resources:
            resources.append(resource)
    reasons: list[str] = []
    told = []
    for (reason, actions), resources in found.items():
        reasons.append(reason)
        again = reasons.count(reason)
        told.append(
            {
                "Sid": reason if again == 1 else f"{reason}{again}",
                "Effect": "Allow",
                "Action": [f"dynamodb:{action}" for action in actions],
                "Resource": sorted(resources, key=str),
            }
        )
    return told


def table_arn(place: Place, table: str, account: str, home: str) -> Json:
    """Return a table's ARN as a template of an account has it."""
    whose = account_of(place) or home
    if whose == account:
        whose = "${AWS::AccountId}"
    named = f"dynamodb:{place.region}:{whose}:table/{bare(table)}"
    return {"Fn::Sub": f"arn:${{AWS::Partition}}:{named}"}


def keep_others_out(table: str, writers: Sequence[str]) -> Json:
    """Return a resource policy by which only these principals write a table, named by its ARN.

    ``writers`` are ARNs of roles or users. Such a policy is for a one-way target: its own
    applications then read only.
    """
    return {
        "Version": POLICY_VERSION,
        "Statement": [
            {
                "Sid": "OnlyTheMirrorWrites",
                "Effect": "Deny",
                "Principal": "*",
                "Action": [
                    "dynamodb:BatchWriteItem",
                    "dynamodb:DeleteItem",
                    "dynamodb:PartiQLDelete",
                    "dynamodb:PartiQLInsert",
                    "dynamodb:PartiQLUpdate",
                    "dynamodb:PutItem",
                    "dynamodb:UpdateItem",
                ],
                "Resource": table,
                "Condition": {
                    "ArnNotLike": {"aws:PrincipalArn": list(writers)},
                    "Bool": {"aws:PrincipalIsAWSService": "false"},  # time to live goes on
                },
            }
        ],
    }
