"""The messages of docs/reference/protocol.md, for both the middleware and the key service.

Unknown fields are ignored, so that either side may be newer. Remaining times are in milliseconds from when the request
was sent.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from keygauge.weights import Weights

ENTRIES_MAX = 500  # in each list of a request
LIFE_MS_MAX = 20_000
HOUR_S = 3_600
PROGRESS_S = 10  # for windows of at least this, replicas report what they spent before their leases end

_PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$"

Count = Annotated[int, Meta(ge=0, le=2**53 - 1)]  # the largest integer that every JSON parser reads exactly
Units = Annotated[int, Meta(ge=1, le=2**53 - 1)]
Text = Annotated[str, Meta(max_length=200, pattern=_PRINTABLE)]
ModelText = Annotated[str, Meta(max_length=256, pattern=_PRINTABLE)]  # as in events
Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$", description="SHA-256 of the whole key, hexadecimal")]
ReplicaId = Annotated[str, Meta(pattern="^[0-9a-f]{32}$", description="one per process")]
SpoolId = Annotated[str, Meta(pattern="^[0-9a-f]{1,64}$")]
Some = Meta(max_length=ENTRIES_MAX)


class ClockReading(Struct, frozen=True):
    """The time of a clock, in microseconds; readings of clocks with the same name are comparable."""

    name: Text
    us: Count


class LookUp(Struct, frozen=True):
    """A key that a caller sent and the replica does not know."""

    key: Text
    digest: Digest


class KeyQuestion(Struct, frozen=True):
    """A caller's request for its own key status, sent to a metered service: its query and IP address."""

    key: Text
    digest: Digest
    ip: Text | None = None
    query: dict[Text, Text] = {}


class Acquisition(Struct, frozen=True):
    """Units of a limit that the replica requests; calls wait for `waiting` of them, the first call for `least`.

    The units must be usable for at least `life_ms`, as earlier ones expired before they reached their calls, or calls
    are rare. Of a quota, `debt` are units that calls used beyond their reservations: they are granted in any case.
    """

    limit: Text
    units: Units
    waiting: Count = 0
    least: Count = 0
    life_ms: Annotated[int, Meta(ge=0, le=LIFE_MS_MAX)] = 0
    debt: Count = 0


class Return(Struct, frozen=True, omit_defaults=True):
    """A lease that the replica returns, with its unspent units; also accepted after the lease's end.

    With `used`, the lease stays open: so many units are spent or reserved by calls in progress, the others are returned
    now. `ago_us` is the time from the last unit's use until the heartbeat was sent; with `exact`, replicas that read
    the same clock learn it.
    """

    lease: Text
    unspent: Count | None = None
    ago_us: Count | None = None
    used: Count | None = None
    exact: bool = False

    def __post_init__(self) -> None:
        if self.unspent is None and self.used is None:
            raise ValueError("set `unspent` or `used`")


class Progress(Struct, frozen=True):
    """How many units of a continuing lease are spent or reserved so far, and how many of these are reserved.

    Units reserved by calls in progress may be returned, spent ones not.
    """

    lease: Text
    spent: Count
    reserved: Count = 0


class Hold(Struct, frozen=True):
    """A concurrency lease that the replica still holds, its number of units, and how many of them calls use.

    Older replicas do not tell the latter.
    """

    lease: Text
    units: Units
    used: Count | None = None


class Lost(Struct, frozen=True):
    """A range of heartbeat numbers, `last` included, whose answers the replica will never use."""

    first: Count
    last: Count


class PriceName(Struct, frozen=True):
    """A model whose rates a replica needs, for an account with its own prices (`tariff`) or for all others."""

    tariff: Text | None
    provider: ModelText | None
    model: ModelText


class PricesWanted(Struct, frozen=True):
    """The state of the prices that a replica holds, and the models whose rates it wants."""

    state: Text | None = None
    want: Annotated[list[PriceName], Some] = []


