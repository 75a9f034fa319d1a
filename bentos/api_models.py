"""What the service takes and gives: checked at the door, shown in the OpenAPI page with examples."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictStr,
    ValidationError,
)
from pydantic_core import InitErrorDetails

MAX_K = 100
MAX_ID = 128
MAX_SESSION = 100  # items of a basket, or looked at, in one request
MAX_EVENTS = 256  # in one request


def printable(name: str) -> str:
    """The id itself; ValueError when it is blank or has control characters."""
    if not name.strip():
        raise ValueError("the id is blank; give one")
    if not name.isprintable():
        raise ValueError(f"the id {name!r} has control characters")
    return name


Id = Annotated[StrictStr, Field(min_length=1, max_length=MAX_ID), AfterValidator(printable)]


def within_limit(k: object) -> object:
    """`k` itself; ValueError when it is not a whole number from 1 to MAX_K."""
    if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= MAX_K:
        raise ValueError(f"k is {k!r:.40}; use a whole number from 1 to {MAX_K}")
    return k


class RecommendRequest(BaseModel):
    """Who asks, for how many items, and whether bought ones count."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"user_id": "2375", "k": 10, "task": "all"}}
    )

    user_id: Id
    k: Annotated[int, BeforeValidator(within_limit)] = Field(
        default=10, ge=1, le=MAX_K, description="items wanted"
    )
    task: Literal["all", "discover"] = Field(
        default="all", description="all: also what is bought again; discover: only what was never bought"
    )
    explain: bool = Field(default=False, description="tell which features moved each item's score most")
    basket: list[Id] = Field(
        default=[],
        max_length=MAX_SESSION,
        description="items in the basket now, beside logged events",
    )
    clicked: list[Id] = Field(
        default=[], max_length=MAX_SESSION, description="items just looked at, beside logged events"
    )
    arms: dict[Id, Id] = Field(
        default={},
        max_length=20,
        description="for testers: the arm wanted, by experiment; such an answer counts in no experiment",
    )


def refused(request: BaseModel, field: str, error: ValueError) -> ValidationError:
    """The error of a request whose field has a value that is of no use here, as if its model had found it."""
    found = InitErrorDetails(
        type="value_error", loc=(field,), input=getattr(request, field), ctx={"error": error}
    )
    return ValidationError.from_exception_data(type(request).__name__, [found])


class WhyNotRequest(BaseModel):
    """Whose answer, and which item was expected in it."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"user_id": "2375", "item_id": "819063"}}
    )

    user_id: Id
    item_id: Id
    k: Annotated[int, BeforeValidator(within_limit)] = Field(default=10, ge=1, le=MAX_K)
    task: Literal["all", "discover"] = "all"


class WhyNotAnswer(BaseModel):
    """Where the item was lost: `verdict` in a word, `reason` in a sentence, and how close it came."""

    user_id: str
    item_id: str
    verdict: str
    reason: str
    rank: int | None = None
    score: float | None = None
    least_score: float | None = None
    sources: dict[str, int] | None = None


class FeatureContribution(BaseModel):
    """What one feature adds to an item's score, as log odds."""

    feature: str
    value: float | None
    effect: float


class RecommendedItem(BaseModel):
    """One slot, best first."""

    item_id: str
    title: str
    score: float
    rank: int
    sources: list[str]
    reason: str
    placed_by: str | None = Field(
        default=None, description="the rule thanks to which it is shown, where its score alone would not do"
    )
    bought_before: bool = Field(default=False, description="by this user")
    propensity: float = Field(
        default=1.0,
        description="probability of this item in this slot, given the slots above; 1 unless drawn",
    )
    explored: bool = Field(default=False, description="whether the slot was drawn, so that it is learnt from")
    contributions: list[FeatureContribution] = []


class RecommendAnswer(BaseModel):
    """The answer; `degraded` says what was missing and what was served instead."""

    request_id: str
    user_id: str
    task: str
    release: str
    items: list[RecommendedItem]
    arms: dict[str, str] = Field(default={}, description="that the user is in, by experiment")
    degraded: list[str] = []
    feature_time: datetime | None = None
    turned_away: dict[str, int] = {}
    rules: str = Field(
        default="release", description="in force: the release's, or an operator's, by their hash"
    )
    latency_ms: float
    stages_ms: dict[str, float]


class ShopperEvent(BaseModel):
    """One thing that one shopper did with one item."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    event_id: Id = Field(description="yours; what is sent again under it counts once")
    kind: Literal["impression", "click", "add_to_cart", "purchase"]
    user_id: Id
    item_id: Id
    amount: float | None = Field(default=None, ge=0, le=1e9, description="paid, for a purchase")
    request_id: Id | None = Field(
        default=None, description="of the answer that led to it, where that is known"
    )


class EventBatch(BaseModel):
    """Events in the order they happened; one shopper's purchases among them are one basket."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "events": [
                    {
                        "event_id": "e1",
                        "kind": "click",
                        "user_id": "2375",
                        "item_id": "819063",
                        "request_id": "5a7f0b6c",
                    }
                ]
            }
        },
    )

    events: list[ShopperEvent] = Field(min_length=1, max_length=MAX_EVENTS)


class EventAnswer(BaseModel):
    """What became of a batch: all of it is on the disk."""

    accepted: int  # events that were new
    duplicates: int  # events whose id was there already
    applied: bool  # whether purchases are in the feature rows; if not, they will be when the store is back


class ClockSetting(BaseModel):
    """Where a replay has come to."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"now": "2017-12-04T05:00:00Z"}})

    now: datetime


class SimilarItem(BaseModel):
    """An item and its cosine to the one asked for."""

    item_id: str
    title: str
    cosine: float


class SimilarAnswer(BaseModel):
    """Items like one item, best first."""

    item_id: str
    by: str
    items: list[SimilarItem]


class Refusal(BaseModel):
    """Why a request was not answered."""

    error: str
