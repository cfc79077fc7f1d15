"""The AWS CLI as far as the manual types it, for machines without one: botocore knows its names.

``python -m tests.docs.aws_cli SERVICE OPERATION --option VALUE...``; structures as JSON, or in the
short form, ``Name=Value,Name=Value``. An option that the operation doesn't have is an error.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import jmespath  # type: ignore[import-untyped]
from botocore import xform_name
from botocore.session import Session


def asked(words: Sequence[str]) -> dict[str, list[str]]:
    """Return the values of each option."""
    options: dict[str, list[str]] = {}
    for word in words:
        if word.startswith("--"):
            values = options.setdefault(word.removeprefix("--"), [])
        else:
            values.append(word)
    return options


def value_of(shape: Any, words: list[str]) -> Any:
    """Return words as a parameter of a request."""
    if shape.type_name == "list":
        return [value_of(shape.member, [word]) for word in words]
    (word,) = words
    if shape.type_name != "structure":
        return int(word) if shape.type_name in {"integer", "long"} else word
    if word.startswith("{"):
        return json.loads(word)
    return dict(part.split("=", 1) for part in word.split(","))


def main(words: Sequence[str]) -> None:
    service, operation, *rest = words
    options = asked(rest)
    region, query = (options.pop(name, [None])[0] for name in ("region", "query"))
    api = Session().create_client(service, region_name=region)
    method = operation.replace("-", "_")
    model = api.meta.service_model.operation_model(api.meta.method_to_api_mapping[method])
    members = {xform_name(name, "-"): name for name in model.input_shape.members}
    request = {
        members[name]: value_of(model.input_shape.members[members[name]], values)
        for name, values in options.items()
    }
    answer = getattr(api, method)(**request)
    answer.pop("ResponseMetadata", None)
    told = jmespath.search(query, answer) if query else answer
    sys.stdout.write(json.dumps(told, indent=4, default=str) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
