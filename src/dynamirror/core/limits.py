"""DynamoDB's limits, each with its source; nothing of ours is decided here.

DG: Amazon DynamoDB Developer Guide; API: Amazon DynamoDB API reference.
"""

from __future__ import annotations

BATCH_WRITE_ITEMS_MAX = 25
"""Put and delete requests in one BatchWriteItem (API: BatchWriteItem)."""

BATCH_WRITE_BYTES_MAX = 12 * 1024 * 1024
"""What we send in one BatchWriteItem. The service takes 16 MB (API: BatchWriteItem), but doesn't
say how it counts them; JSON is longer than what it spells."""

BATCH_GET_KEYS_MAX = 100
"""Keys in one BatchGetItem (API: BatchGetItem)."""

ITEM_BYTES_MAX = 400 * 1024
"""Names and values of one item (DG: Constraints)."""

GET_RECORDS_MAX = 1_000
"""Stream records in one answer of GetRecords (API: GetRecords)."""

STREAM_RETENTION_S = 24 * 60 * 60
"""How long a stream record is kept for certain (DG: DynamoDB Streams)."""

SHARDS_PER_PAGE_MAX = 100
"""Shards in one answer of DescribeStream (API: DescribeStream)."""
