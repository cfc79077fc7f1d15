"""The templates of each topology, held to golden files and to CloudFormation's own schemas.

To renew the golden files after a change: python -m tests.deploy.test_templates
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cfnlint import api

from dynamirror.config.load import as_written, load
from dynamirror.deploy.names import stack_name
from dynamirror.deploy.shares import definition
from dynamirror.deploy.stacks import Stack, stacks_of
from dynamirror.deploy.template import Runtime
from dynamirror.deploy.written import files, protections
from dynamirror.errors import ConfigError

GOLDEN = Path(__file__).parent / "golden"
TOPOLOGIES = sorted(folder.name for folder in GOLDEN.iterdir())
TEMPLATES = sorted(GOLDEN.glob("*/*-[0-9].json"))

ONE_WAY = (GOLDEN / "one-way" / "mirrors.toml").read_text()
TWO_WAY = (GOLDEN / "two-way" / "mirrors.toml").read_text()
CROSS = (GOLDEN / "cross-account" / "mirrors.toml").read_text()


def stacks(
    config: str, *, home: str = "", name: str | None = None, shares: bool = False
) -> tuple[Stack, ...]:
    path, raw = as_written(config)
    name = stack_name(path, name)
    return stacks_of(load(config), raw, name=name, home=home, shares=shares)


def written(topology: str) -> dict[str, str]:
    config = str(GOLDEN / topology / "mirrors.toml")
    shares = topology.endswith("shares")
    return files(stacks(config, shares=shares), Runtime(), "terraform")


@cache
def made(config: str, region: str) -> Any:
    """Return a region's template for configuration text."""
    told = files(stacks(config, name="dynamirror"), Runtime(), "cloudformation")
    (text,) = (text for name, text in told.items() if name.endswith(f"{region}.json"))
    return json.loads(text)


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_a_topology_has_the_templates_that_were_read_and_found_right(topology: str) -> None:
    """A change of the templates shows as a diff of these files."""
    golden = {path.name: path.read_text() for path in (GOLDEN / topology).glob("*.json")}

    assert written(topology) == golden


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_cloudformation_would_take_the_template(path: Path) -> None:
    """cfn-lint, which knows the schema of every resource in each region, has no objection."""
    region = "-".join(path.stem.split("-")[-3:])
    found = api.lint_file(path, config={"regions": [region]})

    assert [str(one) for one in found] == []


def test_the_lint_bites() -> None:
    """A template with a property that is misspelt is refused."""
    text = (GOLDEN / "one-way" / "us-east-1.json").read_text()
    wrong = text.replace('"BatchSize"', '"BatchSizes"')

    assert [one.rule.id for one in api.lint(wrong, regions=["us-east-1"])] != []


def test_a_region_that_is_only_written_has_no_stack() -> None:
    """A target with guard order or item needs nothing of ours beside it."""
    assert [stack.site.region for stack in stacks(ONE_WAY)] == ["us-east-1"]


def test_the_order_of_mirrors_and_comments_change_no_text() -> None:
    """The same mirrors give the same templates, so that a diff shows what changes."""
    one, other = ONE_WAY, TWO_WAY
    some, same = (stacks(text, name="d") for text in (one + other, f"# more\n{other}\n{one}"))

    assert files(some, Runtime(), "cloudformation").keys() == {"eu-west-1.json", "us-east-1.json"}
    assert files(some, Runtime(), "terraform") == files(same, Runtime(), "terraform")


def test_a_function_has_its_own_mirror_as_configuration() -> None:
    """The text in a function's environment loads to the mirror that the file declares, without
    what belongs to whoever deploys: profiles, and roles of the function's own account.
    """
    config = f"{CROSS}\n{TWO_WAY}"
    environment = made(config, "111122223333-us-east-1")["Resources"]["OrdersFunction"][
        "Properties"
    ]["Environment"]["Variables"]["DYNAMIRROR_CONFIG"]
    (mirror,) = load(environment).mirrors

    assert mirror.name == "orders"
    assert mirror.max_writes_per_second == 500
    assert [target.role_arn for target in mirror.targets] == [
        "arn:aws:iam::210987654321:role/mirrors/writer"
    ] * 2
    assert [target.profile for target in mirror.targets] == [None, None]


def test_the_writing_role_trusts_the_function_and_asks_for_the_external_id() -> None:
    """Nobody else of the other account gets in."""
    role = made(CROSS, "210987654321-us-east-1")["Resources"]["Writer"]["Properties"]
    (statement,) = role["AssumeRolePolicyDocument"]["Statement"]
    caller = "arn:${AWS::Partition}:iam::111122223333:role/dynamirror-orders-us-east-1"

    assert (role["Path"], role["RoleName"]) == ("/mirrors/", "writer")
    assert statement["Condition"] == {
        "ArnEquals": {"aws:PrincipalArn": [{"Fn::Sub": caller}]},
        "StringEquals": {"sts:ExternalId": ["orders-2026"]},
    }


