"""The network: DynamoDB's two APIs over HTTP, signed. No other package knows it.

``client.connect`` makes the port ``DynamoDB`` of a place. Below it, outside in: credentials,
endpoints and network (what the environment says), then one of two transports: native (signing,
pool, connection) or fallback (botocore).
"""
