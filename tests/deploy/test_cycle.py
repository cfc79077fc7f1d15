"""From nothing to a mirror on AWS and back, with the packaged zip, as a user does it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.deploy.emulated import (
    BOTH_IMAGES,
    HERE,
    ROOT_KEY,
    THERE,
    Cloud,
    botocore_alone,
    cloud,
    wait,
)

from dynamirror.cli import deploy
from dynamirror.config.model import Mirror
from dynamirror.deploy import rollout, shares
from dynamirror.deploy.grants import Json
from dynamirror.deploy.stacks import Stack
from dynamirror.deploy.template import Runtime, template
from dynamirror.engine.copying.backfill import Backfill
from dynamirror.errors import Exit
from dynamirror.runtimes.process import backfill_of
from dynamirror.wiring import Wiring

ONE_WAY = """
[mirrors.stories]
mode = "one-way"
guard = "{guard}"
on_poison = "park"
source = {{ region = "us-east-1", table = "Stories" }}
targets = [{{ region = "eu-west-1" }}]
"""

TWO_WAY = """
[mirrors.sessions]
mode = "two-way"
replicas = [{ region = "us-east-1", table = "Sessions" }, { region = "eu-west-1" }]
"""

DRIFT = re.compile(r"of 21 items compared, 1 extra, in share (\d) of 3")

KEY_NAMES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
OTHER = "210987654321"
CROSS_ACCOUNT = f"""
[mirrors.stories]
mode = "one-way"
guard = "ledger"
source = {{ region = "us-east-1", table = "Stories" }}

