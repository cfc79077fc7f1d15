"""What takes the place of a contract that a server can't keep."""

from __future__ import annotations

import pytest
from tests.profiles import TRIED
from tests.servers import Service

from dynamirror.errors import RefusedError, ServiceError


def test_an_operation_that_a_server_has_not_is_refused(service: Service) -> None:
    """It is refused for good, by its name, and nothing can be taken for an answer."""
    for operation in service.profile.lacks:
        with pytest.raises(RefusedError) as refused:
            service.ask(operation, TableName="any")

        assert refused.value.code == "UnknownOperationException"


def test_an_operation_that_a_server_has_is_known(service: Service) -> None:
    """A request that lacks everything is refused for that, not for its operation's name."""
    for operation in TRIED - service.profile.lacks:
        with pytest.raises(ServiceError) as refused:
            service.ask(operation)

        assert refused.value.code != "UnknownOperationException"
