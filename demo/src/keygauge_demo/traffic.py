"""Live traffic: several keys call the demo API concurrently, through the official SDKs of OpenAI and Anthropic."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import anthropic
import httpx2
import openai

from keygauge_demo.api.catalog import MODELS
from keygauge_demo.customers.profiles import Key
from keygauge_demo.settings import END_USER_HEADER
from keygauge_demo.traffic_counts import TrafficCounts

ANSWER_CAP_TOKENS = 400
IN_FLIGHT_MAX = 40
DRAIN_S = 15.0  # for the calls in progress when the traffic ends
TIMEOUT_S = 30.0
TEMPERATURE_NO_ONE_TAKES = 9.0

_TASKS = ("Summarise", "Explain", "Review", "Translate into German:", "Find the mistake in", "Write a headline for")
_SUBJECTS = (
    "the export that runs every night",
    "this week's support tickets",
    "the quarterly revenue table",
    "a release note about faster search",
    "our rules for refunds",
    "the plan for moving the archive",
)


@dataclass(frozen=True)
class Driver:
    """A key that makes calls, with its token."""

    key: Key
    token: str


class Traffic:
    """The drivers' calls to one API, with counts. No call is retried, so that the counts are exact."""

    def __init__(self, drivers: Sequence[Driver], *, api_url: str, counts: TrafficCounts, seed: int = 0) -> None:
        self._drivers = drivers
        self._counts = counts
        self._chance = random.Random(seed)  # noqa: S311 - realistic, not secret
        self._http = httpx2.AsyncClient(timeout=TIMEOUT_S, limits=httpx2.Limits(max_connections=IN_FLIGHT_MAX))
        self._room = asyncio.Semaphore(IN_FLIGHT_MAX)
        self._numbers = itertools.count(seed)
        self._openai = {driver.token: self._make_openai(driver.token, api_url) for driver in drivers}
        self._anthropic = {driver.token: self._make_anthropic(driver.token, api_url) for driver in drivers}

    async def run(self, stop: asyncio.Event) -> None:
        """Make calls until `stop` is set, then wait for the calls in progress."""
        calls: set[asyncio.Task[None]] = set()
        lanes = [asyncio.create_task(self._drive(driver, calls)) for driver in self._drivers]
        await stop.wait()
        for lane in lanes:
            lane.cancel()
        await asyncio.gather(*lanes, return_exceptions=True)
        if calls:
            await asyncio.wait(calls, timeout=DRAIN_S)
        await self._http.aclose()

    async def _drive(self, driver: Driver, calls: set[asyncio.Task[None]]) -> None:
        while True:
            call = asyncio.create_task(self._call(driver))
            calls.add(call)
            call.add_done_callback(calls.discard)
            await asyncio.sleep(60 / driver.key.live_per_minute * self._chance.uniform(0.5, 1.5))

    async def _call(self, driver: Driver) -> None:
        names = list(driver.key.models)
        model = MODELS[self._chance.choices(names, [driver.key.models[name] for name in names])[0]]
        text = self._write_prompt(driver.key.prompt_tokens)
        spoilt = self._chance.random() < driver.key.refused
        streamed = self._chance.random() < driver.key.streamed
        ask = self._call_openai if model.provider == "openai" else self._call_anthropic
        end_user = driver.key.draw_end_user(self._chance)
        headers = {END_USER_HEADER: end_user} if end_user else {}
        async with self._room:
            self._counts.sent += 1
            try:
                await ask(driver.token, model.id, text, headers, streamed=streamed, spoilt=spoilt)
            except (openai.APIStatusError, anthropic.APIStatusError) as refusal:
                self._counts.record(refusal.status_code)
            except (openai.APIConnectionError, anthropic.APIConnectionError, httpx2.HTTPError):
                return  # sent but not answered: the summary shows the difference

    async def _call_openai(
        self, token: str, model: str, text: str, headers: Mapping[str, str], *, streamed: bool, spoilt: bool
    ) -> None:
        create = self._openai[token].chat.completions.create
        extra = {"temperature": TEMPERATURE_NO_ONE_TAKES} if spoilt else None
        if not streamed:
            answer = await create(
                model=model, messages=[{"role": "user", "content": text}], extra_headers=headers, extra_body=extra
            )
            usage = answer.usage
        else:
            stream = await create(
                model=model,
                messages=[{"role": "user", "content": text}],
                stream=True,
                stream_options={"include_usage": True},
                extra_headers=headers,
                extra_body=extra,
            )
            usage = None
            async for chunk in stream:
                usage = chunk.usage or usage
        tokens = (usage.prompt_tokens, usage.completion_tokens) if usage else (0, 0)
        self._counts.record(200, input_tokens=tokens[0], output_tokens=tokens[1])

    async def _call_anthropic(
        self, token: str, model: str, text: str, headers: Mapping[str, str], *, streamed: bool, spoilt: bool
    ) -> None:
        client = self._anthropic[token].messages
        extra = {"temperature": TEMPERATURE_NO_ONE_TAKES} if spoilt else None
        messages: list[anthropic.types.MessageParam] = [{"role": "user", "content": text}]
        if not streamed:
            answer = await client.create(
                model=model, messages=messages, max_tokens=ANSWER_CAP_TOKENS, extra_headers=headers, extra_body=extra
            )
        else:
            async with client.stream(
                model=model, messages=messages, max_tokens=ANSWER_CAP_TOKENS, extra_headers=headers, extra_body=extra
            ) as stream:
                answer = await stream.get_final_message()
        usage = answer.usage
        cached = (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
        self._counts.record(200, input_tokens=usage.input_tokens + cached, output_tokens=usage.output_tokens)

    def _write_prompt(self, median_tokens: int) -> str:
        head = f"{self._chance.choice(_TASKS)} {self._chance.choice(_SUBJECTS)} (ticket {next(self._numbers)})."
        length_tokens = median_tokens * self._chance.lognormvariate(0, 0.5)
        return head + " Mind the figures of last week." * round(length_tokens / 8)

    def _make_openai(self, token: str, api_url: str) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(api_key=token, base_url=f"{api_url}/v1", max_retries=0, http_client=self._http)

    def _make_anthropic(self, token: str, api_url: str) -> anthropic.AsyncAnthropic:
        return anthropic.AsyncAnthropic(api_key=token, base_url=api_url, max_retries=0, http_client=self._http)


def choose_drivers(keys: Sequence[Key], tokens: Mapping[str, str]) -> list[Driver]:
    """Return the keys with live traffic; `tokens` are by the key's name."""
    return [Driver(key, tokens[key.name]) for key in keys if key.live_per_minute > 0]
