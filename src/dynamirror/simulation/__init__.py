"""Simulated histories of mirrors: what is shipped against everything that may happen.

    python -m dynamirror.simulation --seed 17
    python -m dynamirror.simulation --seed 0 --histories 10000
    python -m dynamirror.simulation --seed 0 --histories 1000 --profile one-way-ledger

A history is drawn from its seed: how applications write, how many replicas there are, and a list of
*tickets*, one per step. Each step either lets an application write somewhere or lets a consumer
send one request, which may be throttled, lose its answer, or land after its sender has died.
Afterwards everything falls quiet, and the checkers look at what is left. A history that a checker
complains about is shrunk by leaving out tickets, and told step by step.

Of two-way mirrors the rules are driven, request by request (``world``); of one-way mirrors and
their views the whole engine, on a loop whose time stands still (``one_way``).
"""
