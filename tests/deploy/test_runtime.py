"""The zip as AWS loads it: its own interface client, a small runtime API, and nothing else."""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from tests.deploy.emulated import HERE, HOST_ARCHITECTURE, HOST_PYTHON, THERE
from tests.servers import Server, Service

from dynamirror.core.values import Wire
from dynamirror.deploy.bundle import bundle
from dynamirror.deploy.resources import HANDLER
from dynamirror.deploy.template import Runtime

CLIENT = ("awslambdaric", "runtime_client", "simplejson", "snapshot_restore_py")
"""AWS's runtime interface client, and all that it imports."""

ANSWER_S_MAX = 30.0

CONFIG = """
[mirrors.stories]
mode = "one-way"
source = {{ region = "us-east-1", table = "{table}" }}
targets = [{{ region = "eu-west-1" }}]
"""


class RuntimeApi:
    """What a function's environment asks for events and tells its answers.

    Source: AWS Lambda Developer Guide, 'Using the Lambda runtime API for custom runtimes'.
    """

    def __init__(self) -> None:
        self._events: queue.Queue[Wire] = queue.Queue()
        self.answers: queue.Queue[tuple[str, Any]] = queue.Queue()
        self.asked = threading.Event()
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                api.asked.set()
                body = json.dumps(api._events.get()).encode()
                self.send_response(200)
                self.send_header("Lambda-Runtime-Aws-Request-Id", "1")
                self.send_header("Lambda-Runtime-Deadline-Ms", str(int(time.time() * 1e3) + 60_000))
                self.send_header("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:x:y:z")
                # Without these AWS's client, which is C++, ends with a segmentation fault.
                self.send_header("Lambda-Runtime-Trace-Id", "Root=1-0-0;Sampled=0")
                self.send_header("Content-Type", "application/json")
                self._end(body)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                api.answers.put((self.path.rpartition("/")[2], json.loads(body)))
                self.send_response(202)
                self._end(b"{}")

            def log_message(self, *_: object) -> None: ...

            def _end(self, body: bytes) -> None:
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """A function that is killed closes its connections: that is its end."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def invoke(self, event: Wire) -> tuple[str, Any]:
        """Return ``response`` or ``error``, and what the function said."""
        self._events.put(event)
        return self.answers.get(timeout=ANSWER_S_MAX)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def function(folder: Path, environment: dict[str, str]) -> Iterator[RuntimeApi]:
    """Run the zip in AWS's client, on an interpreter that sees neither's neighbours."""
    task, client = folder / "task", folder / "client"
    zipped = bundle(Runtime(python=HOST_PYTHON, architecture=HOST_ARCHITECTURE))
    ZipFile(BytesIO(zipped)).extractall(task)
    for name in CLIENT:
        spec = find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        origin = Path(spec.origin)
        if spec.submodule_search_locations:
            shutil.copytree(origin.parent, client / name)
        else:
            shutil.copy(origin, client)
    program = (
        f"import sys; sys.path[:0] = [{str(task)!r}, {str(client)!r}]\n"
        f"sys.argv = ['awslambdaric', {HANDLER!r}]\n"
        "from awslambdaric.__main__ import main; main(sys.argv)\n"
    )
    api = RuntimeApi()
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", program],
        cwd=task,
        env={
            "AWS_LAMBDA_RUNTIME_API": api.address,
            "AWS_LAMBDA_FUNCTION_NAME": "dynamirror-stories",
            "LAMBDA_TASK_ROOT": str(task),
            "PATH": os.environ["PATH"],
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        yield api
    finally:
        process.kill()
        sys.stdout.write(process.communicate()[0].decode(errors="replace"))
        api.close()


@pytest.fixture
def target(server: Server) -> Iterator[Service]:
    """The target's region on a server."""
    with Service(lambda: server.connect(THERE), server.profile) as one:
        yield one


def test_the_zip_mirrors_a_change_under_the_runtimes_own_client(
    tmp_path: Path, server: Server, target: Service
) -> None:
    """A change in, an item at the target out, with an empty partial response; then a batch that
    isn't one, which fails and leaves the function alive.
    """
    table = "Packaged"
    target.create_table(table)
    environment = {
        "DYNAMIRROR_CONFIG": CONFIG.format(table=table),
        "AWS_ACCESS_KEY_ID": os.environ.get("AWS_ACCESS_KEY_ID", "test"),
        "AWS_SECRET_ACCESS_KEY": os.environ.get("AWS_SECRET_ACCESS_KEY", "test"),
        "AWS_ENDPOINT_URL_DYNAMODB": server.url or "",
    }
    arn = f"arn:aws:dynamodb:{HERE}:000000000000:table/{table}/stream/2026-01-01T00:00:00.000"
    item = {"id": {"S": "a"}, "n": {"N": "1"}}
    record = {
        "eventID": "1",
        "eventName": "INSERT",
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": HERE,
        "dynamodb": {
            "ApproximateCreationDateTime": time.time(),
            "Keys": {"id": {"S": "a"}},
            "NewImage": item,
            "SequenceNumber": "300000000000000499659",
            "SizeBytes": 26,
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        },
        "eventSourceARN": arn,
    }
    with function(tmp_path, environment) as api:
        assert api.invoke({"Records": [record]}) == ("response", {"batchItemFailures": []})
        kind, told = api.invoke({"Records": [{"eventSourceARN": arn}]})
        assert (kind, told["errorType"]) == ("error", "MalformedRecordError")
        assert api.invoke({"Records": []}) == ("response", {"batchItemFailures": []})

    found = target.ask("GetItem", TableName=table, Key={"id": {"S": "a"}}, ConsistentRead=True)
    target.drop(table)
    assert found["Item"] == item
