"""Changes that wait: unfit ones, those for a target that is away, and how they are redriven."""
