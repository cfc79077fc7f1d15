"""dynamodump: a table into files, and the files into a table, as its command line does both.

``work`` takes ``table``, ``source_url`` and ``target_url``. It starts 25 threads a second apart
before it reads the first item; that second is left out.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.job import Meter
from dynamodump import dynamodump


def work(ask: dict[str, Any]) -> dict[str, Any]:
    os.environ.pop("AWS_ENDPOINT_URL_DYNAMODB", None)
    dynamodump.THREAD_START_DELAY = 0
    with tempfile.TemporaryDirectory(prefix="dynamodump-") as folder:
        with Meter() as meter:
            _run("backup", ask, ask["source_url"], "us-east-1", folder)
            restored = ["--dataOnly", "--noConfirm", "--skipThroughputUpdate"]
            _run("restore", ask, ask["target_url"], "eu-west-1", folder, *restored)
        pages = (Path(folder) / ask["table"] / "data").iterdir()
        items = sum(len(json.loads(page.read_text())["Items"]) for page in pages)
    return meter.cost(items)


def _run(mode: str, ask: dict[str, Any], url: str, region: str, folder: str, *more: str) -> None:
    place = urlsplit(url)
    options = {
        "mode": mode,
        "srcTable": ask["table"],
        "dumpPath": folder,
        "region": region,
        "host": place.hostname,
        "port": place.port,
        "accessKey": os.environ["AWS_ACCESS_KEY_ID"],
        "secretKey": os.environ["AWS_SECRET_ACCESS_KEY"],
        "log": "WARNING",
    }
    words = [f"--{name}={value}" for name, value in options.items()]
    sys.argv = ["dynamodump", *words, *more]
    dynamodump.main()
