"""Simulated histories of two-way mirrors: the shipped rules against everything that may happen.

    python -m dynamirror.simulation --seed 17
    python -m dynamirror.simulation --seed 0 --histories 10000

A history is drawn from its seed: how applications write, how many replicas there are, and a list of
*tickets*, one per step. Each step either lets an application write somewhere or lets a consumer
send one request, which may be throttled, lose its answer, or land after its sender has died.
Afterwards everything falls quiet, and the checkers look at what is left. A history that a checker
complains about is shrunk by leaving out tickets, and told step by step.
"""
