"""What AWS charges for requests on demand, and what a piece of work comes to.

For estimates, which say what a thing costs about, before it is done; the bill is AWS's. Prices are
those of us-east-1 in US dollars, without free tier, reserved capacity or discounts; other regions
differ, and most are dearer.

Sources: the AWS pricing pages 'Amazon DynamoDB, on-demand capacity' (as lowered on 1 November
2024), 'AWS Lambda' and 'Amazon EC2, data transfer', as of November 2026; units: Amazon DynamoDB
Developer Guide, 'DynamoDB read and write operations'.
"""

from __future__ import annotations

from typing import Self

import msgspec

AS_OF = "November 2026"
REGION = "us-east-1"

USD_PER_WRITE_UNIT = 0.625e-6
"""A write request unit, of table class Standard; a global table's replicated one costs the same."""

USD_PER_READ_UNIT = 0.125e-6
USD_PER_GB_MOVED = 0.02
"""Between most regions of the US and Europe, charged where it leaves."""

USD_PER_LAMBDA_REQUEST = 0.20e-6
USD_PER_LAMBDA_GB_S = 0.0000133334
"""On arm64."""

WRITE_UNIT_BYTES = 1_024
READ_UNIT_BYTES = 4_096
GB = 1_000_000_000


def write_units(size: float, *, transaction: bool = False) -> int:
    """Return the units of one write of an item of so many bytes, made or refused."""
    return max(1, -int(-size // WRITE_UNIT_BYTES)) * (2 if transaction else 1)


def read_units(size: float, *, consistent: bool = True) -> float:
    """Return the units of reading an item, or a scan's page, of so many bytes."""
    return max(1, -int(-size // READ_UNIT_BYTES)) * (1 if consistent else 0.5)


class Use(msgspec.Struct, frozen=True):
    """What some work takes of a table's service."""

    read_units: float = 0
    write_units: float = 0
    bytes_moved: float = 0
    """Between regions."""

    def __add__(self, other: Self) -> Use:
        return Use(
            self.read_units + other.read_units,
            self.write_units + other.write_units,
            self.bytes_moved + other.bytes_moved,
        )

    def times(self, count: float) -> Use:
        """Return what it takes so many times."""
        return Use(self.read_units * count, self.write_units * count, self.bytes_moved * count)

    @property
    def usd(self) -> float:
        """What it costs on demand."""
        return (
            self.read_units * USD_PER_READ_UNIT
            + self.write_units * USD_PER_WRITE_UNIT
            + self.bytes_moved / GB * USD_PER_GB_MOVED
        )
