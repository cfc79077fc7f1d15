"""The configurations that are measured."""

from __future__ import annotations

from collections.abc import Sequence

from bench.workload import SOURCE_REGION, TABLE, TARGET_REGION

REGIONS = (
    TARGET_REGION,
    "eu-central-1",
    "us-west-2",
    "ap-northeast-1",
    "ap-southeast-2",
    "sa-east-1",
    "ca-central-1",
)


def configuration(
    guard: str,
    *,
    table: str = TABLE,
    source_url: str | None = None,
    target_urls: Sequence[str | None] = (None,),
) -> str:
    """Return the configuration of a one-way mirror, a target for each URL."""
    targets = (
        _place(f'region = "{region}"', url)
        for region, url in zip(REGIONS, target_urls, strict=False)
    )
    source = _place(f'region = "{SOURCE_REGION}", table = "{table}"', source_url)
    return (
        "[mirrors.bench]\n"
        'mode = "one-way"\n'
        f'guard = "{guard}"\n'
        f"source = {source}\n"
        f"targets = [{', '.join(targets)}]\n"
    )


def two_way(table: str = TABLE) -> str:
    """Return the configuration of a mirror of two replicas; an item's views are its version."""
    return (
        "[mirrors.bench]\n"
        'mode = "two-way"\n'
        'version_attribute = "views"\n'
        f'replicas = [{{ region = "{SOURCE_REGION}", table = "{table}" }}, '
        f'{{ region = "{TARGET_REGION}" }}]\n'
    )


def _place(members: str, url: str | None) -> str:
    return f"{{ {members}" + (f', endpoint_url = "{url}"' if url else "") + " }"
