"""A deployed mirror is paused by its event source mapping, and nobody else's."""

from __future__ import annotations

from typing import Any

import pytest
from tests.engine.virtual_time import run

from dynamirror.engine.stream import deployed
from dynamirror.engine.stream.deployed import UnsettledError, WhichFunctionError, mapping_of, switch

STREAM = "arn:aws:dynamodb:us-east-1:1:table/Stories/stream/now"


class Lambda:
    """As much of Lambda as is asked; a switch takes three questions to settle."""

    def __init__(self, *functions: str, settles: bool = True) -> None:
        self.mappings = [
            {
                "UUID": f"id-{number}",
                "FunctionArn": f"arn:aws:lambda:us-east-1:1:function:{name}:live",
                "State": "Enabled",
            }
            for number, name in enumerate(functions)
        ]
        self.settles = settles
        self.asked = 0

    async def call(self, service: str, operation: str, **parameters: Any) -> dict[str, Any]:
        assert service == "lambda"
        if operation == "ListEventSourceMappings":
            assert parameters["EventSourceArn"] == STREAM
            at = int(parameters.get("Marker", 0))
            more = {"NextMarker": str(at + 1)} if at + 1 < len(self.mappings) else {}
            return {"EventSourceMappings": self.mappings[at : at + 1], **more}
        (mapping,) = [one for one in self.mappings if one["UUID"] == parameters["UUID"]]
        if operation == "UpdateEventSourceMapping":
            self.wanted = "Enabled" if parameters["Enabled"] else "Disabled"
            mapping["State"] = f"{self.wanted[:-1]}ing"
        else:
            self.asked += 1
            if self.settles and self.asked >= 3:
                mapping["State"] = self.wanted
        return dict(mapping)

    async def close(self) -> None: ...


def test_the_only_mapping_is_switched_and_waited_for() -> None:
    """When `pause --deployed` has ended, nothing is delivered any more."""
    service = Lambda("dynamirror-stories")

    async def main() -> None:
        mapping = await mapping_of(service, STREAM, None)
        assert mapping.function == "dynamirror-stories"
        await switch(service, mapping, on=False)
        assert service.mappings[0]["State"] == "Disabled"
        await switch(service, mapping, on=True)
        assert service.mappings[0]["State"] == "Enabled"

    run(main)


def test_of_several_functions_one_must_be_named() -> None:
    """A stream has other readers too: theirs is not ours to stop."""
    service = Lambda("audit", "dynamirror-stories", "search")

    async def main() -> None:
        with pytest.raises(WhichFunctionError, match="audit, dynamirror-stories, search"):
            await mapping_of(service, STREAM, None)
        with pytest.raises(WhichFunctionError):
            await mapping_of(service, STREAM, "unknown")
        assert (await mapping_of(service, STREAM, "dynamirror-stories")).id == "id-1"
        assert {one["State"] for one in service.mappings} == {"Enabled"}

    run(main)


def test_a_mapping_that_does_not_settle_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody may believe that a mirror is paused while it is still written."""
    monkeypatch.setattr(deployed, "SETTLE_S", 5.0)
    service = Lambda("dynamirror-stories", settles=False)

    async def main() -> None:
        mapping = await mapping_of(service, STREAM, None)
        with pytest.raises(UnsettledError, match="not Disabled"):
            await switch(service, mapping, on=False)

    run(main)
