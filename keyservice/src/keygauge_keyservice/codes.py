"""The error codes of the HTTP API: ours and stable, whatever a library or an interpreter calls the same thing."""

from __future__ import annotations

from collections.abc import Mapping

# code -> title; `Problem` takes no other
CODES: Mapping[str, str] = {
    "account_not_found": "Account not found",
    "bad_batch": "Malformed batch of events",
    "bad_heartbeat": "Malformed heartbeat",
    "bad_filter": "Invalid filter",
    "bad_form": "Invalid form",
    "bad_note": "Invalid note",
    "bad_range": "Invalid date range",
    "bad_report": "Malformed report",
    "bad_request": "Malformed request",
    "bad_role": "Invalid role",
    "bad_status": "Invalid status",
    "batch_too_large": "Batch too large",
    "busy": "Key service busy",
    "call_not_found": "Request not found",
    "channel_not_found": "Notification not found",
    "cross_site": "Form from another site",
    "database_read_only": "Database read-only",
    "database_unavailable": "Database unavailable",
    "in_progress": "First request not finished",
    "internal": "Internal error",
    "invalid": "Invalid fields",
    "invalid_json": "Invalid JSON",
    "invitation_not_found": "Invitation not found",
    "invoice_not_found": "Invoice not found",
    "ip_not_allowed": "IP address not allowed",
    "key_deleted": "Key deleted",
    "key_not_found": "Key not found",
    "key_reused": "Idempotency key reused",
    "last_owner": "Last owner",
    "locked_by_operator": "Restricted by the operator",
    "member_exists": "Member already exists",
    "member_not_found": "Member not found",
    "method_not_allowed": "Method not allowed",
    "migrations_pending": "Migrations pending",
    "no_owner": "Owners only",
    "not_found": "Not found",
    "plan_exists": "Plan already exists",
    "plan_not_found": "Plan not found",
    "read_only": "Key service read-only",
    "request_too_large": "Request too large",
    "spool_claimed": "Spool in use",
    "spool_of_another": "Spool of another service",
    "stale_form": "Form out of date",
    "table_not_found": "Table not found",
    "token_not_found": "Token not found",
    "token_scope": "Beyond the token's scope",
    "too_many_at_once": "Too many requests at once",
    "unauthorized": "Unauthorized",
    "unsupported_encoding": "Unsupported content encoding",
    "unsupported_media_type": "Unsupported media type",
    "viewer": "Read-only access",
    "wrong_address": "Invitation for another address",
    "wrong_pepper": "Another pepper than before",
}

FIELD_CODES = frozenset(
    (
        *(
            "bad_email",
            "bad_length",
            "missing",
            "no_first_tier",
            "own_key",
            "same_name",
            "same_size",
            "too_common",
            "two_keys",
            "unknown_field",
            "weak_key",
            "wrong",
        ),
        *(
            "wrong_choice",
            "wrong_cursor",
            "wrong_hash",
            "wrong_limit",
            "wrong_list",
            "wrong_name",
            "wrong_number",
            "wrong_role",
            "wrong_slug",
        ),
        *("wrong_text", "wrong_time", "wrong_type", "wrong_unit", "wrong_window"),
    )
)

# What the framework itself refuses: status -> code, detail.
OF_FRAMEWORK: Mapping[int, tuple[str, str]] = {
    400: ("bad_request", "The request is malformed."),
    404: ("not_found", "There is nothing at this address."),
    405: ("method_not_allowed", "This address does not take this method: see the Allow header."),
    413: ("request_too_large", "The request body is too large."),
    415: ("unsupported_media_type", "The content type is not supported."),
}
