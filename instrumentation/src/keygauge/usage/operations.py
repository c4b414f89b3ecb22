"""Rules for which operations consume tokens: an answer that shows usage has not necessarily used it.

Reading a stored answer, polling a batch, listing runs and cancelling them show what another call used. Counting tokens
uses none, nor does setup such as creating a thread, a client secret or a LoRA adapter.

Each pattern is tried at many positions of a path that the client chose, so each must fail after a few segments.
"""

from __future__ import annotations

import re
from collections import OrderedDict, deque
from functools import lru_cache
from threading import Lock
from typing import Final

from keygauge.usage.counts import UNREPORTED, Usage

READS: Final = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})

_ID: Final = "[^/]+"
_OTHER_ID: Final = "(?!(?:runs|completions)/?$)[^/]+"  # not an operation's name
_PARTS: Final = f"(?:/{_ID}){{0,4}}"
_SHOWN: Final = (  # reads that show stored usage
    rf"/responses/{_ID}(?:/input_items)?",
    rf"/chat/completions(?:/{_ID})?(?:/messages)?",
    rf"/(?:messages/)?batch(?:es|_prediction_jobs)?(?:/{_ID})?(?:/results)?",
    rf"/threads/{_ID}/runs(?:/{_ID})?(?:/steps)?(?:/{_ID})?",
    rf"/(?:fine_tuning|batch|fine-tuning)/jobs(?:/{_ID})?(?:/{_ID})?",
    rf"/evals(?:/{_ID})?(?:/runs)?(?:/{_ID})?(?:/output_items)?(?:/{_ID})?",
    rf"/v\d\w*/files(?:/{_ID})?(?:/content)?",
    rf"/videos(?:/{_ID})?(?:/content)?",
    rf"/interactions/{_ID}",
    rf"/async/sonar(?:/{_ID})?",
    rf"/(?:models|tunedModels|batches|operations|cachedContents|model-invocation-jobs?|async-invoke|embed-jobs){_PARTS}",
    rf"/(?:generation|predictions|conversations|organization|usage|costs){_PARTS}",
)
_SILENT: Final = (
    r"/api/(?:show|pull|create|copy)"  # Ollama's, which report no usage: an answer that does is from another app
)
_FREE: Final = (  # writes
    _SILENT,
    rf"/(?:(?:messages/)?batches|responses|interactions|predictions|threads/{_ID}/runs|batch/jobs|fine_tuning/jobs)/{_ID}[/:]cancel",
    rf"/cachedContents/{_ID}",  # changes the time to live
    rf"/(?:batches|messages/batches|batch/jobs|fine_tuning/jobs)(?:/{_ID})?(?:/(?:results|pause|resume))?",
    rf"/v\d\w*/(?:files(?:/{_ID})?(?:/content)?|uploads(?:/{_ID})?(?:/(?:parts|complete|cancel))?)",
    rf"/chat/completions/{_ID}|/threads/{_ID}/runs/{_ID}",  # changes the metadata of a stored one
    r"/messages/count_tokens|/responses/input_tokens|/tokenize|/detokenize",
    rf"/models/{_ID}:(?:countTokens|computeTokens|batchGenerateContent|asyncBatchEmbedContent|fetchPredictOperation)",
    rf"/model/{_ID}/count-tokens",
)
_PREPARING: Final = (  # writes that set something up or end it
    rf"/v\d\w*/(?:assistants|vector_stores|containers|evals|conversations|agents|environments|skills)(?:/{_OTHER_ID})?",
    rf"/v\d\w*/threads(?:/{_OTHER_ID}(?:/messages(?:/{_ID})?)?)?",
    rf"/v\d\w*/vector_stores/{_ID}/(?:search|files(?:/{_ID})?|file_batches(?:/{_ID}/cancel)?)",
    rf"/v\d\w*/(?:conversations/{_ID}/items|containers/{_ID}/files|evals/{_ID}/runs/{_ID}|chatkit/sessions(?:/{_ID}/cancel)?)",
    rf"/realtime/(?:(?:translations/)?client_secrets|(?:transcription_)?sessions|calls/{_ID}/(?:hangup|reject|refer))",
    r"/v\d\w*/(?:moderations|auth_tokens|tokenize-text)",
    r"/(?:un)?load_lora_adapter|/lora-adapters|/models/(?:un)?load|/props|/slots/\d+",  # self-hosted servers
    r"/apply-template|/chat_tokenize|/abort_request|/flush_cache|/reset_prefix_cache|/sleep|/wake_up|/st(?:art|op)_profile",
    r"/api/(?:push|delete|blobs/[^/]+)",
)
_PARAMETER: Final = ("{", "<")  # how parameters in a route template begin
_WITHOUT_OUTPUT: Final = (  # no output tokens
    r"/embeddings|/embed|/v\d\w*/(?:rerank|classify|moderations)|:\w*[eE]mbedContents?|/score|/pooling",
)
_is_shown = re.compile(rf"(?:{'|'.join(_SHOWN)})/?$").search
_is_free = re.compile(rf"(?:{'|'.join(_FREE)})/?$").search
_prepares = re.compile(rf"(?:{'|'.join(_PREPARING)})/?$").search
_tells_nothing = re.compile(rf"{_SILENT}/?$").search
_writes_nothing = re.compile(rf"(?:{'|'.join((*_FREE, *_WITHOUT_OUTPUT))})/?$").search
_names_a_model = re.compile(
    r"/(?:audio|chat|completions?|converse|embed|embeddings|engines|generate|images|invoke|messages|models?|predictions|"
    r"rerank|responses|videos|ai/run|ml/v1/(?:deployments|text))(?:[/:-]|$)|:(?:\w*[gG]enerateContent|\w*[eE]mbedContents?|predict)$"
).search


