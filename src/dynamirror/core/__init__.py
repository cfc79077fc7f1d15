"""The judgement: what a stream record means and which requests follow from it.

Nothing here waits, looks at a clock, draws lots, logs, or talks to a server: values go in and
values come out, so that every rule can be tested alone and the simulator runs the shipped code.
"""
