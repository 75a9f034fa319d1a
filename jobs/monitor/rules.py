"""The monitor's thresholds: one place, each with its reason. `monitor.yaml` may set others.

In: `state/monitor.yaml`, which need not be there. Out: `MonitorRules`, checked, or a MonitorRulesError that
names the key and the value and says what to use.

    quiet_days: ["12-25", "11-23"]   # few rows are expected on these: month-day
    volume_gone: 0.4                 # below this share of what is expected, rows are missing
"""

import re
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError, field_validator

from bentos.file_parts import Number, Part, Share, first_of
from bentos.yaml_file import YamlFileError, read_yaml

Positive = Annotated[Number, Field(gt=0)]
DAY = re.compile(r"(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])")


class MonitorRulesError(ValueError):
    """The monitor's rules cannot be used; the message names the key and the value."""


class MonitorRules(Part):
    """What is in order. Thresholds were chosen on the days of a real grocer before December.

    quiet_days
        Days (month-day) on which few rows, or none, are worth a look and not broken.
    odd
        Robust standard deviations from what is expected of a weekday, beyond which a figure is worth a look:
        3.5 for one figure (Iglewicz and Hoaglin 1993); 5 here, as there are a dozen every day.
    volume_gone, volume_risen
        Counts and sums below or above these shares of what is expected, and odd, are broken: half of a day
        that is missing. The eve of Thanksgiving sells twice as much; a day that came twice repeats its keys.
    price_moved
        Factor of the mean price of a line, up or down, that is broken: cents for dollars, and worse.
    share_moved
        A share (of returns, of unknown or new items, of the largest shopper) this far above what is expected
        is broken.
    null_moved, repeated_moved
        The same for missing values of a column, and for keys that come again, which are rare or never there.
    refused_moved
        A share of rows that the ingest left out or changed, for one reason, that rose by this is worth a look
        (by `share_moved`: broken). On 333 days before December between .6 % and 2.5 % were left out.
    hours_psi
        PSI of baskets by local hour against the weeks before, beyond what chance gives so few baskets:
        worth a look; broken at twice that. Of 270 days before December one is above: shops close at five
        on Thanksgiving. A shift by five hours is above twice that on all days that were tried.
    psi, extreme_psi, null_jump
        A feature that moved within a week: worth a look, broken; and a rise of its share of nulls that is
        broken. Features that grow with time by their nature (age, tenure) move by less in a week.
    degraded, degraded_badly
        Shares of answers that were poorer than they should be.
    late_ms
        99th percentile of an answer's time: a shop's page waits 100 ms.
    unfull
        Share of answers with fewer items than were asked for.
    """

    quiet_days: tuple[str, ...] = ("12-24", "12-25")
    odd: Positive = 5.0
    volume_gone: Share = 0.6
    volume_risen: Annotated[Number, Field(gt=1)] = 2.5
    price_moved: Annotated[Number, Field(gt=1)] = 2.0
    share_moved: Share = 0.1
    null_moved: Share = 0.01
    repeated_moved: Share = 0.02
    refused_moved: Share = 0.02
    hours_psi: Positive = 0.15
    psi: Positive = 0.25
    extreme_psi: Positive = 1.0
    null_jump: Share = 0.2
    degraded: Share = 0.02
    degraded_badly: Share = 0.2
    late_ms: Positive = 100.0
    unfull: Share = 0.02

    @field_validator("quiet_days")
    @classmethod
    def are_days(cls, days: tuple[str, ...]) -> tuple[str, ...]:
        """Each is a month and a day of it."""
        for day in days:
            if not DAY.fullmatch(day):
                raise ValueError(f"{day!r} is no day of the year; use month-day, such as 12-25")
        return days


def load_monitor_rules(path: Path) -> MonitorRules:
    """Rules of a file, the defaults where there is none; MonitorRulesError where it cannot be used."""
    if not path.exists():
        return MonitorRules()
    try:
        content = read_yaml(path, "the monitor's rules", too_long="it has a line for each rule")
        return MonitorRules.model_validate({} if content is None else content)
    except YamlFileError as error:
        raise MonitorRulesError(str(error)) from error
    except ValidationError as error:
        raise MonitorRulesError(f"{path}: {first_of(error)}") from error
