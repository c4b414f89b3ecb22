"""The usage of a call: stated by its app, read from its answer, or estimated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import unquote

from keygauge.call import ANONYMOUS, INVALID, UNMATCHED, Call
from keygauge.http.responder import LEFT
from keygauge.limits.reading.estimate import BYTES_PER_TOKEN
from keygauge.limits.reading.model_names import in_address, in_path
from keygauge.usage import Reader, Usage, header_counts, operations, request_model
from keygauge.usage.counts import UNREPORTED, fitted
from keygauge.usage.model_name import name_of
from keygauge.usage.provider_rules import ProviderRules
from keygauge.usage.providers.names import provider_of, settle
from keygauge.usage.reading import Missing, Others, Reading
from keygauge.usage.requested_models import RequestedModels

_REFUSED = 400
_FAILED = 500
_STREAMS = frozenset({"sse", "ndjson", "eventstream"})
_NO_KEY = frozenset({ANONYMOUS, INVALID})
_NOTHING = Reading(None, None, None, "none", None)


class Policy(Protocol):
    """A process's settings for metering."""

    answers: operations.Answers
    requested_models: RequestedModels
    estimates: frozenset[str]
    providers: ProviderRules


class Passed(Protocol):
    """The metadata of a call's request and answer."""

    is_document: bool  # the answer is JSON
    headers: Mapping[bytes, bytes] | Mapping[str, str]  # of the answer
    sent_first: bytes  # the request's beginning
    sent_last: bytes  # its last chunk

    @property
    def path(self) -> str:
        """The request's original path."""

    @property
    def query(self) -> str:
        """The request's query string."""

    @property
    def params(self) -> Mapping[str, Any] | None:
        """The path's parameters, if known."""


def meter(call: Call, reader: Reader | None, passed: Passed, policy: Policy, *, complete: bool) -> Others:
    """Set a call's usage; what the app stated wins. Return other answers and models' parts, priced separately."""
    path = passed.path
    if reader is None:
        return _meter_any(call, None, _NOTHING, passed, policy)
    reading = reader.close(complete=complete)
    usage, model, shape, status, missing = reading
    if shape == header_counts.FIREWORKS and usage is not None:
        usage = header_counts.add_cached(usage, passed.headers)
        reading = reading._replace(usage=usage)
    if (
        missing is not None
        or model is None
        or call.status >= _REFUSED
        or call.usage is not None
        or call.model is not None
        or call.method in operations.READS
        or operations.is_free(path)
    ):
        return _meter_any(call, reader, reading, passed, policy)
    call.usage, call.usage_status, call.model = usage, status, model
    if reader.events or not reader.has_content:  # without comments
        call.messages = reader.events
    if answer := reader.answer:
        policy.answers.note(answer, usage)
    if call.provider is None:
        call.provider = policy.providers.find(call.route, path, call.providers, model) or shape
    requested, name = policy.requested_models, _asked_model(call, passed, path)
    if model not in requested.answered and call.key not in _NO_KEY:
        requested.learn(name, model)
    call.requested_model = name
    return reader.others


def _meter_any(call: Call, reader: Reader | None, reading: Reading, passed: Passed, policy: Policy) -> Others:
    """Set the usage of any call; `meter` handles the usual one: a successful write with complete usage, none stated."""
    is_stated = call.usage is not None
    usage, model, shape, status, missing = reading
    if reader is not None:
        if reader.events or not reader.has_content:  # without comments
            call.messages = reader.events
        if call.model is None:
            call.model = model
        if not is_stated:
            call.usage, call.usage_status = usage, status
    if is_stated:
        _fit_stated(call)
    if call.status < _REFUSED or call.status == LEFT:  # the answer may still be made
        missing = _complete(call, reader, passed, policy, missing, is_stated=is_stated)
    if not is_stated and (call.model is not None or missing != "no_usage"):
        call.missing = missing
    if (
        reader is not None
        and reader.answer
        and not operations.reads(call.method, call.request_bytes)
        and not call.is_free
    ):
        policy.answers.note(reader.answer, call.usage)
    if call.provider is None:
        model = call.model
        is_known = model is not None or call.usage is not None
        named = policy.providers.find(call.route, passed.path, call.providers, model) if is_known else None
        call.provider = named or settle(shape, model) or (provider_of(model) if model else None)
    _name_requested(call, passed, policy.requested_models)
    return () if is_stated or call.is_free or reader is None else reader.others


def _fit_stated(call: Call) -> None:
    """Cap impossible counts that the app stated, like those of an answer."""
    if call.usage is not None:
        call.usage, was_cut = fitted(call.usage)
        if was_cut:
            call.usage_status, call.missing = "partial", "bad_counts"
    if call.others:
        call.others = {model: one._replace(usage=fitted(one.usage)[0]) for model, one in call.others.items()}


