"""Where a configuration comes from, and what is made of one without faults."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from typing import TYPE_CHECKING

import pytest

from dynamirror.config.load import ONE_WAY, TEXT, load
from dynamirror.config.model import Config, Guard, OneWay, Place
from dynamirror.config.places import PLACE, VIEW
from dynamirror.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

STORIES = """\
[mirrors.stories]
mode = "one-way"
source = { region = "us-east-1", table = "Stories" }
targets = [{ region = "eu-west-1" }]
"""

PLAIN = OneWay(
    name="stories",
    source=Place(region="us-east-1", table="Stories", name="us-east-1"),
    targets=(Place(region="eu-west-1", table="Stories", name="eu-west-1"),),
)


def test_what_is_not_given_is_the_models_default() -> None:
    """A place is named by its region, a target's table is the source's, the rest is the model's."""
    assert load(STORIES) == Config(mirrors=(PLAIN,), path=TEXT)


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
def test_a_path_and_its_text_mean_the_same(tmp_path: Path, start: bytes) -> None:
    """A file is read as UTF-8 whoever saved it, and the configuration says where it came from."""
    file = tmp_path / "m.toml"
    file.write_bytes(start + STORIES.replace("\n", "\r\n").encode())

    assert load(str(file)) == Config(mirrors=(PLAIN,), path=str(file))


def test_text_may_be_one_line() -> None:
    """What starts with a bracket is text, and no file is looked for."""
    with pytest.raises(ConfigError, match=r"mirrors\.a\.source is missing"):
        load("[mirrors.a]")


def test_a_target_takes_the_name_from_the_sources_arn() -> None:
    """The source's ARN is of the source's region, so another region's target gets the name only."""
    arn = "arn:aws:dynamodb:us-east-1:123456789012:table/Stories"
    (mirror,) = load(STORIES.replace('"Stories"', f'"{arn}"')).mirrors

    assert (mirror.source.table, mirror.targets[0].table) == (arn, "Stories")


def test_a_slash_after_the_host_means_nothing() -> None:
    """An endpoint is scheme, host and port."""
    text = STORIES.replace("us-east-1", 'local", endpoint_url = "http://[::1]:8000/')
    (mirror,) = load(text).mirrors

    assert mirror.source.endpoint_url == "http://[::1]:8000"


def test_mirrors_of_one_source_share_its_tables_of_ours() -> None:
    """A role's table may serve many mirrors; only two roles in one table are a fault."""
    second = STORIES.replace("stories", "again").replace("eu-west-1", "eu-west-2")
    one, other = load(STORIES + second).mirrors

    assert (one.parked, one.checkpoints) == (other.parked, other.checkpoints)


def test_chains_are_allowed() -> None:
    """A target may be another mirror's source, and two ways may lead to two tables."""
    onward = STORIES.replace("stories", "onward").replace("eu-west-1", "eu-west-2")
    onward = onward.replace("us-east-1", "eu-west-1")

    assert len(load(STORIES + onward).mirrors) == 2


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "no such file; give the path of a TOML file"),
        (b"\xff\xfe[\0", "byte 0 is not UTF-8; save it as UTF-8"),
        (b"a = [", r"not TOML: Invalid value \(at end of document\); mend it"),
        (b"\n\na b", r"not TOML: Expected '=' after .* \(at line 3, column 3\)"),
        (b"a = " + b"9" * 5_000, "not TOML: Exceeds the limit"),
    ],
    ids=["missing", "encoding", "cut", "syntax", "number"],
)
def test_an_unusable_file_is_named(tmp_path: Path, content: bytes | None, complaint: str) -> None:
    """Whatever a file's fault, the error names the file, the place in it and the remedy."""
    file = tmp_path / "m.toml"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(ConfigError, match=complaint) as caught:
        load(str(file))
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("", r"\(no path\): no such file"),
        (".", r"'\.' can't be read \(Is a directory\); give a file you may read"),
        ("a\0b", r"can't be read \(embedded null byte\)"),
    ],
    ids=["empty", "directory", "null"],
)
def test_what_is_no_file_is_an_error_of_ours(path: str, complaint: str) -> None:
    """Nothing given as a path escapes as another exception."""
    with pytest.raises(ConfigError, match=complaint):
        load(path)


