"""The API against its OpenAPI document: schemathesis sends what the document allows and what it does not."""

import hypothesis
import pytest
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
BOUNDED = hypothesis.settings(
    max_examples=max(5, hypothesis.settings.default.max_examples * 15 // 100),  # 15 in the long profile
    deadline=None,
    database=None,
    derandomize=True,
    phases=[hypothesis.Phase.generate],
    suppress_health_check=list(hypothesis.HealthCheck),
)


@pytest.mark.filterwarnings("ignore::hypothesis.errors.NonInteractiveExampleWarning")
def test_every_operation_responds_as_documented(app, client, operator, replica):
    client.post("/v1/plans", json={"id": "free", "name": "Free", "limits": []}, headers=operator)
    app.testing = False  # an error becomes a response, as in production
    schema = schemathesis.openapi.from_wsgi("/v1/openapi.json", app)
    operations = [result.ok() for result in schema.get_all_operations()]
    walked = [one for one in operations if one.path != "/v1/events"]  # schemathesis cannot generate JSON lines
    assert len(walked) > 20
    for operation in walked:
        _try_out(operation, replica if operation.path == "/v1/heartbeat" else operator)


def _try_out(operation, headers):
    @BOUNDED
    @hypothesis.given(case=operation.as_strategy())
    def answer(case):
        case.validate_response(case.call(headers=headers | {"Accept-Encoding": "identity"}), checks=CHECKS)

    answer()
