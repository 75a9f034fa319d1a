"""The gate's thresholds: one place, each with its reason. An installation may set others in `gate.yaml`.

In: `state/gate.yaml`, which need not be there. Out: `GateRules`, checked, or a GateRulesError that names the
key and the value and says what to use.

    most_gain: 0.8            # of recall@10 over the champion, above which a leak is likelier than progress
    need_online_store: false  # here the online store is filled after the release
"""

from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from bentos.file_parts import Number, Part, Share, first_of
from bentos.yaml_file import YamlFileError, read_yaml

Positive = Annotated[Number, Field(gt=0)]
Count = Annotated[int, Field(strict=True, ge=1)]


class GateRulesError(ValueError):
    """The gate's rules cannot be used; the message names the key and the value."""


class GateRules(Part):
    """What is still let through. Quality is in relative lifts: 0.02 are 2 %.

    margin
        A loss against the champion that is sure (the 95 % interval lies below -margin) refuses. Two equal
        models differ by 1 to 3 % on 1,500 users by chance, which the interval knows; a sure loss of less than
        this is worth less than fresh facts are.
    big_loss
        A loss that refuses by its point estimate, however wide the interval: few users must not let all pass.
    rule_margin
        As `margin`, against personal frequency, which on `all` is nearly as good as the best models are.
    most_gain
        A jump over the champion that refuses: from one day to the next nothing honest gains half.
    slower, p95_ms
        CPU of an answer: how many times the champion's for sure, and the budget of the 95th percentile. A
        shop's page waits 100 ms; answers take about 5 ms.
    full_answers
        Share of the shoppers who must get all k items.
    least_variety
        Distinct items on the pages, as a share of the champion's: below it the lists have collapsed.
    smallest_catalogue
        Items of the catalogue, as a share of the champion's.
    oldest_days
        Age of what was learnt, on the day of the release: the window of a week, and a week that was missed.
    psi, drifted, extreme_psi, null_jump
        More than `drifted` features above `psi` warn: seasons do that. More than `drifted` above
        `extreme_psi`, or a share of nulls that rose by more than `null_jump` in any, refuse. Over a real
        grocer's year at most 2 of 23 features are above .25 after two weeks, Christmas among them: the age
        of items and the tenure of shoppers, which only grow.
    leak_rows, parity_rows, timed_users
        Sizes of samples: of users, and as many items.
    need_online_store
        Whether a release may be judged only where the online store is filled.
    """

    margin: Share = 0.01
    big_loss: Share = 0.15
    rule_margin: Share = 0.02
    most_gain: Positive = 0.5
    slower: Annotated[Number, Field(ge=1)] = 1.5
    p95_ms: Positive = 25.0
    full_answers: Share = 0.98
    least_variety: Share = 0.5
    smallest_catalogue: Share = 0.8
    oldest_days: Positive = 14.0
    psi: Positive = 0.25
    drifted: Annotated[int, Field(strict=True, ge=0)] = 5
    extreme_psi: Positive = 1.0
    null_jump: Share = 0.2
    leak_rows: Count = 200
    parity_rows: Count = 200
    timed_users: Count = 100
    need_online_store: bool = True


def load_gate_rules(path: Path) -> GateRules:
    """Rules of a file, the defaults where there is none; GateRulesError where it cannot be used."""
    if not path.exists():
        return GateRules()
    try:
        content = read_yaml(path, "the gate's rules", too_long="it has a line for each rule")
        return GateRules.model_validate({} if content is None else content)
    except YamlFileError as error:
        raise GateRulesError(str(error)) from error
    except ValidationError as error:
        raise GateRulesError(f"{path}: {first_of(error)}") from error