def test_every_field_of_the_model_can_be_written() -> None:
    """The tables of keys and the model's fields are the same, so neither can grow alone."""
    assert set(PLACE) == {each.name for each in fields(Place)}
    written = {each.name for each in fields(OneWay)} - {"name", "views"} | {"mode"}
    assert set(ONE_WAY) - set(VIEW) == written


def test_our_default_names_are_known_as_ours() -> None:
    """Mirroring a table that dynamirror keeps is refused under each of its default names."""
    mirror = OneWay(name="m", source=PLAIN.source, targets=PLAIN.targets, guard=Guard.LEDGER)
    for table in (mirror.ledger_of(mirror.targets[0]), mirror.parked, mirror.checkpoints):
        with pytest.raises(ConfigError, match="keeps its own state there"):
            load(STORIES.replace('"Stories"', f'"{table}"'))


def test_a_good_file_costs_no_import_that_only_faults_need() -> None:
    """A cold start pays for nothing that it does not use."""
    script = (
        "import sys; from dynamirror.config.load import load; load(sys.argv[1]);"
        "print(sorted({'difflib', 'json', 'pathlib', 'urllib'} & set(sys.modules)))"
    )
    command = [sys.executable, "-S", "-c", script, STORIES]
    search = {"PYTHONPATH": ":".join(each for each in sys.path if each)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=search)

    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_a_targets_own_view_counts_instead_of_its_mirrors() -> None:
    """Option by option; a target of which neither says anything gets whole items."""
    text = STORIES.replace(
        "targets = [{ region",
        'where = "kind = \'public\'"\ntargets = [{ region = "us-west-2", where = "age > 18" }, '
        '{ region = "us-west-1", attributes = { exclude = ["email"] } }, { region',
    )
    views = load(text).mirrors[0].views

    assert {name: view.where and view.where.text for name, view in views.items()} == {
        "us-west-2": "age > 18",
        "us-west-1": "kind = 'public'",
        "eu-west-1": "kind = 'public'",
    }
    assert views["us-west-1"].shape.exclude == {"email"}
    assert not load(STORIES).mirrors[0].views


@pytest.mark.parametrize(
    ("one", "two", "fine"),
    [
        ("U#{id}", "O#{id}", True),
        ("U#{id}", "U#O#{id}", False),
        ("{id}", "O#{id}", False),
        ("U#{id}", "", False),
    ],
)
def test_two_mirrors_may_write_one_table_if_their_keys_can_never_meet(
    one: str,
    two: str,
    fine: bool,  # noqa: FBT001 - a column of the table above
) -> None:
    """Each item of the table then has one source, and can be traced to it."""

    def mirror(name: str, key: str) -> str:
        view = f'key = {{ pk = "{key}" }}\n' if key else ""
        return (
            f'[mirrors.{name}]\nmode = "one-way"\n{view}'
            f'source = {{ region = "us-east-1", table = "{name}" }}\n'
            'targets = [{ region = "eu-west-1", table = "All" }]\n'
        )

    text = mirror("Users", one) + mirror("Orders", two)
    if fine:
        assert len(load(text).mirrors) == 2
    else:
        with pytest.raises(ConfigError, match="or views whose keys begin with other texts"):
            load(text)


@pytest.mark.parametrize(
    ("region", "arn"),
    [
        ("eu-west-1", "arn:aws:dynamodb:eu-west-1:123456789012:table/Stories"),
        ("cn-north-1", "arn:aws-cn:dynamodb:cn-north-1:123456789012:table/Stories"),
        ("us-gov-west-1", "arn:aws-us-gov:dynamodb:us-gov-west-1:123456789012:table/Stories"),
    ],
)
def test_a_table_of_another_account_is_named_in_full(region: str, arn: str) -> None:
    """A bare name would silently mean the caller's own table of that name."""
    text = STORIES.replace('"eu-west-1"', f'"{region}", account = "123456789012"')
    mirror = load(text + 'guard = "ledger"\nledger_table = "rows"\n').mirrors[0]

    assert mirror.targets[0].table == arn
    assert mirror.ledger_of(mirror.targets[0]) == arn.replace("Stories", "rows")
    assert mirror.source.table == "Stories"
    elsewhere = text.replace("targets = [{", 'targets = [{ endpoint_url = "http://localhost:1",')
    assert load(elsewhere).mirrors[0].targets[0].table == "Stories"
