"""DynamoDB in memory: the port without a network, for simulations and for tests of your own."""

from dynamirror.memory.dynamodb import Hook, MemoryDynamoDB
from dynamirror.memory.lineage import Record, Shard, Stream
from dynamirror.memory.tables import Table

__all__ = ["Hook", "MemoryDynamoDB", "Record", "Shard", "Stream", "Table"]
