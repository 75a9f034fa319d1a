"""How an endpoint's requests are split among its deployed models, and how a run remembers what it was before.

Shares are whole percents by the id of a deployed model and add up to 100. What was before lies in labels of
the endpoint, which are written together with the split: so a run that was cut off anywhere can be undone.
"""

from collections.abc import Mapping

WHOLE = 100
BEFORE, DEPLOYING = "endcap-before-", "endcap-deploying"  # labels


def with_share(before: Mapping[str, int], new: str, percent: int) -> dict[str, int]:
    """The split where `new` has `percent` and the others, as they were to each other, the rest.

    Whole percents: what rounding leaves goes to those that lost most by it.

    >>> with_share({"1": 100}, "2", 10)
    {'1': 90, '2': 10}
    >>> with_share({"1": 50, "2": 30, "3": 20}, "4", 5)
    {'1': 48, '2': 28, '3': 19, '4': 5}
    >>> with_share({}, "1", 10)
    {'1': 100}
    """
    others = {model: share for model, share in before.items() if share > 0 and model != new}
    if not others or percent >= WHOLE:
        return {new: WHOLE}
    rest, whole = WHOLE - percent, sum(others.values())
    found = {model: share * rest // whole for model, share in others.items()}
    lost = sorted(others, key=lambda model: (-(others[model] * rest % whole), model))
    for model in lost[: rest - sum(found.values())]:
        found[model] += 1
    return {**found, new: percent}


def remembered(labels: Mapping[str, str]) -> dict[str, int]:
    """The split that labels remember; empty where they remember none."""
    return {
        name.removeprefix(BEFORE): int(share)
        for name, share in sorted(labels.items())
        if name.startswith(BEFORE) and share.isdecimal()
    }


def remembering(
    labels: Mapping[str, str], before: Mapping[str, int], deploying: str | None = None
) -> dict[str, str]:
    """Labels that remember a split, and which model is being deployed; others stay as they are."""
    others = {name: value for name, value in labels.items() if not ours(name)}
    at_work = {DEPLOYING: deploying} if deploying else {}
    return {**others, **{f"{BEFORE}{model}": str(share) for model, share in before.items()}, **at_work}


def same(one: Mapping[str, int], other: Mapping[str, int]) -> bool:
    """Whether two splits send the requests the same way: who has no share need not be named."""
    left, right = ({model: share for model, share in each.items() if share} for each in (one, other))
    return left == right


def ours(label: str) -> bool:
    """Whether a label is one that remembers."""
    return label == DEPLOYING or label.startswith(BEFORE)


def told(split: Mapping[str, int]) -> str:
    """A split in words."""
    shares = sorted(((model, share) for model, share in split.items() if share), key=lambda each: -each[1])
    return ", ".join(f"{share} % to {model}" for model, share in shares) or "no traffic"
