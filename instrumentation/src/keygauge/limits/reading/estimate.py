"""Estimates of a request's maximum usage from its body: its model, its input, and its declared output cap."""

from __future__ import annotations

import re
from codecs import getincrementaldecoder
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from msgspec import Struct

from keygauge.limits.limit import MEASURED, TOKENS, Limit
from keygauge.limits.reading.body_models import NAMING, BodyModels
from keygauge.limits.reading.model_names import NAMES, cut, in_address
from keygauge.limits.reading.request_fields import BODY_BYTES_MAX, Fields, Members, read
from keygauge.limits.reading.tool_calls import names_nothing, only_lists, tools_of
from keygauge.pricing.rates import Rates, rates_of
from keygauge.usage import operations

TOKENS_MAX = 10_000_000  # more than any model writes: a larger cap is a mistake
_ANSWERS_MAX = 1_000
_INPUT_MAX = 1_000_000
BYTES_PER_TOKEN = 4  # of English text; other scripts and images are settled by actual usage
_OUTPUT_DEFAULT = 1_024
_DIGITS_MAX = 18
_UNITS_MAX = 2**53 - 1  # of a limit: see docs/reference/protocol.md

# Servers' names for the output cap, in lower case, and the values that mean "no cap".
_UNLIMITED: frozenset[int | str] = frozenset({-1})  # from llama.cpp, adopted by many servers and clients
_CAPS: dict[str, frozenset[int | str]] = {
    **dict.fromkeys(
        (
            *("max_tokens", "max_completion_tokens", "max_tokens_to_sample", "max_tokens_to_generate"),
            *(
                "maxoutputtokens",
                "maxtokens",
                "maxtokencount",
                "max_output_len",
                "maximum_tokens",
                "tokens_to_generate",
            ),
        ),
        _UNLIMITED,
    ),
    **dict.fromkeys(("n_predict", "num_predict", "max_new_tokens", "max_gen_len", "max_length"), _UNLIMITED | {-2}),
    **dict.fromkeys(("max_output_tokens", "max_response_output_tokens"), _UNLIMITED | {"inf"}),  # OpenAI's Realtime
}
_ANSWERS = frozenset(
    {
        "n",
        "n_cmpl",
        "best_of",
        "candidatecount",
        "candidate_count",
        "num_return_sequences",
        "num_generations",
        "numresults",
    }
)
_PROMPTS = frozenset({"prompt", "text", "inputs", "input_ids"})  # each one in a list gets an answer
_FILES = ("multipart/", "audio/", "image/", "video/", "application/octet-stream", "application/pdf")
_FILE_BYTES_MIN = 8_192
_FILE_TOKENS = 1_024  # typical for an image in most models; files are settled by actual usage
_base64 = re.compile(rb"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{8192,}={0,2}").findall  # scans each run once
_utf8 = getincrementaldecoder("utf-8")
_INSIDE = frozenset(
    {
        *("generationconfig", "generation_config", "inferenceconfig", "textgenerationconfig"),
        *("options", "parameters", "sampling_params"),  # Ollama's, TGI's and SGLang's
        *("additionalmodelrequestfields", "completion_args"),  # Bedrock's Converse, Mistral's conversations
        *("session", "request"),  # OpenAI's Realtime, Perplexity's asynchronous jobs
    }
)
_INSTANCES = "instances"  # Vertex AI's: each gets an answer
_INPUT = "input"  # Replicate's, an object
_IN_INSTANCES = frozenset({"parameters", "sampling_params"})
_EXTRA = "extra_body"  # LiteLLM passes its members on, replacing the body's own
_SESSIONS = frozenset({"session", "response", "request"})  # where Realtime and Perplexity's jobs name models
_RPC = ("jsonrpc", "method")  # JSON-RPC's
_KINDS = {  # the members that are read, in lower case
    **dict.fromkeys((_INSTANCES, _INPUT, *_INSIDE, *_SESSIONS), "inside"),
    **dict.fromkeys(_RPC, "rpc"),
    _EXTRA: "extra",
    **dict.fromkeys(_PROMPTS, "prompts"),
    **dict.fromkeys(_ANSWERS, "answers"),
    **dict.fromkeys(_CAPS, "cap"),
    **dict.fromkeys(NAMING, "model"),
}
_is_whole = re.compile(r"\s*[+-]?\d+(?:_\d+)*\s*").fullmatch
_upload = re.compile(r"/v\d\w*/(?:files|uploads(?:/[^/]+/(?:parts|complete|cancel))?)/?$").search


