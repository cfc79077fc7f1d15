"""dynamirror's Lambda handler, as deployed; its configuration is in the environment."""

from dynamirror.runtimes.aws_lambda import handler

__all__ = ["handler"]
