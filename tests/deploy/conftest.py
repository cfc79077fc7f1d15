"""What every test of deploying may ask for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import pytest

from dynamirror.deploy import rollout
from dynamirror.deploy.bundle import bundle
from dynamirror.deploy.template import Runtime


@cache
def _bundled(runtime: Runtime, modules: tuple[str, ...]) -> bytes:
    return bundle(runtime, modules)


@pytest.fixture(autouse=True)
def packed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The zip has the same bytes each time, so one will do for all tests."""

    def packed(runtime: Runtime, modules: Sequence[str]) -> bytes:
        return _bundled(runtime, tuple(modules))

    monkeypatch.setattr(rollout, "bundle", packed)