class OpenStreams(Struct, frozen=True):
    """The open streams of a key: their number, the age of the oldest, and the messages sent on them so far."""

    key: Text
    open: Units
    oldest_ms: Count
    messages: Count = 0


class Heartbeat(Struct, frozen=True, kw_only=True):
    """One heartbeat of one replica.

    `cursor` is the number of the last change that the replica applied, `epoch` the database history that it belongs to;
    both are null at start. Units granted in `lost` answers are returned. The answer reports the unused units of the
    limits in `follow`.
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
    plans: bool = False  # the replica understands changed plans; otherwise it gets the plan's keys

    def __post_init__(self) -> None:
        if len({wanted.limit for wanted in self.acquire}) < len(self.acquire):
            raise ValueError("`acquire` names a limit twice")


class Secret(Struct, frozen=True):
    """A valid secret of a key; `expires_at` is in unix seconds."""

    number: int
    expires_at: int | None


class LimitTerms(Struct, frozen=True):
    """A limit of a key, with an id that is specific to the account or the key.

    `whose` is "account" if all keys of the account share it, "plan" if each key of the plan has its own, or "key" if it
    is set on this key. With `per_tag`, each tag has a counter with this id, a colon and the first 32 hexadecimal digits
    of the tag's SHA-256 as its id; calls without a tag count under this id.
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
    """A replica's data of a key; deleted keys are sent too."""

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
    """A change for all keys of a plan: its providers, and its limits with ids that lack the account or key."""

    id: str
    limits: list[LimitTerms]
    providers: list[str]


class Found(Struct, frozen=True):
    """The key and secret that a digest belongs to."""

    digest: Digest
    key: str
    secret: int


class Replaced(Struct, frozen=True):
    """A digest that belongs to a key's earlier secret, which ended at a time in unix seconds."""

    digest: Digest
    ended_at: int


class Grant(Struct, frozen=True):
    """Units that may be spent until `left_ms`, and no sooner than `start_us` after the answer arrived.

    `unused` is what others had not used, by their reports of `told_ms` ago, without what this replica holds.
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
    """What others had not used of a limit, by their reports of `told_ms` ago, without what this replica holds."""

    limit: str
    units: Count
    told_ms: Count


class Denial(Struct, frozen=True):
    """No units now; retry after `retry_ms`, which is less than `reset_ms` if others may return some."""

    limit: str
    retry_ms: Count
    remaining: Count
    reset_ms: Count
    small: bool
    replicas: Units


class Held(Struct, frozen=True):
    """A concurrency lease that continues."""

    lease: str
    left_ms: Count
    small: bool
    remaining: Count


class Prices(Struct, frozen=True):
    """The rates of the requested models, in their order, and the state of the prices."""

    state: str
    rates: list[list[list[Any]]]


class HeartbeatAnswer(Struct, frozen=True, kw_only=True):
    """The answer to a heartbeat: changes, keys found, and units granted. Digests in `replaced` are also `unknown`.

    If this or a later heartbeat was answered before, nothing is granted and `repeated` is true.
    """

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
    repeated: bool = False
    replaced: list[Replaced] = []


class Hour(Struct, frozen=True):
    """A process's counts of the calls that arrived in one hour of UTC, which starts at `hour` in unix seconds."""

    hour: Annotated[int, Meta(ge=0, le=2**53 - 1, multiple_of=HOUR_S)]
    requests: Count
    input_tokens: Count
    output_tokens: Count


class Report(Struct, frozen=True):
    """A process's counts; `written` is the number of its spool's next event after these calls."""

    spool: SpoolId
    replica: SpoolId
    service: Text
    host: Text
    written: Count
    hours: Annotated[list[Hour], Some]

    def __post_init__(self) -> None:
        if len({hour.hour for hour in self.hours}) < len(self.hours):
            raise ValueError("`hours` names an hour twice")