def reads(method: str, body_bytes: int) -> bool:
    """Return whether a call only reads. A call whose body the app reads may do anything, regardless of its method."""
    return method in READS and not body_bytes


def is_shown(path: str, template: str | None = None) -> bool:
    """Return whether reading a path shows what another call used. `template` is the route, if the app has one."""
    return _is_shown(_named(path, template)) is not None


@lru_cache(maxsize=256)  # called for every call with usage
def is_free(path: str, template: str | None = None) -> bool:
    """Return whether writing to a path uses nothing by itself."""
    return _is_free(_named(path, template)) is not None


def tells_nothing(path: str) -> bool:
    """Return whether an operation never reports usage, so that an answer with usage is from another app."""
    return _tells_nothing(path) is not None


def prepares(path: str, template: str | None = None) -> bool:
    """Return whether writing to a path only sets something up. Answers with usage and streams are from another app."""
    return _prepares(_named(path, template)) is not None


def _named(path: str, template: str | None) -> str:
    """Return the path with parameters in place of their values, so that clients cannot choose what is charged.

    The last segment is kept: its parameter may match the rest of any path.
    """
    ours, given = (template or "").rstrip("/").split("/"), path.rstrip("/").split("/")
    if len(ours) != len(given):
        return path
    known = (one if one.startswith(_PARAMETER) else part for one, part in zip(ours[:-1], given[:-1], strict=True))
    return "/".join((*known, given[-1]))


@lru_cache(maxsize=256)  # called for every call with a token limit
def writes_nothing(path: str) -> bool:
    """Return whether the answer to an operation has no output tokens."""
    return _writes_nothing(path) is not None


def names_a_model(path: str) -> bool:
    """Return whether an operation calls a model, so that `model` in its request is a model's name."""
    return _names_a_model(path) is not None


class Answers:
    """The usage charged for each answer, by its id: showing an answer again costs only what was not charged before.

    So a background answer is charged to the first read that shows its usage, and the rest of an interrupted stream to
    the read that shows it.
    """

    def __init__(self, most: int = 4096) -> None:
        self._most = most
        self._lock = Lock()
        self._noted: deque[tuple[str, Usage | None]] = deque(maxlen=most)  # not in `_charged` yet: most are never read
        self._charged: OrderedDict[str, Usage] = OrderedDict()  # oldest first; a dict finds its first item slowly

    def note(self, name: str, usage: Usage | None) -> None:
        """Record what was charged for an answer; drop the oldest if there are too many."""
        self._noted.append((name, usage))

    def _take_noted(self) -> None:
        for _ in range(len(self._noted)):
            name, usage = self._noted.popleft()
            self._charged[name] = usage or UNREPORTED
            self._charged.move_to_end(name)
            if len(self._charged) > self._most:
                self._charged.popitem(last=False)

    def rest(self, name: str | None, usage: Usage) -> Usage | None:
        """Return the usage not charged yet, and record it as charged; None if the answer is unknown."""
        with self._lock:
            self._take_noted()
            charged = None if name is None else self._charged.get(name)
            if name is None or charged is None:
                return None
            self._charged[name] = usage
        return usage.beyond(charged)
