"""Parts of the files that operators write, as models: what is wrong in one is told in one short line.

In: what YAML or JSON gave. Out: a `Part` whose values have the types below, or a ValidationError, of which
`first_of` says the place, the value and what to use.
"""

from collections.abc import Collection
from datetime import date, datetime
from typing import Annotated, Any

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from bentos.rule_parameters import told

NAME = r"^[a-z][a-z0-9_]{0,63}$"


def with_zone(value: object) -> object:
    """An instant as YAML reads it, or a text; ValueError for what else may pass for one, such as a number."""
    if not isinstance(value, str) and (not isinstance(value, datetime) or value.tzinfo is None):
        raise ValueError("use an instant with its time zone, such as 2017-12-04T05:00:00Z")
    return value


def one_of(name: str, known: Collection[str], what: str) -> str:
    """The name itself; ValueError where it is none of those known."""
    if name not in known:
        raise ValueError(f"it is no {what}; use {', '.join(known)}")
    return name


Name = Annotated[str, StringConstraints(pattern=NAME)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]  # yes, no and texts are none
Share = Annotated[Number, Field(ge=0, le=1)]
Instant = Annotated[AwareDatetime, BeforeValidator(with_zone)]


class Part(BaseModel):
    """A part of a file: what it does not know is refused. A field `name` comes from the key above."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _of_known_names(cls, content: Any) -> Any:
        known = ", ".join(name for name in cls.model_fields if name != "name")
        if not isinstance(content, dict | Part):
            raise ValueError(f"use a mapping of {known}")
        for name in content if isinstance(content, dict) else ():
            if name not in cls.model_fields:
                raise ValueError(f"{told(name)} is unknown; use {known}")
        return content


def first_of(error: ValidationError) -> str:
    """The first of the problems, in one short line: where, what stands there, what to use."""
    found = error.errors(include_url=False, include_context=False)[0]
    keys = (str(key) if str(key).isidentifier() else told(key) for key in found["loc"] if key != "[key]")
    where, value = ".".join(f"{key:.64}" for key in keys), found["input"]
    if not isinstance(value, dict):
        where = f"{where or 'it'} is {value if isinstance(value, date) else told(value)}"
    said = found["msg"].removeprefix("Value error, ")
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{where}: {said}{more}".removeprefix(": ").strip()
