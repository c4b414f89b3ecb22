"""The messages of docs/reference/protocol.md, as both the middleware and the key service read them.

Fields that a reader does not know are passed over, so that either side may be newer. Times left are in milliseconds
from the moment at which the request was sent.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from keygauge.weights import Weights

ENTRIES_MAX = 500  # in each list of a request
LIFE_MS_MAX = 20_000
HOUR_S = 3_600

_PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$"

Count = Annotated[int, Meta(ge=0, le=2**53 - 1)]  # the largest that every JSON reader keeps exact
Units = Annotated[int, Meta(ge=1, le=2**53 - 1)]
Text = Annotated[str, Meta(max_length=200, pattern=_PRINTABLE)]
ModelText = Annotated[str, Meta(max_length=256, pattern=_PRINTABLE)]  # as long as events tell
Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$", description="SHA-256 of the whole key, hexadecimal")]
ReplicaId = Annotated[str, Meta(pattern="^[0-9a-f]{32}$", description="one per process")]
SpoolId = Annotated[str, Meta(pattern="^[0-9a-f]{1,64}$")]
Some = Meta(max_length=ENTRIES_MAX)


class ClockReading(Struct, frozen=True):
    """What a clock showed, in microseconds; readings of clocks with the same name can be compared."""

    name: Text
    us: Count


class LookUp(Struct, frozen=True):
    """A key that a caller showed and the replica does not know."""

    key: Text
    digest: Digest


class KeyQuestion(Struct, frozen=True):
    """What a caller asks of its own key, at a process that meters it: the query, and where the caller is."""

    key: Text
    digest: Digest
    ip: Text | None = None
    query: dict[Text, Text] = {}


class Acquisition(Struct, frozen=True):
    """Units of a limit that the replica asks for; calls wait for `waiting` of them, the first one for `least`.

    The units may be spent for `life_ms` at least: those before ended on their way to the calls, or calls come seldom.
    """

    limit: Text
    units: Units
    waiting: Count = 0
    least: Count = 0
    life_ms: Annotated[int, Meta(ge=0, le=LIFE_MS_MAX)] = 0


class Return(Struct, frozen=True, omit_defaults=True):
    """A lease that the replica gives back, and what it did not spend of it, also after the lease's end.

    With `used` it stays open: so much of it is spent or reserved by calls under way, the rest comes back now.
    `ago_us` is when the last unit was spent, before the heartbeat was sent; `exact` lets others that read the same
    clock know it.
    """

    lease: Text
    unspent: Count | None = None
    ago_us: Count | None = None
    used: Count | None = None
    exact: bool = False

    def __post_init__(self) -> None:
        if self.unspent is None and self.used is None:
            raise ValueError("tell `unspent` or `used`")


class Progress(Struct, frozen=True):
    """How many units of a lease that goes on are spent or reserved so far, and how many of these are reserved.

    What is reserved by calls under way may come back; what is spent does not.
    """

    lease: Text
    spent: Count
    reserved: Count = 0


class Hold(Struct, frozen=True):
    """A lease of a concurrency limit that the replica still holds, with so many units."""

    lease: Text
    units: Units


class Lost(Struct, frozen=True):
    """The numbers of heartbeats, the last one included, whose answers the replica will never use."""

    first: Count
    last: Count


class PriceName(Struct, frozen=True):
    """A model whose rates a replica needs: for an account with prices of its own (`tariff`), or for all others."""

    tariff: Text | None
    provider: ModelText | None
    model: ModelText


class PricesWanted(Struct, frozen=True):
    """The state of the prices that a replica holds, and the models whose rates it wants."""

    state: Text | None = None
    want: Annotated[list[PriceName], Some] = []


class OpenStreams(Struct, frozen=True):
    """The open streams of a key: how many, how long ago the oldest began, and the messages sent on them so far."""

    key: Text
    open: Units
    oldest_ms: Count
    messages: Count = 0


class Heartbeat(Struct, frozen=True, kw_only=True):
    """One heartbeat of one replica.

    `cursor` is the number of the last change it applied, `epoch` the history of the database that it is of; null at
    its start. What was granted in answers that were `lost` comes back. It is told what is unused of limits that it does
    `follow`.
    """

    replica: ReplicaId
    number: Count = 0
    lost: Annotated[list[Lost], Some] = []
    service: Text
    host: Text
    version: Text
    mode: Literal["enforce", "observe"]
    cursor: Count | None = None
    epoch: Text | None = None
    clock: ClockReading | None = None
    look_up: Annotated[list[LookUp], Some] = []
    acquire: Annotated[list[Acquisition], Some] = []
    returns: Annotated[list[Return], Some] = field(default_factory=list, name="return")
    progress: Annotated[list[Progress], Some] = []
    hold: Annotated[list[Hold], Some] = []
    follow: Annotated[list[Text], Some] = []
    prices: PricesWanted | None = None
    streams: Annotated[list[OpenStreams], Some] = []
    plans: bool = False  # it takes a changed plan as such; others are told the plan's keys

    def __post_init__(self) -> None:
        if len({wanted.limit for wanted in self.acquire}) < len(self.acquire):
            raise ValueError("`acquire` names a limit twice")


class Secret(Struct, frozen=True):
    """A secret of a key that may still be used; `expires_at` in unix seconds."""

    number: int
    expires_at: int | None


class LimitTerms(Struct, frozen=True):
    """A limit of a key, with an id that is this account's or this key's.

    It counts all keys of the account together, or each by itself as the `plan` says, or is the key's own. With
    `per_tag` each tag has a counter, whose id is this one, a colon and the first 32 digits of the tag's SHA-256 in
    hexadecimal; calls without a tag are counted by the id itself.
    """

    id: str
    name: str
    unit: Literal["request", "token", "input_token", "output_token", "nanousd", "weighted", "concurrent"]
    amount: Count
    window_s: int | None
    period: str | None
    when_down: Literal["closed", "safe"]
    dry_run: bool
    route: str | None
    model: str | None
    output_default: int | None
    when_unpriced: Literal["admit", "refuse"]
    whose: Literal["account", "plan", "key"]
    weights: Weights | None = None
    unit_name: str | None = None
    per_tag: bool = False
    tool: str | None = None


class KeyEntry(Struct, frozen=True, omit_defaults=True):
    """What a replica knows of a key; a deleted one is told too."""

    id: str
    account: str
    name: str
    plan: str
    environment: Literal["live", "test"]
    status: Literal["active", "disabled", "deleted", "suspended"]
    expires_at: int | None
    tariff: str | None
    secrets: list[Secret]
    scopes: list[str] | None
    routes: list[str] | None
    networks: list[str] | None
    models: list[str] | None
    limits: list[LimitTerms]
    providers: list[str] = []
    tools: list[str] = []


class PlanEntry(Struct, frozen=True):
    """What changed for all keys of a plan: its limits, their ids without whose they are, and its providers."""

    id: str
    limits: list[LimitTerms]
    providers: list[str]


class Found(Struct, frozen=True):
    """A secret that a digest belongs to."""

    digest: Digest
    key: str
    secret: int


class Grant(Struct, frozen=True):
    """Units that may be spent until `left_ms`, and no sooner than `start_us` after the answer came.

    `unused` is what neither others had used `told_ms` ago, as far as they told, nor this replica holds.
    """

    limit: str
    lease: str
    units: Count
    start_us: Count
    wait_us: Count
    left_ms: Count
    exact: bool
    small: bool
    remaining: Count
    unused: Count
    told_ms: Count
    reset_ms: Count
    retry_ms: Count
    replicas: Units


class Unused(Struct, frozen=True):
    """What neither others had used of a limit `told_ms` ago, as far as they told, nor the replica holds."""

    limit: str
    units: Count
    told_ms: Count


class Denial(Struct, frozen=True):
    """No units now; some may come free after `retry_ms`, sooner than `reset_ms` where others may give some back."""

    limit: str
    retry_ms: Count
    remaining: Count
    reset_ms: Count
    small: bool
    replicas: Units


class Held(Struct, frozen=True):
    """A lease of a concurrency limit that goes on."""

    lease: str
    left_ms: Count
    small: bool


class Prices(Struct, frozen=True):
    """The rates of the models wanted, in their order, and the state they are of."""

    state: str
    rates: list[list[list[Any]]]


class HeartbeatAnswer(Struct, frozen=True, kw_only=True):
    """What changed, which keys were found, and what the replica may spend."""

    cursor: Count
    epoch: str
    more: bool
    afresh: bool
    t_max_ms: Count
    replicas: Units
    found: list[Found]
    unknown: list[Digest]
    keys: list[KeyEntry]
    plans: list[PlanEntry]
    prices: Prices | None
    held: list[Held]
    grants: list[Grant]
    denials: list[Denial]
    unused: list[Unused]
    wanted: list[str]


class Hour(Struct, frozen=True):
    """What a process counted of the calls that arrived in one hour of UTC, which starts at `hour` in unix seconds."""

    hour: Annotated[int, Meta(ge=0, le=2**53 - 1, multiple_of=HOUR_S)]
    requests: Count
    input_tokens: Count
    output_tokens: Count


class Report(Struct, frozen=True):
    """What one process counted; `written` is the number of its spool's next event after that."""

    spool: SpoolId
    replica: SpoolId
    service: Text
    host: Text
    written: Count
    hours: Annotated[list[Hour], Some]

    def __post_init__(self) -> None:
        if len({hour.hour for hour in self.hours}) < len(self.hours):
            raise ValueError("`hours` names an hour twice")
