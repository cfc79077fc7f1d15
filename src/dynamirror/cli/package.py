"""``dynamirror package``: the zip that a function runs."""

from __future__ import annotations

from pathlib import Path

import click

from dynamirror.cli.arguments import open_output, runtime_options
from dynamirror.deploy.bundle import bundle, digest
from dynamirror.deploy.template import Runtime


@click.command("package")
@runtime_options
@click.option(
    "--output",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The zip to write.",
)
@click.option(
    "--include",
    "modules",
    metavar="MODULE",
    multiple=True,
    help="A module of yours that a `transform` names.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
@click.pass_context
def command(
    ctx: click.Context,
    *,
    arch: str,
    python: str,
    path: Path,
    modules: tuple[str, ...],
    as_json: bool,
) -> None:
    """Write the zip that functions on AWS run.

    For any target, and the same bytes each time. It has dynamirror and the wheels that it needs
    there, which pip downloads from wherever it is told to; botocore is Lambda's own. `dynamirror
    deploy` does this by itself.

    \b
    Example:
      dynamirror package --output dynamirror.zip

    Exit status: 0 done, 2 error.
    """  # noqa: D301 - click reads the \b
    del ctx
    output = open_output(as_json=as_json, verbose=False)
    made = bundle(Runtime(architecture=arch, python=python), modules)
    path.write_bytes(made)
    output.say(f"{path}: {len(made):,} bytes, for Python {python} on {arch}; {digest(made)}")
    if as_json:
        output.document(
            {"file": str(path), "bytes": len(made), "python": python, "architecture": arch}
            | {"sha256": digest(made)}
        )
