"""CloudFormation, as far as we speak to it: one stack's state, changes, end.

Sources: AWS CloudFormation API Reference, 'CreateChangeSet', 'DescribeStacks'; User Guide, 'Stack
status codes'.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dynamirror.deploy.grants import Json
from dynamirror.errors import DynamirrorError, ServiceError
from dynamirror.ports import ControlPlane

BODY_BYTES_MAX = 51_200
"""Of a template in a request; a larger one is fetched from S3 (User Guide, 'Quotas')."""

LOOK_S_MIN, LOOK_S_MAX = 0.2, 5.0
"""Time between two looks at a stack, growing."""

WAIT_S_MAX = 3_600.0

CHANGE_SET = "dynamirror"

FAILED_ANEW = ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "DELETE_FAILED")
"""States of a stack that was never there: it can only be deleted."""

OnEvent = Callable[[str], None]


class StackError(DynamirrorError):
    """A stack could not be made, changed or deleted."""

    def __init__(self, text: str, hint: str) -> None:
        super().__init__(text)
        self.hint = hint


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change to a resource of a stack."""

    action: str
    """``Add``, ``Modify``, ``Remove``, ``Import`` or ``Dynamic``."""
    resource: str
    """Its logical id."""
    type: str
    replaced: str = "no"
    """Whether a new one takes its place: ``no``, ``maybe`` or ``yes``."""
    properties: tuple[str, ...] = ()
    """Those that change."""
    kept: bool = False
    """Whether what it stands for stays, though the stack forgets it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What there is of a stack."""

    status: str = ""
    """Empty: there is none."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)

    @property
    def there(self) -> bool:
        """Whether it was made and can be changed."""
        return self.status not in ("", "REVIEW_IN_PROGRESS", *FAILED_ANEW)

    @property
    def busy(self) -> bool:
        """Whether something is being done to it."""
        return self.status.endswith("_IN_PROGRESS") and self.status != "REVIEW_IN_PROGRESS"


class Formation:
    """One stack, by its name, in one account and region."""

    def __init__(self, control: ControlPlane, name: str, where: str) -> None:
        self._control = control
        self._name = name
        self.where = where

    async def state(self) -> State:
        """Return what there is."""
        try:
            answer = await self._call("DescribeStacks")
        except ServiceError as error:
            if "does not exist" in error.message:
                return State()
            raise
        (told,) = answer["Stacks"]
        return State(
            status=told["StackStatus"],
            parameters={
                each["ParameterKey"]: each["ParameterValue"] for each in told.get("Parameters", ())
            },
            outputs={each["OutputKey"]: each["OutputValue"] for each in told.get("Outputs", ())},
        )

    async def resources(self) -> dict[str, str]:
        """Return the physical ids of what the stack has, by logical ids."""
        found: dict[str, str] = {}
        more: dict[str, Any] = {}
        while True:
            answer = await self._call("ListStackResources", **more)
            for each in answer["StackResourceSummaries"]:
                if not each["ResourceStatus"].startswith("DELETE_COMPLETE"):
                    found[each["LogicalResourceId"]] = each.get("PhysicalResourceId", "")
            if not answer.get("NextToken"):
                return found
            more = {"NextToken": answer["NextToken"]}

    async def propose(
        self, template: Json, parameters: Mapping[str, str], *, new: bool, url: str | None
    ) -> list[Change]:
        """Make a change set, and return its changes; none: it is gone again.

        ``url`` is where the template lies in S3, for one that is too large for a request.
        Raises StackError where CloudFormation refuses it.
        """
        request = {
            "ChangeSetName": CHANGE_SET,
            "ChangeSetType": "CREATE" if new else "UPDATE",
            "Capabilities": ["CAPABILITY_NAMED_IAM"],
            "Parameters": [
                {"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()
            ],
            **({"TemplateURL": url} if url else {"TemplateBody": body_of(template)}),
        }
        try:
            await self._call("CreateChangeSet", **request)
        except ServiceError as error:
            if error.code != "AlreadyExistsException":
                raise
            # One that was made and never carried out, by a process that died.
            await self._call("DeleteChangeSet", ChangeSetName=CHANGE_SET)
            await self._call("CreateChangeSet", **request)
        answer = await self._described()
        if answer["Status"] == "FAILED":
            await self.withdraw(new=new)
            reason = answer.get("StatusReason", "")
            if "No updates" in reason or "didn't contain changes" in reason:
                return []
            raise StackError(f"{self.where}: CloudFormation refuses the change: {reason}", MEND)
        order = {name: place for place, name in enumerate(template["Resources"])}
        changes = [_change(each["ResourceChange"]) for each in answer["Changes"]]
        return sorted(changes, key=lambda one: order.get(one.resource, len(order)))

    async def withdraw(self, *, new: bool) -> None:
        """Take a change set back, and with it a stack that was never made."""
        await self._call("DeleteChangeSet", ChangeSetName=CHANGE_SET)
        if new:
            await self.delete(lambda _: None)

    async def carry_out(self, on_event: OnEvent) -> None:
        """Execute the change set and wait for its end.

        Raises StackError where it failed; the stack is then as it was before.
        """
        before = await self._events()
        await self._call("ExecuteChangeSet", ChangeSetName=CHANGE_SET)
        state = await self.settled(on_event, {event["EventId"] for event in before})
        if state.status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
            known = {event["EventId"] for event in before}
            raise await self._failure(state.status, known)

    async def settled(self, on_event: OnEvent, known: set[str] | None = None) -> State:
        """Wait until nothing is being done to the stack, telling of each resource that is ready.

        Raises StackError if that takes more than an hour.
        """
        known = set(known or ())
        waited, pause = 0.0, LOOK_S_MIN
        while (state := await self.state()).busy:
            for event in await self._events():
                if event["EventId"] not in known:
                    known.add(event["EventId"])
                    on_event(f"{self.where}: {_told(event)}")
            if waited > WAIT_S_MAX:
                raise StackError(f"{self.where}: still {state.status} after an hour", AGAIN)
            await asyncio.sleep(pause)
            waited, pause = waited + pause, min(LOOK_S_MAX, pause * 1.5)
        return state

    async def delete(self, on_event: OnEvent) -> None:
        """Delete the stack and wait for its end. Raises StackError where something is left."""
        before = {event["EventId"] for event in await self._events()}
        await self._call("DeleteStack")
        state = await self.settled(on_event, before)
        if state.status not in ("", "DELETE_COMPLETE"):
            raise await self._failure(state.status, before)

    async def _described(self) -> dict[str, Any]:
        """Return the change set once CloudFormation has made up its mind, with all its pages."""
        pause = LOOK_S_MIN
        while True:
            answer = await self._call("DescribeChangeSet", ChangeSetName=CHANGE_SET)
            if not answer["Status"].endswith(("_PENDING", "_IN_PROGRESS")):
                break
            await asyncio.sleep(pause)
            pause = min(LOOK_S_MAX, pause * 1.5)
        changes = list(answer.get("Changes", ()))
        page = answer
        while page.get("NextToken"):
            page = await self._call(
                "DescribeChangeSet", ChangeSetName=CHANGE_SET, NextToken=page["NextToken"]
            )
            changes += page["Changes"]
        return {**answer, "Changes": changes}

    async def _failure(self, status: str, known: set[str]) -> StackError:
        """Return why it came to this: the first resources that failed, and why."""
        fresh = [event for event in await self._events() if event["EventId"] not in known]
        reasons = [
            f"  {event['LogicalResourceId']} ({event['ResourceType']}): "
            f"{event.get('ResourceStatusReason', event['ResourceStatus'])}"
            for event in reversed(fresh)
            if event["ResourceStatus"].endswith("_FAILED")
            and "cancelled" not in event.get("ResourceStatusReason", "")
        ]
        text = "\n".join([f"{self.where}: the stack {self._name} is {status}", *reasons])
        denied = any("not authorized" in each or "AccessDenied" in each for each in reasons)
        return StackError(text, GRANT if denied else STUCK.get(status, MEND))

    async def _events(self) -> list[dict[str, Any]]:
        """Return the newest events, newest first."""
        try:
            answer = await self._call("DescribeStackEvents")
        except ServiceError as error:
            if "does not exist" in error.message:
                return []
            raise
        events: list[dict[str, Any]] = answer["StackEvents"]
        return events

    async def _call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        return await self._control.call(
            "cloudformation", operation, StackName=self._name, **parameters
        )


MEND = "Mend what is named above, then run `dynamirror deploy CONFIG` again."
AGAIN = "Look at the stack in the CloudFormation console; deploy again goes on from there."
GRANT = "Grant whoever deploys the action named above, then run `dynamirror deploy CONFIG` again."
STUCK = {
    "UPDATE_ROLLBACK_FAILED": "Run `aws cloudformation continue-update-rollback`, then deploy.",
    "DELETE_FAILED": "Mend what is named above, then run `dynamirror destroy CONFIG` again.",
}


def body_of(template: Json) -> str:
    """Return a template as a request has it."""
    return json.dumps(template, separators=(",", ":"))


def _change(told: dict[str, Any]) -> Change:
    changed = (each["Target"].get("Name") for each in told.get("Details", ()) if "Target" in each)
    return Change(
        action=told["Action"],
        resource=told["LogicalResourceId"],
        type=told["ResourceType"],
        replaced={"True": "yes", "Conditional": "maybe"}.get(told.get("Replacement", ""), "no"),
        properties=tuple(dict.fromkeys(name for name in changed if name)),
        kept=told.get("PolicyAction") == "Retain",
    )


def _told(event: dict[str, Any]) -> str:
    status = event["ResourceStatus"].replace("_", " ").lower()
    return f"{event['LogicalResourceId']}: {status}"
