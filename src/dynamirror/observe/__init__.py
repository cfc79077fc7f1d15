"""What the engine's numbers mean, and how others are told: status, metrics, series.

Pure but for the clock that is handed in: no requests, no files, no loops.
"""
