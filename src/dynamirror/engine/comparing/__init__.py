"""Whether tables are the same: comparing them, repairing them, looking at one item."""
