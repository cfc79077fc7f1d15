"""The Terraform module is whole: its JSON is of the documented form, and all it names is there.

Source: Terraform's documentation, 'JSON configuration syntax': a body's keys are block types, then
labels; strings are templates, whose expressions are between ``${`` and ``}``; ``provider`` of a
resource is a reference.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.deploy.test_templates import GOLDEN, TOPOLOGIES, written

BLOCKS = {"terraform", "provider", "variable", "data", "resource"}

REFERENCE = re.compile(r"\b(?:var\.\w+|data\.\w+\.\w+|aws_\w+\.\w+)")


FILE = re.compile(r'path\.module\}/([^")]+)')


def module(topology: str) -> Any:
    return json.loads(written(topology)["main.tf.json"])


def strings(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for each in value.values():
                yield from strings(each)
        case list():
            for each in value:
                yield from strings(each)


def expressions(value: Any) -> Iterator[str]:
    for text in strings(value):
        yield from re.findall(r"\$\{(.*?)\}(?=$|[^\"])", text)


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_what_the_module_refers_to_is_declared(topology: str) -> None:
    """Variables, resources, data and providers; and the templates lie beside it."""
    made = module(topology)
    declared = {f"var.{name}" for name in made["variable"]}
    for kind, found in made["resource"].items():
        declared |= {f"{kind}.{name}" for name in found}
    for kind, found in made.get("data", {}).items():
        declared |= {f"data.{kind}.{name}" for name in found}
    providers = {f"aws.{one['alias']}" for one in made["provider"]["aws"]}
    blocks = [
        body
        for part in (made["resource"], made.get("data", {}))
        for bodies in part.values()
        for body in bodies.values()
    ]

    assert made.keys() <= BLOCKS
    referred = {name for text in expressions(blocks) for name in REFERENCE.findall(text)}
    assert referred
    assert referred <= declared
    assert {body["provider"] for body in blocks} <= providers
    for path in re.findall(r'path\.module\}/([^"]+)', json.dumps(blocks).replace("\\", "")):
        assert (GOLDEN / topology / path).exists()


def source_of(made: Any, stack: Any) -> str:
    """Return the file that a stack's template is uploaded from."""
    (name,) = set(re.findall(r"aws_s3_object\.(\w+)", stack["template_url"]))
    source: str = made["resource"]["aws_s3_object"][name]["source"]
    return source


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_each_stack_gets_the_parameters_that_its_template_wants(topology: str) -> None:
    """All without a default, none that the template doesn't have: CloudFormation refuses both."""
    made = module(topology)
    for stack in made["resource"]["aws_cloudformation_stack"].values():
        (name,) = re.findall(FILE, stack.get("template_body") or source_of(made, stack))
        wanted = json.loads(Path(GOLDEN / topology / name).read_text())["Parameters"]

        given = stack["parameters"].keys()
        assert {one for one, told in wanted.items() if "Default" not in told} <= given
        assert given <= wanted.keys()
