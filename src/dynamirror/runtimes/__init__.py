"""Who turns the crank: a process of one's own (``process``), or AWS Lambda (``aws_lambda``)."""
