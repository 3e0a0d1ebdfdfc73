"""One of each of the standard messages that errors carry, with every field set."""

import datetime

from orbit_net.details import (
    BadRequest,
    BadRequestFieldViolation,
    DebugInfo,
    ErrorInfo,
    Help,
    HelpLink,
    LocalizedMessage,
    PreconditionFailure,
    PreconditionFailureViolation,
    QuotaFailure,
    QuotaFailureViolation,
    RequestInfo,
    ResourceInfo,
    RetryInfo,
)

__all__ = ["EACH"]

EACH = [
    BadRequest(
        field_violations=[
            BadRequestFieldViolation(
                field="a.b[2]",
                description="too long",
                reason="TOO_LONG",
                localized_message=LocalizedMessage(locale="de-AT", message="zu lang"),
            )
        ]
    ),
    DebugInfo(stack_entries=["here", "there"], detail="x"),
    ErrorInfo(reason="OUT_OF_STOCK", domain="shop", metadata={"article": "7"}),
    Help(links=[HelpLink(description="more", url="https://example.com")]),
    LocalizedMessage(locale="en", message="no"),
    PreconditionFailure(violations=[PreconditionFailureViolation(type="TOS", subject="s", description="d")]),
    QuotaFailure(
        violations=[
            QuotaFailureViolation(
                subject="me",
                description="d",
                api_service="s",
                quota_metric="m",
                quota_id="i",
                quota_dimensions={"region": "eu"},
                quota_value=5,
                future_quota_value=6,
            )
        ]
    ),
    RequestInfo(request_id="1", serving_data="2"),
    ResourceInfo(resource_type="t", resource_name="n", owner="o", description="d"),
    RetryInfo(retry_delay=datetime.timedelta(seconds=1.5)),
]
