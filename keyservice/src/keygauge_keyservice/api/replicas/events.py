"""HTTP API for events: it takes a replica's spool into the ledger, batch by batch."""

from __future__ import annotations

import re
import zlib
from time import perf_counter
from typing import Annotated, TypeAlias

from flask import Blueprint, Response, request
from msgspec import Meta, Struct
from werkzeug.exceptions import RequestEntityTooLarge

from keygauge_keyservice.api.document.schema import Operation
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.ledger import ingest, spool_service
from keygauge_keyservice.ledger.event import Refusal
from keygauge_keyservice.web.bearer_auth import replica_only, service
from keygauge_keyservice.web.context import services
from keygauge_keyservice.web.message import answer

blueprint = Blueprint("api_events", __name__, url_prefix="/v1/events")

LINES_MAX = 5_000
BATCH_BYTES_MAX = 8 << 20  # uncompressed
NUMBER_MAX = 1 << 53  # far beyond any spool: after an absurd number, all later batches would count as already taken
_GZIP = 16 + zlib.MAX_WBITS

_is_spool = re.compile(r"[0-9a-f]{1,64}", re.ASCII).fullmatch
_is_number = re.compile(r"[0-9]{1,19}", re.ASCII).fullmatch


_Number: TypeAlias = Annotated[int, Meta(ge=0, le=NUMBER_MAX)]


class BatchQuery(Struct):
    """The position of a batch in its spool."""

    spool: Annotated[str, Meta(description="the spool's id")]
    first: Annotated[_Number, Meta(description="the first line's number")]
    oldest: (
        Annotated[
            _Number,
            Meta(
                description="the number of the first event that the sender still has; a ledger that misses some since "
                "then (it was restored) takes nothing and returns the number to continue with"
            ),
        ]
        | None
    ) = None
    owner: (
        Annotated[str, Meta(description="the sender's own spool; others can send it 3 s after its sender died")] | None
    ) = None


class RefusedEvent(Struct):
    """An event that the ledger set aside, and the reason."""

    number: int
    code: Refusal


class Receipt(Struct):
    """The result of a batch: the next event's number, and how many events were new."""

    next: int
    accepted: int
    refused: list[RefusedEvent]


@blueprint.post("")
@replica_only
def take() -> Response:
    """Take a batch of a spool's events; the response covers only what is committed."""
    started = perf_counter()
    spool, first, owner, oldest = _spool(), _number("first"), _owner(), None
    if "oldest" in request.args:
        oldest = _number("oldest")
    lines = _lines(_body())
    with services().replica_connection() as connection:
        services().prices.refresh(connection)
        spool_service.claim(connection, spool, service())
        connection.commit()  # a batch starts outside any transaction
        try:
            receipt = ingest.take_batch(
                connection,
                spool,
                first,
                lines,
                services().prices,
                owner=owner,
                oldest=oldest,
                service=service() or "",
                bounds=services().settings.bounds,
            )
        except ingest.SpoolClaimedError as error:
            raise Problem(409, "spool_claimed", f"{error}: keep the events and send them later.") from error
    services().ledger_metrics.record(receipt, duration_s=perf_counter() - started)
    refused = [RefusedEvent(number, code) for number, code in receipt.refused]
    return answer(Receipt, Receipt(receipt.next, receipt.accepted, refused))


def _spool() -> str:
    spool = request.args.get("spool", "")
    if not _is_spool(spool):
        raise _bad_batch("spool: must be the spool's id, up to 64 hexadecimal digits")
    return spool


def _owner() -> str | None:
    owner = request.args.get("owner")
    if owner is not None and not _is_spool(owner):
        raise _bad_batch("owner: must be the sender's own spool, up to 64 hexadecimal digits, or absent")
    return owner


def _number(name: str) -> int:
    number = request.args.get(name, "")
    if not _is_number(number) or int(number) > NUMBER_MAX:
        raise _bad_batch(f"{name}: must be the number of an event in its spool, an integer from 0 to 2^53")
    return int(number)


def _body() -> bytes:
    request.max_content_length = BATCH_BYTES_MAX
    try:
        body = request.get_data(cache=False)
    except RequestEntityTooLarge as error:
        raise _too_large() from error
    encoding = request.headers.get("Content-Encoding", "identity").lower()
    if encoding == "gzip":
        return _inflate(body)
    if encoding != "identity":
        raise Problem(415, "unsupported_encoding", "Send the batch as it is or with Content-Encoding: gzip.")
    return body


def _inflate(body: bytes) -> bytes:
    inflater = zlib.decompressobj(_GZIP)
    try:
        lines = inflater.decompress(body, BATCH_BYTES_MAX + 1)
    except zlib.error as error:
        raise _bad_batch("the body is not gzip") from error
    if len(lines) > BATCH_BYTES_MAX:
        raise _too_large()
    if not inflater.eof or inflater.unused_data:
        raise _bad_batch("the body is not one whole gzip stream")
    return lines


def _lines(body: bytes) -> list[bytes]:
    """Split a body into lines; an unterminated last line means a truncated batch."""
    if not body.endswith(b"\n"):
        raise _bad_batch("the body is not whole lines: end each event with a newline")
    if body.count(b"\n") > LINES_MAX:  # checked before splitting, as a few kilobytes can inflate to millions of lines
        raise _too_large()
    return body.split(b"\n")[:-1]


def _bad_batch(detail: str) -> Problem:
    return Problem(422, "bad_batch", detail)


def _too_large() -> Problem:
    return Problem(413, "batch_too_large", f"A batch has at most {LINES_MAX} lines and {BATCH_BYTES_MAX} bytes.")


PATHS = {
    "/v1/events": {
        "post": Operation(
            "takeEvents",
            "Take a batch of a spool's events into the ledger; sending it again changes nothing",
            query=BatchQuery,
            lines="One event per line: a JSON array in the order of `keygauge.spool.event.FIELDS`.",
            answer=Receipt,
            problems=(409, 413, 422),
            security="replica",
        )
    }
}