[[mirrors.stories.targets]]
region = "eu-west-1"
account = "{OTHER}"
role_arn = "arn:aws:iam::{OTHER}:role/mirror-writer"
external_id = "stories"
"""

OURS = ("Stories-dynamirror-checkpoints", "Stories-dynamirror-parked")


@pytest.fixture
def aws(tmp_path: Path) -> Iterator[Cloud]:
    """A cloud of its own."""
    with cloud(tmp_path) as one:
        yield one


@pytest.mark.parametrize("guard", ["order", "item", "ledger"])
def test_a_one_way_mirror_comes_follows_and_goes(guard: str, aws: Cloud) -> None:
    """What was there is copied, what is written is mirrored, and what was made goes again, but
    for the user's tables.
    """
    config = aws.config(ONE_WAY.format(guard=guard))
    aws.create_table(HERE, "Stories")
    for key in ("a", "b"):
        aws.put(HERE, "Stories", key)

    done = aws.deploy(config, "--yes")

    assert done.exit_code == Exit.DONE, done.output
    assert aws.keys(THERE, "Stories") == ["a", "b"]
    aws.put(HERE, "Stories", "c")
    aws.client("dynamodb").delete_item(TableName="Stories", Key={"id": {"S": "a"}})
    wait(lambda: aws.keys(THERE, "Stories") == ["b", "c"])
    assert aws.run("verify", config).exit_code == Exit.DONE

    gone = aws.run("destroy", config, "--yes", "--delete-data")

    assert gone.exit_code == Exit.DONE, gone.output
    assert aws.leftovers() == {}
    assert [aws.tables(region) for region in (HERE, THERE)] == [["Stories"], ["Stories"]]
    assert aws.keys(HERE, "Stories") == aws.keys(THERE, "Stories") == ["b", "c"]


def test_a_two_way_mirror_comes_follows_and_goes(aws: Cloud) -> None:
    """Writes in both regions meet in both; the ledgers stay until their end is asked for, and are
    found again.
    """
    config = aws.config(TWO_WAY)
    aws.create_table(HERE, "Sessions")
    aws.put(HERE, "Sessions", "old", version=1)

    done = aws.deploy(config, "--yes")

    assert done.exit_code == Exit.DONE, done.output
    aws.put(HERE, "Sessions", "here", version=1)
    aws.put(THERE, "Sessions", "there", version=1)
    for region in (HERE, THERE):
        wait(lambda region=region: aws.keys(region, "Sessions") == ["here", "old", "there"])  # type: ignore[misc]
    assert aws.run("verify", config).exit_code == Exit.DONE

    kept = aws.run("destroy", config, "--yes")

    assert kept.exit_code == Exit.DONE, kept.output
    assert aws.leftovers() == {}
    assert len(aws.tables(HERE)) == len(aws.tables(THERE)) == 5
    again = aws.deploy(config, "--yes", "--json")
    assert again.exit_code == Exit.DONE, again.output
    aws.put(THERE, "Sessions", "again", version=1)
    wait(lambda: "again" in aws.keys(HERE, "Sessions"))
    aws.run("destroy", config, "--yes", "--delete-data")
    assert aws.leftovers() == {}
    assert aws.tables(HERE) == aws.tables(THERE) == ["Sessions"]


def test_a_mirror_into_another_account_writes_by_a_role_there(tmp_path: Path) -> None:
    """Each account gets its stack; the function assumes the role that trusts it alone; both go."""
    path = botocore_alone(tmp_path / "runtime")
    # Without AUTH: of a role that somebody assumed, the server takes aws:PrincipalArn to be the
    # session, where AWS takes the role (IAM User Guide, 'AWS global condition context keys').
    with cloud(tmp_path, {"PYTHONPATH": path}) as aws:
        aws.profile(OTHER)
        config = aws.config(CROSS_ACCOUNT)
        aws.create_table(HERE, "Stories")
        aws.create_table(THERE, "Stories", key=OTHER)  # by an ARN, the server makes none
        aws.put(HERE, "Stories", "a")
        unknown = aws.deploy(config)
        assert unknown.exit_code == Exit.UNUSABLE
        assert f"--profile {OTHER}=NAME" in unknown.output

        mine = ("--profile", f"{OTHER}={OTHER}")
        done = aws.deploy(config, "--yes", *mine)

        assert done.exit_code == Exit.DONE, done.output
        assert aws.stacks(HERE) == aws.stacks(THERE, OTHER) == ["dynamirror-mirrors"]
        assert aws.stacks(THERE) == []
        theirs = aws.client("dynamodb", THERE, OTHER)
        aws.put(HERE, "Stories", "b")

        def keys() -> list[str]:
            return sorted(item["id"]["S"] for item in theirs.scan(TableName="Stories")["Items"])

        wait(lambda: keys() == ["a", "b"])
        assert "nothing to do" in aws.deploy(config, *mine).output
        gone = aws.run("destroy", config, "--yes", "--delete-data", *mine)
        assert gone.exit_code == Exit.DONE, gone.output
        assert aws.stacks(THERE, OTHER) == []
        assert aws.client("iam", HERE, OTHER).list_roles()["Roles"] == []
        assert theirs.list_tables()["TableNames"] == ["Stories"]
        assert aws.leftovers() == {}


def test_a_profile_says_whose_account_it_is(aws: Cloud) -> None:
    """Where places name a profile, theirs is the account, whatever the other credentials are."""
    aws.profile(OTHER)
    text = ONE_WAY.format(guard="item")
    for region in (HERE, THERE):
        text = text.replace(f'"{region}"', f'"{region}", profile = "{OTHER}"')
    config = aws.config(text)
    for region in (HERE, THERE):
        aws.create_table(region, "Stories", key=OTHER)

    done = aws.deploy(config, "--yes")

    assert done.exit_code == Exit.DONE, done.output
    assert aws.stacks(HERE, OTHER) == ["dynamirror-mirrors"]
    assert aws.leftovers() == {}
    here, there = (aws.client("dynamodb", region, OTHER) for region in (HERE, THERE))
    here.put_item(TableName="Stories", Item={"id": {"S": "a"}})
    wait(lambda: there.scan(TableName="Stories")["Count"] == 1)


@pytest.mark.parametrize("guard", ["order", "ledger"])
def test_a_large_table_is_copied_and_compared_in_shares(
    guard: str, aws: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything is made at rest, the state machine copies, the next run follows without copying
    again, and the same machine compares: it fails where something differs, and says which share.
    """
    monkeypatch.setattr(
        shares, "_looking", lambda _: {}
    )  # a call that the server's machines don't know
    monkeypatch.setattr(shares, "BEGIN", "Count")
    config = aws.config(ONE_WAY.format(guard=guard))
    aws.create_table(HERE, "Stories")
    keys = [f"k{number:02d}" for number in range(20)]
    for key in keys:
        aws.put(HERE, "Stories", key)

    done = aws.deploy(config, "--shares", "--no-follow", "--yes")

    assert done.exit_code == Exit.DONE, done.output
    assert aws.keys(THERE, "Stories") == []
    status, said = aws.in_shares("backfill", 3)
    assert status == "SUCCEEDED", said
    assert {"of": "backfill", "shares": 3, "items": 20, "left": 0}.items() <= json.loads(
        said
    ).items()
    assert aws.keys(THERE, "Stories") == keys
    followed = aws.deploy(config, "--shares", "--yes")
    assert followed.exit_code == Exit.DONE, followed.output
    assert "copy us-east-1/Stories" not in followed.output
    aws.put(HERE, "Stories", "new")
    wait(lambda: aws.keys(THERE, "Stories") == [*keys, "new"])
    status, said = aws.in_shares("verify", 3)
    assert status == "SUCCEEDED", said
    assert {"of": "verify", "items": 21, "missing": 0}.items() <= json.loads(said).items()
    aws.put(THERE, "Stories", "stray")
    status, said = aws.in_shares("verify", 3)
    assert status == "FAILED", said
    found = DRIFT.search(said)
    assert found is not None, said
    share = ("--segment", f"{found[1]}/3")
    assert aws.run("verify", config, *share, "--settle", "0").exit_code == Exit.FINDING
    (mirror,) = json.loads(aws.run("status", config, "--json").stdout)["mirrors"]
    assert mirror["verified"]["extra"] == 1
    assert aws.in_shares("verfy", 3)[0] == "FAILED"
    assert aws.run("destroy", config, "--yes", "--delete-data").exit_code == Exit.DONE
    assert aws.leftovers() == {}


