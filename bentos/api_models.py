"""What the service takes and gives: checked at the door, shown in the OpenAPI page with examples."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StrictStr

MAX_K = 100
MAX_ID = 128


def printable(user_id: str) -> str:
    """The id itself; ValueError when it is blank or has control characters."""
    if not user_id.strip():
        raise ValueError("user_id is blank; give the id of a user")
    if not user_id.isprintable():
        raise ValueError(f"user_id {user_id!r} has control characters")
    return user_id


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

    user_id: Annotated[StrictStr, AfterValidator(printable)] = Field(min_length=1, max_length=MAX_ID)
    k: Annotated[int, BeforeValidator(within_limit)] = Field(
        default=10, ge=1, le=MAX_K, description="items wanted"
    )
    task: Literal["all", "discover"] = Field(
        default="all", description="all: also what is bought again; discover: only what was never bought"
    )


class RecommendedItem(BaseModel):
    """One slot, best first."""

    item_id: str
    title: str
    score: float
    rank: int
    sources: list[str]
    reason: str


class RecommendAnswer(BaseModel):
    """The answer; `degraded` says what was missing and what was served instead."""

    request_id: str
    user_id: str
    task: str
    release: str
    items: list[RecommendedItem]
    degraded: list[str] = []
    feature_time: datetime | None = None
    turned_away: dict[str, int] = {}
    latency_ms: float
    stages_ms: dict[str, float]