def test_places_that_do_not_say_are_the_deployers() -> None:
    """Where the account of whoever deploys is known, places without one are in it."""
    told = [str(stack.site) for stack in stacks(f"{ONE_WAY}\n{CROSS}", home="111122223333")]

    assert told == ["111122223333/us-east-1", "210987654321/eu-central-1", "210987654321/us-east-1"]


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (
            ONE_WAY.replace('"Stories" }', '"Stories", endpoint_url = "http://alternator:8000" }'),
            "run this mirror with `dynamirror run`",
        ),
        (ONE_WAY.replace("eu-west-1", "cn-north-1"), "another partition of AWS"),
        (ONE_WAY.replace('"eu-west-1"', '"eu-west-1", profile = "other"'), 'account = "..."'),
        (
            ONE_WAY.replace('"eu-west-1"', '"eu-west-1", account = "210987654321"')
            + 'guard = "ledger"',
            "role_arn = ",
        ),
        (
            ONE_WAY.replace("mirrors.stories", "mirrors.a-b")
            + ONE_WAY.replace("mirrors.stories", "mirrors.a_b").replace("eu-west-1", "us-west-2"),
            "would both be called",
        ),
    ],
)
def test_what_no_function_can_do_is_refused_with_the_remedy(config: str, told: str) -> None:
    """Better now than as a stack that fails, or as a function that does."""
    with pytest.raises(ConfigError, match=re.escape(told)):
        stacks(config, name="d")


@pytest.mark.parametrize("name", ["1st", "a_b", "", "x" * 129])
def test_a_stack_name_that_cloudformation_refuses_is_refused_at_once(name: str) -> None:
    """With the option that gives another."""
    with pytest.raises(ConfigError, match="--stack-name"):
        stack_name("mirrors.toml", name or "-")


def test_long_names_are_cut_and_stay_distinct() -> None:
    """A mirror's name may have 64 characters, and so may a function's with ours before it."""
    names = [f"{'m' * 63}{end}" for end in "ab"]
    config = "".join(
        ONE_WAY.replace("mirrors.stories", f"mirrors.{name}").replace("eu-west-1", region)
        for name, region in zip(names, ("eu-west-1", "us-west-2"), strict=True)
    )
    (stack,) = stacks(config, name="d")

    assert len({one.function for one in stack.consumers}) == 2
    assert len({one.role for one in stack.consumers}) == 2
    assert max(len(name) for one in stack.consumers for name in (one.function, one.role)) <= 64


def test_a_target_can_be_kept_from_everyone_but_the_mirror() -> None:
    """The policy denies every write to all but the mirror's role and the operators named."""
    operator = "arn:aws:iam::111122223333:role/operator"
    told = protections(stacks(ONE_WAY, home="111122223333"), [operator])
    policy = json.loads(told["protect-111122223333-eu-west-1-Stories.json"])
    (statement,) = policy["Statement"]

    assert statement["Effect"] == "Deny"
    assert statement["Resource"] == "arn:aws:dynamodb:eu-west-1:111122223333:table/Stories"
    assert statement["Condition"]["ArnNotLike"]["aws:PrincipalArn"] == [
        "arn:aws:iam::111122223333:role/dynamirror-stories-us-east-1",
        operator,
    ]
    with pytest.raises(ConfigError, match="--account"):
        protections(stacks(ONE_WAY), [])
    assert protections(stacks(TWO_WAY, home="111122223333"), []) == {}


@pytest.mark.parametrize("guard", ["order", "item", "ledger"])
def test_copies_that_tell_no_old_from_new_wait_until_the_stream_rests(guard: str) -> None:
    """The state machine looks first whether somebody follows it, and goes no further then."""
    (stack,) = [each for each in stacks(f'{ONE_WAY}guard = "{guard}"', name="d") if each.consumers]
    told = definition(stack.consumers[0])

    next_of = {
        choice["StringEquals"]: choice["Next"] for choice in told["States"]["What"]["Choices"]
    }
    assert told["StartAt"] == "What"
    assert next_of["verify"] == "Count"
    if guard == "ledger":
        assert next_of["backfill"] == "Count"
        return
    choice = told["States"]["AtRest"]
    assert next_of["backfill"] == "Look"
    assert told["States"]["Look"]["Next"] == "AtRest"
    assert choice["Choices"] == [
        {"Variable": "$.mapping.State", "StringEquals": "Disabled", "Next": "Count"}
    ]
    assert told["States"][choice["Default"]]["Type"] == "Fail"


def test_no_policy_grants_on_everything() -> None:
    """Every statement says why, names what, and nothing is a bare star."""
    for path in TEMPLATES:
        for resource in json.loads(path.read_text())["Resources"].values():
            for policy in resource.get("Properties", {}).get("Policies", []):
                for one in policy["PolicyDocument"]["Statement"]:
                    statement = one["Fn::If"][1] if "Fn::If" in one else one
                    assert statement["Sid"].isalnum()
                    assert "*" not in json.dumps(statement["Action"])
                    assert statement["Resource"] != "*"


if __name__ == "__main__":
    for each in TOPOLOGIES:
        for old in (GOLDEN / each).glob("*.json"):
            old.unlink()
        for filename, content in written(each).items():
            (GOLDEN / each / filename).write_text(content)
