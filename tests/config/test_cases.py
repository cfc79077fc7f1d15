"""Each file of ``cases`` is a story: its leading comments are the faults it has, and no more."""

from __future__ import annotations

from itertools import takewhile
from pathlib import Path

import pytest

from dynamirror.config.load import load
from dynamirror.errors import ConfigError, Exit

CASES = sorted((Path(__file__).parent / "cases").glob("*.toml"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_a_file_tells_all_its_faults_at_once(case: Path) -> None:
    """Every fault is a line: path, value, remedy; and what is right is not complained about."""
    text = case.read_text("utf-8").splitlines()
    expected = [line[2:] for line in takewhile(lambda line: line.startswith("# "), text)]

    with pytest.raises(ConfigError) as caught:
        load(str(case))

    head, *faults = str(caught.value).splitlines()
    if expected[0].startswith("not TOML"):
        assert head == f"{case}: {expected[0]}; mend it there, then load it again"
    else:
        count = f"{len(expected)} fault{'s' if len(expected) > 1 else ''}"
        assert head == f"{case}: {count}"
        assert sorted(faults) == sorted(f"  {line}" for line in expected)
    assert caught.value.exit_status == Exit.UNUSABLE
