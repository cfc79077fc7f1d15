"""How a stream is read: shards, positions, who reads it, how it is paused and told of."""