class Estimate(Struct, frozen=True):  # created for each call: a dataclass takes ten times as long
    """The expected usage of a call. `output_tokens` is the total of all answers, None if no cap is declared.

    `named` are all models in the address and the body, so that neither hides the other. An `unread` body, which is too
    long or neither JSON nor a form, may name any model. In a `hidden` one, the app may read what we cannot, and in a
    `vague` one, it may read another model. A call
    `asks` if it has a body, except an uploaded file; if it names no model, the app chooses one. `tools` are those
    called by JSON-RPC; None if it may call any, or several. A call that `lists` is JSON-RPC that uses no tokens.
    """

    model: str | None = None
    input_tokens: int = 0
    output_tokens: int | None = None
    answers: int = 1
    named: tuple[str, ...] = ()
    unread: bool = False
    hidden: bool = False
    vague: bool = False
    asks: bool = False
    tools: tuple[str, ...] | None = ()
    lists: bool = False

    @property
    def models(self) -> tuple[str, ...] | None:
        """Return the models that the call may use; None for any."""
        return None if self.unread or self.hidden or self.vague else self.named

    def units(self, limit: Limit, prices: Sequence[Sequence[Rates]] = ()) -> int:
        """Return the units that the call takes; undeclared or unread usage alone never exceeds the limit.

        `prices` are the rates of the models it names: cost limits count the most expensive. A call without rates takes
        one unit, so that an exhausted limit refuses it too.
        """
        if limit.unit not in MEASURED:
            return 1
        output = self.output_tokens
        if output is None:
            output = (limit.output_default or _OUTPUT_DEFAULT) * self.answers
        elif not self.unread:
            return self._measure(limit, prices, output)
        least = 1 if self.unread else self._measure(limit, prices, 0)
        return min(self._measure(limit, prices, output), max(limit.amount, least))

    def _measure(self, limit: Limit, prices: Sequence[Sequence[Rates]], output_tokens: int) -> int:
        given = self.input_tokens
        if limit.unit in TOKENS:
            if limit.unit == "token":
                return max(1, given + output_tokens)
            return max(1, given if limit.unit == "input_token" else output_tokens)
        if limit.weights is not None:
            return min(max(1, limit.weights.most(given, output_tokens)), _UNITS_MAX)
        costs = [rates_of(tiers, given).most_nanousd(given, output_tokens) for tiers in prices]
        return min(max([1, *costs]), _UNITS_MAX)


class EstimateError(ValueError):
    """An invalid cap or number of answers; the message names the field."""


