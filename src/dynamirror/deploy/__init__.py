"""A mirror on AWS: what it takes there, as values; and what makes it so.

``stacks``, ``grants``, ``resources``, ``template`` and their like only judge: configuration in,
templates out. ``plan`` and ``carry_out`` ask and act, through the port ``ControlPlane``.
"""
