"""What a stream no longer tells: copying whole tables, from a scan or an export."""