def estimate(
    body: bytes,
    *,
    length: int,
    path: str,
    method: str = "POST",
    query: str = "",
    params: Mapping[str, Any] | None = None,
    content_type: str = "",
    content_encoding: str = "",
) -> Estimate:
    """Estimate a call; `length` is the length of the whole body, and `body` may be only its beginning.

    Raises:
        EstimateError: a declared cap or number of answers is not within bounds, or no integer in a call of a model.
    """
    is_whole = length == len(body) <= BODY_BYTES_MAX
    fields = read(body, content_type=content_type, content_encoding=content_encoding) if is_whole else Fields()
    text = fields.text if len(fields.text) > len(body) else body
    input_tokens = _input_tokens(text, max(length, len(text)), fields, content_type)
    declared = _Declared()
    if fields.document is not None:
        declared.read(fields.document)
    if fields.form is not None:
        declared.read(fields.form, is_form=True)
    answers = declared.answers * declared.all_prompts
    output = max(declared.caps) * answers if declared.caps and not declared.is_unlimited else None
    named = cut((*declared.models.names, *in_address(path, query, params)))
    lists = declared.may_be_rpc and only_lists(fields.document or ())
    is_free = operations.is_free(path)
    if declared.mistakes or lists:
        uses_a_model = bool(named) or declared.models.hidden or operations.names_a_model(path)
        if declared.mistakes and uses_a_model:
            raise declared.mistakes[0]
        is_free = is_free or (lists and not uses_a_model and not fields.form and names_nothing(fields.document or ()))
    if is_free:
        input_tokens = 0
    if is_free or operations.reads(method, length) or operations.writes_nothing(path):
        output = 0
    return Estimate(
        model=named[0] if named else None,
        input_tokens=input_tokens,
        output_tokens=output,
        answers=answers,
        named=named,
        unread=length > 0 and fields.document is None and fields.form is None,
        hidden=fields.hidden,
        vague=fields.foreign or declared.models.hidden,
        asks=length > 0 and not _is_upload(path),
        tools=_tools(length, fields, declared),
        lists=lists,
    )


@lru_cache(maxsize=256)  # called for every call with a token limit
def _is_upload(path: str) -> bool:
    return _upload(path) is not None


def _tools(length: int, fields: Fields, declared: _Declared) -> tuple[str, ...] | None:
    """Return the tools that a body calls; None if it is hidden or unread, such as a batch."""
    if length and (fields.hidden or fields.foreign or not fields.is_read):
        return None
    return tools_of([*(fields.document or ()), *(fields.form or ())]) if declared.may_be_rpc else ()


