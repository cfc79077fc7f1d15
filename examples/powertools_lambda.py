"""The mirror's Lambda function with Powertools: structured logs, and metrics of your own names.

Deploy it in place of ``dynamirror.runtimes.aws_lambda.handler``, with ``DYNAMIRROR_CONFIG`` set as
ever. dynamirror writes metrics by itself; this is for those who have Powertools everywhere and want
each delivery in the same shape as their other functions' logs.

    POWERTOOLS_SERVICE_NAME=mirror POWERTOOLS_METRICS_NAMESPACE=mirror

What it must not do: catch what the handler raises, or change what it returns. Lambda delivers again
what is named in ``batchItemFailures``, and all of the batch after an exception; either is how
nothing gets lost. Powertools' own batch processor has no place here for the same reason: it goes on
after a record that failed, and then a key's changes are no longer in their order.
"""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from dynamirror.runtimes.aws_lambda import handler as mirror

logger = Logger()
metrics = Metrics()


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Mirror one delivery and tell of it; keys and items stay out of the log."""
    records = event.get("Records", [])
    metrics.add_metric(name="Delivered", unit=MetricUnit.Count, value=len(records))
    answer = mirror(event, context)
    left = [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]
    metrics.add_metric(name="HandedBack", unit=MetricUnit.Count, value=len(left))
    logger.info("mirrored", extra={"records": len(records), "comes_again_from": left})
    return answer
