"""The embedded run: two regions on this machine, a populated table, a writer, the real engine."""