def _input_tokens(body: bytes, length: int, fields: Fields, content_type: str) -> int:
    """Estimate the input tokens from the text; a file, raw or as base64, counts at most `_FILE_TOKENS`."""
    if fields.document is None and _is_file(body, content_type):
        return min(_FILE_TOKENS, -(-length // BYTES_PER_TOKEN))
    files = [len(run) for run in _base64(body)] if fields.document is not None and length > _FILE_BYTES_MIN else []
    tokens = -(-(length - sum(files)) // BYTES_PER_TOKEN) + _FILE_TOKENS * len(files)
    return min(_INPUT_MAX, tokens)


def _is_file(body: bytes, content_type: str) -> bool:
    """Return whether a body is a file by its type or its bytes; it may be only the beginning of the whole body."""
    if content_type.strip().lower().startswith(_FILES) or b"\0" in body:
        return True
    try:
        _utf8().decode(body)
    except UnicodeDecodeError:
        return True
    return False


class _Declared:
    """What a body declares in all its readings and all their members: the largest cap, every model."""

    def __init__(self) -> None:
        self.models = BodyModels()
        self.caps: list[int] = []
        self.mistakes: list[EstimateError] = []  # what is no integer; without a model, it may mean anything
        self.answers = self.prompts = 1
        self.is_unlimited = self.may_be_rpc = self._has_parameters = False
        self._instances = 1
        self._texts = 1  # prompts of SGLang and TGI, counted only if there are parameters

    @property
    def all_prompts(self) -> int:
        """Return the number of prompts."""
        prompts = max(self.prompts, self._texts) if self._has_parameters else self.prompts
        return max(prompts, self._instances) if self.caps else prompts

    def read(self, members: Members, *, is_form: bool = False) -> None:
        waiting = [members]
        for each in waiting:
            for name, value in each:
                lower = name.casefold()  # Go's decoder compares like this
                if (kind := _KINDS.get(lower)) == "extra":
                    waiting += [value] if isinstance(value, Members) else []
                elif kind is not None:
                    self._read(kind, name, lower, value, is_form=is_form)

    def _read(self, kind: str, name: str, lower: str, value: Any, *, is_form: bool) -> None:
        if kind == "model":
            self.models.read(lower, value)
        elif kind == "cap":
            self._cap(name, value, is_form=is_form)
        elif kind == "answers":
            self._count_answers(name, value, is_form=is_form)
        elif kind == "prompts":
            self._count_prompts(lower, value)
        elif kind == "rpc":
            self.may_be_rpc = True
        elif isinstance(value, list):
            self._look_inside(name, value)

    def _count_prompts(self, name: str, value: object) -> None:
        if type(value) is not list or not value or type(value[0]) not in (str, list):
            return
        if name == "prompt":
            self.prompts = max(self.prompts, len(value))
        else:
            self._texts = max(self._texts, len(value))

    def _look_inside(self, outer: str, value: list[Any]) -> None:
        """Read an object that declares caps; SGLang accepts a list of them, one per text."""
        if outer.casefold() == _INSTANCES:
            if type(value) is list:
                self._read_instances(value)
            return
        if outer.casefold() == _INPUT:
            if isinstance(value, Members):
                self._read_instances([value])
            return
        for members in value if type(value) is list else [value]:
            if isinstance(members, Members):
                self._has_parameters = True
                self._read_parameters(outer, members)

    def _read_parameters(self, outer: str, members: Members) -> None:
        if outer.casefold() in _SESSIONS:
            for name, value in members:
                if name.casefold() in NAMES:
                    self.models.add(value)
        if outer.casefold() in _INSIDE:
            self._read_caps(outer, members)

    def _read_instances(self, instances: list[Any]) -> None:
        """Read the caps of Vertex AI's instances or Replicate's input; one without a cap may be any data."""
        self._instances = max(self._instances, len(instances))
        for members in instances:
            if not isinstance(members, Members):
                continue
            names = {name.casefold() for name, _ in members}
            if not names.isdisjoint(_CAPS):
                self._read_caps(_INSTANCES, members)
            for name, value in members:
                if name.casefold() in _IN_INSTANCES and isinstance(value, list):
                    self._look_inside(name, value)

    def _read_caps(self, outer: str, members: Members) -> None:
        for name, value in members:
            if name.casefold() in _CAPS:
                self._cap(f"{outer}.{name}", value)
            elif name.casefold() in _ANSWERS:
                self._count_answers(f"{outer}.{name}", value)

    def _count_answers(self, name: str, value: object, *, is_form: bool = False) -> None:
        self.answers = max([self.answers, *self._number(name, value, _ANSWERS_MAX, is_form=is_form)])

    def _cap(self, name: str, value: object, *, is_form: bool = False) -> None:
        """Add a cap; if any member says "no cap", the app may follow that one."""
        if type(value) is int and 0 <= value <= TOKENS_MAX:
            self.caps.append(value)
            return
        given = value if value == "inf" else _whole(value)
        if given in _CAPS[name.casefold().rpartition(".")[2]]:
            self.is_unlimited = True
        else:
            self.caps += self._number(name, value, TOKENS_MAX, is_form=is_form)

    def _number(self, name: str, value: object, most: int, *, is_form: bool) -> list[int]:
        number = _whole(value)
        if number is not None and 0 <= number <= most:
            return [number]
        mistake = EstimateError(f"{name} must be an integer from 0 to {most}")
        if number is not None:
            raise mistake
        if value is not None and not is_form:  # a field of a form may have another meaning
            self.mistakes.append(mistake)
        return []


def _whole(value: object) -> int | None:
    """Parse an integer as most servers do: 256, 256.0, "256" and " +256 " are the same."""
    if isinstance(value, str) and _is_whole(value):
        digits = value.strip().replace("_", "")
        return int(digits) if len(digits) <= _DIGITS_MAX else _UNITS_MAX
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if type(value) is int else None
