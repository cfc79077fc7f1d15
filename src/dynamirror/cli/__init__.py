"""The command line: one file per command, ``main`` with the table of them, ``output`` with all
that knows terminals.
"""
