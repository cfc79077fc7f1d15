from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Literal

import pytest
from tests.aws.place import Certificates

AUTHORITY = "/CN=dynamirror test authority"


@pytest.fixture(params=["native", "botocore"])
def transport(request: pytest.FixtureRequest) -> Literal["native", "botocore"]:
    """Every test that takes this is part of the contract: it holds for both."""
    name: Literal["native", "botocore"] = request.param
    return name


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """An authority of our own, and what it signed: for 127.0.0.1 and for another host."""
    if shutil.which("openssl") is None:
        pytest.skip("makes its certificates with openssl, and that is not there")
    folder = tmp_path_factory.mktemp("certificates")
    key, authority = folder / "authority.key", folder / "authority.pem"
    made(folder, "req", "-x509", *new_key(key), "-subj", AUTHORITY, "-out", str(authority))
    return Certificates(
        authority=authority,
        right=signed(folder, "right", "IP:127.0.0.1,DNS:localhost"),
        other=signed(folder, "other", "DNS:elsewhere.example"),
    )


def signed(folder: Path, name: str, names: str) -> Path:
    """Return a file of key and certificate."""
    key, request, extension = (folder / f"{name}.{end}" for end in ("key", "csr", "ext"))
    certificate, both = folder / f"{name}.crt", folder / f"{name}.pem"
    extension.write_text(f"subjectAltName={names}\nbasicConstraints=CA:FALSE\n")
    made(folder, "req", *new_key(key), "-subj", f"/CN={name}", "-out", str(request))
    made(
        folder,
        *("x509", "-req", "-in", str(request), "-days", "2", "-extfile", str(extension)),
        *("-CA", "authority.pem", "-CAkey", "authority.key", "-CAcreateserial"),
        *("-out", str(certificate)),
    )
    both.write_bytes(key.read_bytes() + certificate.read_bytes())
    return both


def new_key(path: Path) -> list[str]:
    return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", str(path)]


def made(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)
