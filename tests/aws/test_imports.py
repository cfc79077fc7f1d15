"""What a cold start pays for."""

from __future__ import annotations

import subprocess
import sys

SLOW = (
    *("botocore", "urllib3", "dateutil", "jmespath", "rich", "click"),
    *("email", "http.client", "urllib.request", "xml", "logging.config"),
)
PROGRAM = """
import sys
from types import SimpleNamespace
from dynamirror.aws.client import connect
place = SimpleNamespace(
    region="eu-west-1", endpoint_url=None, profile=None, role_arn=None, external_id=None
)
connect(place, environment={"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"})
print(*sorted(sys.modules))
"""


def test_the_hot_path_imports_nothing_slow() -> None:
    """A client with the environment's credentials, as in AWS Lambda, never loads botocore or the
    standard library's slow modules."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    loaded = done.stdout.split()
    assert "dynamirror.aws.pool" in loaded
    assert [name for name in SLOW if name in loaded] == []
