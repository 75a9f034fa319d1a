"""Instants as rows keep them: microseconds since 1970."""

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def microseconds(when: datetime) -> int:
    """Microseconds since 1970; a time without a zone is in UTC, as Feast's are."""
    aware = when if when.tzinfo else when.replace(tzinfo=UTC)
    return (aware - EPOCH) // MICROSECOND


def time_of(microseconds: int) -> datetime:
    """The time in UTC of microseconds since 1970."""
    return EPOCH + timedelta(microseconds=microseconds)
