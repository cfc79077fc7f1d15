"""DynamoDB in memory: the port without a network, for simulations and for tests of your own."""

from .dynamodb import Hook, MemoryDynamoDB
from .lineage import Record, Shard, Stream
from .tables import Table

__all__ = ["Hook", "MemoryDynamoDB", "Record", "Shard", "Stream", "Table"]
