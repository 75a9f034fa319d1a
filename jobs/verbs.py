"""How the command line reads values and tells errors: the group that holds the verbs, a type for instants."""

import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import click

from jobs.source_code import PACKAGES, ROOT

INTERRUPTED, TERMINATED = 130, 143  # as shells do: 128 + SIGINT, 128 + SIGTERM
TASKS = click.Choice(["all", "discover"])


class Instant(click.ParamType[datetime]):
    """An ISO date or time; UTC where it has no offset."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Return a time-zone-aware instant."""
        try:
            instant = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        except ValueError:
            self.fail(
                f"{value!r} is no time; give one like 2017-12-04 or 2017-12-04T05:00:00+00:00", param, ctx
            )
        return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


class Day(click.ParamType[date]):
    """A day of the shop, as its clocks have it: "2017-12-04"."""

    name = "day"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        """Return the day."""
        try:
            return value if isinstance(value, date) else date.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no day; give one like 2017-12-04", param, ctx)


class Cuts(click.ParamType[tuple[int, ...]]):
    """Weeks by commas, each named once: "49,45,47"."""

    name = "weeks"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """Return the weeks in the order given."""
        if isinstance(value, tuple):
            return value
        parts = [part.strip() for part in str(value).split(",")]
        if strange := [part for part in parts if not part.isdecimal() or int(part) < 1]:
            self.fail(f"{strange[0]!r} is no week; give weeks by commas, like 49,45,47", param, ctx)
        if twice := [part for part in parts if parts.count(part) > 1]:
            self.fail(f"week {twice[0]} is named twice; give each once, like 49,45,47", param, ctx)
        return tuple(map(int, parts))


class Names(click.ParamType[tuple[str, ...]]):
    """Names by commas: "no_lifts,rank_ndcg"."""

    name = "names"

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,  # noqa: ARG002 - click's signature
        ctx: click.Context | None,  # noqa: ARG002
    ) -> tuple[str, ...]:
        """Return the names in the order given, none for an empty text."""
        if isinstance(value, tuple):
            return value
        return tuple(part.strip() for part in str(value).split(",") if part.strip())


class Refused(click.ClickException):
    """What was to be checked is not valid."""

    exit_code = 2


def raised_on_purpose(error: BaseException) -> bool:
    """Whether our own code raised this error for a person to read, rather than a library or a mistake."""
    innermost = traceback.extract_tb(error.__traceback__)[-1]
    return any(Path(innermost.filename).is_relative_to(ROOT / package) for package in PACKAGES)


class Verbs(click.Group):
    """The group of verbs, which says how an error or an interrupt of any verb is told."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature)
        """Name the verbs in the order in which one uses them."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a verb; an error raised on purpose becomes one line and exit code 1, an interrupt 130."""
        with _interrupts() as interrupts:
            try:
                return super().invoke(ctx)
            except (KeyboardInterrupt, ValueError, RuntimeError, FileNotFoundError) as error:
                if interrupts or isinstance(error, KeyboardInterrupt):
                    if not ctx.params["with_parent"]:
                        click.echo("Interrupted; run the same command again to go on", err=True)
                    ctx.exit(INTERRUPTED)
                if ctx.params["debug"] or not raised_on_purpose(error):
                    raise
                raise click.ClickException(str(error)) from error


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """Interrupts that came during the `with` block: a library (DuckDB) may make errors of its own of them."""
    seen: list[int] = []

    def interrupt(number: int, _: object) -> None:
        seen.append(number)
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    ours = before is signal.default_int_handler and threading.current_thread() is threading.main_thread()
    if ours:
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield seen
    finally:
        if ours:
            signal.signal(signal.SIGINT, before)


def to_stderr(line: str) -> None:
    """Tell how far long work has come."""
    click.echo(line, err=True)


@contextmanager
def until_stopped() -> Iterator[Callable[[float], bool]]:
    """Let an interrupt or SIGTERM end what goes on in rounds after its round; a second one ends it at once.

    Gives a function that waits so many seconds, fewer when stopped, and says whether it is.
    """
    before: dict[int, Any] = {}

    def stop(_signal: int, _frame: object) -> None:
        while before:
            signal.signal(*before.popitem())

    def stopped(seconds: float) -> bool:
        until = time.monotonic() + seconds
        while before and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))
        return not before

    before.update({number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)})
    for number in tuple(before):
        signal.signal(number, stop)
    try:
        yield stopped
    finally:
        stop(0, None)


def heed_termination() -> None:
    """Let SIGTERM unwind the stack as an interrupt does, so that children are ended too."""

    def end(_signal: int, _frame: object) -> None:
        sys.exit(TERMINATED)

    signal.signal(signal.SIGTERM, end)
