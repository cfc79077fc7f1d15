"""The application's side of a two-way mirror: a client whose every save raises the item's version;
and a health check of the data path.

Here lives what an application imports, and nothing that the engine needs. Calls are worked out as
steps that neither wait nor know who waits (``steps``), so that one description of a write serves
boto3, which blocks, and aiobotocore, which is awaited. boto3 is never imported: what it would say
is told by the shape of what the caller hands over.
"""

from dynamirror.writer.client import versioned
from dynamirror.writer.health import health, lag_from
from dynamirror.writer.refusals import OutpacedError, RefusedWriteError, VersionError

__all__ = [
    "OutpacedError",
    "RefusedWriteError",
    "VersionError",
    "health",
    "lag_from",
    "versioned",
]