def test_one_link_of_a_deployed_mirror_is_paused_and_the_others_go_on(aws: Cloud) -> None:
    """What is for its target is parked by the function, and is there after all when it is resumed
    and redriven.
    """
    more = '[{ region = "eu-west-1" }, { region = "eu-west-1", name = "b", table = "Copy" }]'
    text = ONE_WAY.format(guard="item").replace('[{ region = "eu-west-1" }]', more)
    config = aws.config(text)
    aws.create_table(HERE, "Stories")
    assert aws.deploy(config, "--yes").exit_code == Exit.DONE
    link = ("--deployed", "--target", "b")

    paused = aws.run("pause", config, *link, "--json")

    assert paused.exit_code == Exit.DONE, paused.output
    assert json.loads(paused.stdout)["links"][0]["mapping"]
    aws.put(HERE, "Stories", "a")
    wait(lambda: aws.keys(THERE, "Stories") == ["a"])
    assert aws.run("redrive", config).exit_code == Exit.FINDING
    assert aws.keys(THERE, "Copy") == []
    resumed = aws.run("resume", config, *link)
    assert "brings it up to date after its next deliveries" in resumed.output
    assert aws.run("redrive", config).exit_code == Exit.DONE
    assert aws.keys(THERE, "Copy") == ["a"]
    assert "held nothing back" in aws.run("resume", config, *link).output


