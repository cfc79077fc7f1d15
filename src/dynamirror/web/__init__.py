"""What a running process serves over HTTP: metrics for Prometheus, and the dashboard.

It runs on the engine's event loop and takes little of it: pages are files in memory, figures are
those that the engine has anyway, tables are read over connections of their own.
"""
