"""A web application in two regions whose users stay logged in wherever they are sent.

    python examples/fastapi_sessions.py TABLE

Each region runs the same application on its own table, TABLE, with the key ``id`` (S); a two-way
mirror keeps both the same. Here both run in one process, and the mirror is brought up to date by
hand; in earnest each runs in its region, and somewhere one ``dynamirror run``. TABLE must be there
in us-east-1; all else is made. boto3 finds credentials and endpoint as ever.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import boto3
from fastapi import FastAPI, HTTPException
from fastapi.testclient import TestClient

from dynamirror import versioned

REGIONS = ("us-east-1", "eu-west-1")
MIRROR = """
[mirrors.sessions]
mode = "two-way"
replicas = [{{ region = "us-east-1", table = "{table}" }}, {{ region = "eu-west-1" }}]
"""


def application(region: str, table: str) -> FastAPI:
    """Return the application as it runs in a region; ``versioned`` is all that is special."""
    sessions: Any = versioned(boto3.resource("dynamodb", region_name=region).Table(table))
    app = FastAPI()

    @app.put("/sessions/{name}")
    def log_in(name: str, user: str) -> dict[str, str]:
        sessions.put_item(Item={"id": name, "user": user, "region": region})
        return {"served_by": region}

    @app.get("/sessions/{name}")
    def look_up(name: str) -> dict[str, str]:
        found = sessions.get_item(Key={"id": name}).get("Item")
        if found is None:
            raise HTTPException(404)
        return {"user": found["user"], "served_by": region}

    @app.delete("/sessions/{name}", status_code=204)
    def log_out(name: str) -> None:
        sessions.delete_item(Key={"id": name})

    return app


def main(table: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "sessions.toml")
        config.write_text(MIRROR.format(table=table), encoding="utf-8")

        def mirror(*words: str) -> None:
            program = [sys.executable, "-m", "dynamirror", words[0], str(config), *words[1:]]
            subprocess.run(program, check=True, capture_output=True)  # noqa: S603 - our own

        mirror("init", "--yes")
        us, eu = (TestClient(application(region, table)) for region in REGIONS)
        us.put("/sessions/s1", params={"user": "ada"})
        mirror("run", "--once")
        print(eu.get("/sessions/s1").json())
        eu.delete("/sessions/s1")
        mirror("run", "--once")
        print("logged out everywhere:", not us.get("/sessions/s1").is_success)


if __name__ == "__main__":
    main(sys.argv[1])