def test_a_view_comes_along_with_its_function_and_its_secret(
    aws: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a target gets to see is made by the user's own module and by a secret, which the
    function has too.
    """
    (tmp_path / "shorten.py").write_text(
        "def names(item):\n    return {**item, 'by': {'S': 'shorten'}}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    view = (
        'transform = "shorten:names",'
        ' attributes = { mask = { name = "hash" }, secret_env = "NAMES_SECRET" }'
    )
    text = ONE_WAY.format(guard="order").replace('"eu-west-1"', f'"eu-west-1", {view}')
    config = aws.config(text)
    aws.create_table(HERE, "Stories")
    untold = aws.deploy(config, "--yes")
    assert untold.exit_code == Exit.UNUSABLE
    assert "set the environment variable NAMES_SECRET" in untold.output
    assert aws.leftovers() == {}
    monkeypatch.setenv("NAMES_SECRET", "s3cret")

    done = aws.deploy(config, "--yes")

    assert done.exit_code == Exit.DONE, done.output
    assert "s3cret" not in done.output
    api = aws.client("dynamodb", HERE)
    api.put_item(TableName="Stories", Item={"id": {"S": "a"}, "name": {"S": "Ada"}})
    wait(lambda: aws.keys(THERE, "Stories") == ["a"])
    (item,) = aws.client("dynamodb", THERE).scan(TableName="Stories")["Items"]
    assert item["by"] == {"S": "shorten"}
    assert len(item["name"]["S"]) == len("0" * 64)


def test_the_plan_changes_nothing(aws: Cloud) -> None:
    """Without --yes it is told what each stack would get, and nothing comes to be."""
    config = aws.config(ONE_WAY.format(guard="order"))
    aws.create_table(HERE, "Stories")

    shown = aws.deploy(config)

    assert shown.exit_code == Exit.DONE
    assert "us-east-1: a new stack, dynamirror-mirrors" in shown.output
    assert "+ StoriesFunction: AWS::Lambda::Function" in shown.output
    assert "turn on the stream of us-east-1/Stories" in shown.output
    assert "nothing was changed; --yes does it" in shown.output
    assert aws.leftovers() == {}
    assert (aws.tables(HERE), aws.tables(THERE)) == (["Stories"], [])


def test_deploying_again_does_nothing_and_a_change_is_shown_first(aws: Cloud) -> None:
    """What is there already is left alone; a change shows as CloudFormation's own diff."""
    config = aws.config(ONE_WAY.format(guard="order"))
    aws.create_table(HERE, "Stories")
    assert aws.deploy(config, "--yes").exit_code == Exit.DONE
    assert "nothing to do" in aws.deploy(config).output

    aws.config(ONE_WAY.format(guard="order").replace("park", "stop"))
    shown = aws.deploy(config)

    assert "changes of the stack" in shown.output
    assert "~ StoriesFunction: AWS::Lambda::Function (Environment, Role)" in shown.output
    assert "- StoriesParkedAlarm: AWS::CloudWatch::Alarm" in shown.output
    assert (
        aws.client("cloudformation").list_change_sets(StackName="dynamirror-mirrors")["Summaries"]
        == []
    )
    assert aws.deploy(config, "--yes").exit_code == Exit.DONE
    assert "nothing to do" in aws.deploy(config).output


def test_what_init_made_is_adopted_and_outlives_the_stack(aws: Cloud) -> None:
    """Tables of ours that are there already are used as they are."""
    config = aws.config(ONE_WAY.format(guard="order"))
    aws.create_table(HERE, "Stories")
    assert aws.run("init", config, "--yes").exit_code == Exit.DONE

    done = aws.deploy(config, "--yes", "--json")
    changes = json.loads(done.stdout)["stacks"][0]["changes"]

    assert {"AWS::Lambda::Function"} <= {one["type"] for one in changes}
    assert not {"AWS::DynamoDB::Table"} & {one["type"] for one in changes}
    assert "nothing to do" in aws.deploy(config).output
    aws.run("destroy", config, "--yes")
    assert set(OURS) <= set(aws.tables(HERE))


def test_a_mapping_waits_for_the_copy(aws: Cloud) -> None:
    """A target that is new is copied before the stream is followed on, for guards that can't tell
    old from new.
    """
    config = aws.config(ONE_WAY.format(guard="order"))
    aws.create_table(HERE, "Stories")
    aws.put(HERE, "Stories", "a")
    assert aws.deploy(config, "--yes").exit_code == Exit.DONE
    more = '[{ region = "eu-west-1" }, { region = "eu-west-1", name = "b", table = "Copy" }]'
    aws.config(ONE_WAY.format(guard="order").replace('[{ region = "eu-west-1" }]', more))

    done = aws.deploy(config, "--yes")

    assert done.exit_code == Exit.DONE, done.output
    assert "copy us-east-1/Stories while its stream waits" in done.output
    assert aws.keys(THERE, "Copy") == ["a"]
    aws.put(HERE, "Stories", "b")
    wait(lambda: aws.keys(THERE, "Copy") == aws.keys(THERE, "Stories") == ["a", "b"])


@pytest.mark.parametrize(
    ("guard", "follows"), [("order", "false"), ("item", "false"), ("ledger", "true")]
)
def test_a_table_is_copied_when_its_guard_wants_it(
    guard: str, follows: str, aws: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the stream waits, where a copy can't be told from something newer; else beside it, for
    a stream keeps changes for a day only. (Told by the stack: whatever a template says, the server
    calls each of its mappings enabled.)
    """
    config = aws.config(ONE_WAY.format(guard=guard))
    aws.create_table(HERE, "Stories")
    states: list[str] = []

    def seen(wiring: Wiring, mirror: Mirror) -> Backfill:
        (stack,) = aws.client("cloudformation").describe_stacks()["Stacks"]
        states.extend(
            each["ParameterValue"]
            for each in stack["Parameters"]
            if each["ParameterKey"] == "StoriesEnabled"
        )
        return backfill_of(wiring, mirror)

    monkeypatch.setattr(deploy, "backfill_of", seen)

    assert aws.deploy(config, "--yes").exit_code == Exit.DONE
    assert states == [follows]


def test_a_stream_that_was_made_anew_is_followed_after_a_copy(aws: Cloud) -> None:
    """What was written between the two streams is in neither: the table is copied again, and the
    mapping is bound to the new one.
    """
    config = aws.config(ONE_WAY.format(guard="item"))
    aws.create_table(HERE, "Stories")
    assert aws.deploy(config, "--yes").exit_code == Exit.DONE
    aws.put(HERE, "Stories", "a")
    wait(lambda: aws.keys(THERE, "Stories") == ["a"])
    api = aws.client("dynamodb")
    api.update_table(TableName="Stories", StreamSpecification={"StreamEnabled": False})
    aws.put(HERE, "Stories", "between")

    done = aws.deploy(config, "--yes")

    assert done.exit_code == Exit.DONE, done.output
    assert "copy us-east-1/Stories while its stream waits" in done.output
    assert aws.keys(THERE, "Stories") == ["a", "between"]
    aws.put(HERE, "Stories", "b")
    wait(lambda: aws.keys(THERE, "Stories") == ["a", "b", "between"])
    assert "nothing to do" in aws.deploy(config).output


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (ONE_WAY.format(guard="order").replace("us-east-1", "us-nowhere-7"), "botocore knows"),
        (ONE_WAY.format(guard="order").replace("Stories", "Missing"), "no table"),
        (ONE_WAY.format(guard="order").replace('"us-east-1"', '"us-east-1", profile = "no"'), "no"),
    ],
)
def test_what_is_not_there_is_told_and_nothing_is_made(config: str, told: str, aws: Cloud) -> None:
    """An unknown region, a source that is missing, a profile that nobody has."""
    path = aws.config(config)
    done = aws.deploy(path, "--yes")

    assert done.exit_code == Exit.UNUSABLE, done.output
    assert told in done.output
    assert aws.leftovers() == {}


def test_a_stream_without_new_images_is_told_and_nothing_is_made(aws: Cloud) -> None:
    """Its view type can't be changed: whoever reads it must be asked."""
    aws.create_table(HERE, "Stories", "OLD_IMAGE")
    done = aws.deploy(aws.config(ONE_WAY.format(guard="order")), "--yes")

    assert done.exit_code == Exit.UNUSABLE
    assert "the stream carries OLD_IMAGE" in done.output
    assert "nothing was changed" in done.output
    assert aws.leftovers() == {}


def test_a_name_too_long_is_told(aws: Cloud) -> None:
    """With the option that gives a shorter one."""
    done = aws.deploy(aws.config(ONE_WAY.format(guard="order"), "m" * 130), "--yes")

    assert done.exit_code == Exit.UNUSABLE
    assert "--stack-name" in done.output


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes the stack of a region fail at its end."""

    def fail(region: str) -> None:
        def with_fault(stack: Stack, runtime: Runtime) -> Json:
            made = template(stack, runtime)
            if stack.site.region == region:
                last = next(name for name in made["Resources"] if name.endswith("Mapping"))
                made["Resources"]["Fault"] = {"Type": "AWS::Logs::LogStream", "DependsOn": last}
            return made

        monkeypatch.setattr(rollout, "template", with_fault)

    return fail


def test_a_stack_that_fails_takes_all_back(
    aws: Cloud, failing: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second region's fails: the first region's goes too, and the message names the resource,
    the reason and the next step.
    """
    config = aws.config(TWO_WAY)
    aws.create_table(HERE, "Sessions", BOTH_IMAGES)
    failing(HERE)

    done = aws.deploy(config, "--yes")

    assert done.exit_code == Exit.UNUSABLE, done.output
    assert "Fault (AWS::Logs::LogStream): " in done.output
    assert "hint: Mend what is named above" in done.output
    assert aws.leftovers() == {}
    assert (aws.tables(HERE), aws.tables(THERE)) == (["Sessions"], ["Sessions"])
    monkeypatch.undo()
    assert aws.deploy(config, "--yes").exit_code == Exit.DONE


def test_a_change_that_fails_leaves_all_as_it_was(
    aws: Cloud, failing: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """CloudFormation rolls it back, and the mirror goes on."""
    config = aws.config(ONE_WAY.format(guard="order"))
    aws.create_table(HERE, "Stories")
    assert aws.deploy(config, "--yes").exit_code == Exit.DONE
    failing(HERE)

    done = aws.deploy(config, "--yes")

    assert done.exit_code == Exit.UNUSABLE, done.output
    assert "is UPDATE_ROLLBACK_COMPLETE" in done.output
    aws.put(HERE, "Stories", "a")
    wait(lambda: aws.keys(THERE, "Stories") == ["a"])
    monkeypatch.undo()
    assert "nothing to do" in aws.deploy(config).output


def test_a_run_that_was_cut_off_is_gone_on_with(
    aws: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed with the stacks made and nothing copied: the next run copies and follows."""
    config = aws.config(ONE_WAY.format(guard="order"))
    aws.create_table(HERE, "Stories")
    aws.put(HERE, "Stories", "a")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(deploy, "backfill_of", killed)
    assert aws.deploy(config, "--yes").exit_code == Exit.INTERRUPTED
    assert aws.stacks(HERE) == ["dynamirror-mirrors"]
    monkeypatch.undo()

    done = aws.deploy(config, "--yes")

    assert done.exit_code == Exit.DONE, done.output
    assert aws.keys(THERE, "Stories") == ["a"]
    aws.put(HERE, "Stories", "b")
    wait(lambda: aws.keys(THERE, "Stories") == ["a", "b"])


def test_a_template_too_large_for_a_request_goes_by_way_of_the_bucket(
    aws: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of many mirrors are, when they are made and when they change."""
    monkeypatch.setattr(rollout, "BODY_BYTES_MAX", 1_000)
    config = aws.config(ONE_WAY.format(guard="order"))
    aws.create_table(HERE, "Stories")

    done = aws.deploy(config, "--yes")

    assert done.exit_code == Exit.DONE, done.output
    assert "nothing to do" in aws.deploy(config).output
    aws.config(ONE_WAY.format(guard="order").replace("park", "stop"))
    assert "- StoriesParkedAlarm" in aws.deploy(config).output
    assert aws.run("destroy", config, "--yes", "--delete-data").exit_code == Exit.DONE
    assert aws.leftovers() == {}


def test_a_mirror_that_an_engine_runs_is_not_given_to_a_function(
    aws: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two that read one stream would apply it twice, out of order."""
    config = aws.config(ONE_WAY.format(guard="order"))
    aws.create_table(HERE, "Stories", BOTH_IMAGES)
    aws.run("init", config, "--yes")
    environment = {"AWS_ENDPOINT_URL": aws.url, **dict(zip(KEY_NAMES, ROOT_KEY, strict=True))}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with subprocess.Popen(
        [sys.executable, "-m", "dynamirror", "run", config],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as engine:
        try:
            lease = {"link": {"S": "stories/us-east-1"}, "shard": {"S": "#lease"}}
            api = aws.client("dynamodb")
            wait(lambda: "Item" in api.get_item(TableName=OURS[0], Key=lease))
            done = aws.deploy(config, "--yes")
        finally:
            engine.terminate()

    assert done.exit_code == Exit.UNUSABLE
    assert "is read by" in done.output
    assert aws.leftovers() == {}


@pytest.mark.parametrize(
    "action",
    [
        "cloudformation:CreateChangeSet",
        "cloudformation:ExecuteChangeSet",
        "s3:CreateBucket",
        "s3:PutObject",
    ],
)
def test_a_missing_permission_is_named_and_nothing_is_made(action: str, tmp_path: Path) -> None:
    """Whoever deploys may not do one thing: the action is in the message, and the next step."""
    with cloud(tmp_path, {"AUTH": "true"}) as aws:
        config = aws.config(ONE_WAY.format(guard="order"))
        aws.create_table(HERE, "Stories")
        key = aws.limited_key([action])

        done = aws.deploy(config, "--yes", key=key)

        assert done.exit_code == Exit.UNUSABLE, done.output
        assert action in done.output
        assert "hint: Grant whoever runs this the action named above" in done.output
        assert aws.leftovers() == {}