def _complete(
    call: Call, reader: Reader | None, passed: Passed, policy: Policy, missing: Missing | None, *, is_stated: bool
) -> Missing | None:
    """Complete the usage of a successful answer from other sources; return what is still missing."""
    if call.usage is None and (in_headers := header_counts.read(passed.headers)):
        call.usage, call.usage_status, missing = in_headers, "reported", None
    if not is_stated and (
        not _shows_new(call, reader, passed, policy)
        if operations.reads(call.method, call.request_bytes)
        else _uses_nothing(call, reader, passed.path, missing)
    ):
        missing = missing if call.usage is None else None
        call.usage, call.usage_status, call.is_free = None, "none", True
        return missing
    if call.model is None:
        call.model = _named_model(call, passed)
        call.is_model_assumed = call.model is not None
    is_whole = is_stated or (call.usage is not None and missing is None)
    if not is_whole and (reader is None or reader.has_content or not reader.failed):
        _estimate(call, reader, passed, policy, missing)
    return missing


def _uses_nothing(call: Call, reader: Reader | None, path: str, missing: Missing | None) -> bool:
    """Return whether a write is of an operation that uses nothing by itself."""
    template = _template(call)
    if operations.is_free(path, template):
        return call.usage is None or not operations.tells_nothing(path)
    if call.reservation is None or call.usage is not None:  # nothing to refund
        return False
    is_rpc = reader is not None and reader.is_rpc
    if call.estimate is not None and call.estimate.lists:
        return (is_rpc or not call.response_bytes) and not operations.names_a_model(path)
    if call.estimate is not None and call.estimate.tools:  # an answer that was read in full shows no usage
        return is_rpc and missing in (None, "no_usage") and not operations.names_a_model(path)
    is_stream = call.stream is not None or (reader is not None and reader.events > 0)
    return not is_stream and operations.prepares(path, template)


def _shows_new(call: Call, reader: Reader | None, passed: Passed, policy: Policy) -> bool:
    """Return whether a read of an answer is charged for the usage it shows."""
    if call.usage is None:
        return call.stream in {"sse", "websocket"}
    name = reader.answer if reader is not None else None
    rest = policy.answers.rest(name, call.usage)
    if rest is not None:
        call.usage = rest
        return rest != UNREPORTED
    if operations.is_shown(passed.path, _template(call)):
        return False
    if name is not None:
        policy.answers.note(name, call.usage)
    return True


def _template(call: Call) -> str | None:
    return None if call.route == UNMATCHED else call.route


def _name_requested(call: Call, passed: Passed, known: RequestedModels) -> None:
    """Set the requested model, and count a failed call under the model that would have answered.

    So a model's failures show up with it. The requested name is trusted if the app tried it; if the app may never have
    seen the request, only if a call for that name has succeeded before.
    """
    is_good = 0 < call.status < _REFUSED
    if call.model is None and (is_good or call.key in _NO_KEY):
        return
    name = _asked_model(call, passed, passed.path)
    if call.model is None and name is not None:
        is_tried = call.outcome == "admitted" and (call.status == 0 or call.status >= _FAILED)
        call.model = known.find(name) or (name if is_tried else None)
        call.is_model_assumed = True
    elif is_good and call.model is not None and call.key not in _NO_KEY and known.is_new(call.model):
        known.learn(name, call.model)
    if call.model is not None or operations.names_a_model(passed.path):
        call.requested_model = name


def _named_model(call: Call, passed: Passed) -> str | None:
    """Return the requested model for an answer that names none."""
    if call.usage is None and not operations.names_a_model(passed.path):
        return None
    return _asked_model(call, passed, passed.path)


def _asked_model(call: Call, passed: Passed, path: str) -> str | None:
    """Return the model named in a request, as far as it was read."""
    if call.estimate is not None and call.estimate.model:
        return name_of(call.estimate.model)
    sent = passed.sent_first
    if sent and (in_body := request_model.find(sent, passed.sent_last)):
        return in_body
    query, params = passed.query, passed.params
    named = in_address(path, query, params) if query or params else in_path(path)
    return unquote(named[0]) if named else None


def _estimate(call: Call, reader: Reader | None, passed: Passed, policy: Policy, missing: Missing | None) -> None:
    """Estimate usage that an answer did not report: a stream event is about a token, and so are four bytes."""
    usage = call.usage
    is_stream = (
        call.stream in _STREAMS or (reader is not None and reader.events > 0)
    ) and "streams" in policy.estimates
    made = call.messages - (reader.empty_events if reader is not None else 0)
    if usage is not None:
        is_cut = is_stream and missing == "cut" and call.usage_status == "partial"
        if is_cut:
            made -= sum(one.usage.output_tokens or 0 for one, _ in reader.others if one.usage) if reader else 0
        if is_cut and (usage.output_tokens or 0) < made:
            call.usage, call.usage_status = usage._replace(output_tokens=made), "estimated"
        return
    if is_stream:
        if call.model is None and not operations.names_a_model(passed.path):
            return
    elif "documents" in policy.estimates and passed.is_document and call.model is not None and missing == "no_usage":
        made = -(-call.response_bytes // BYTES_PER_TOKEN)
    else:
        return
    given = -(-call.request_bytes // BYTES_PER_TOKEN) if call.estimate is None else call.estimate.input_tokens
    call.usage, call.usage_status = Usage(given, made), "estimated"
