"""Experiment files: what they hold, and how each wrong one is refused in one short line."""

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bentos import experiments
from bentos.experiments import METRICS, Experiment, ExperimentError, Experiments, load_experiments
from bentos.legacy_rules import LEGACY_RULES
from bentos.yaml_file import LIMIT

GOOD = """
layers:
  page: {holdout: 0.05}
  rules: {}
experiments:
  engine:
    layer: page
    start: 2017-12-04T05:00:00Z
    end: 2017-12-11T00:00:00-05:00
    ramp: 0.2
    slice: [0.0, 0.5]
    control: old
    primary: ctr
    guardrails:
      - {metric: latency_ms, worst: 0.5}
      - {metric: degraded, worst: 0}
    arms:
      old: {share: 0.25, legacy: segment}
      new: {share: 0.75, release: "endcap-release:x", rules: boost.yaml}
"""


@pytest.fixture
def path(tmp_path):
    """Where the file lies."""
    return tmp_path / "experiments.yaml"


def loaded(path, text):
    """What a file of that text means."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_experiments(path)


def refusal(path, text):
    """The line in which it is refused: one, short, and about that file."""
    with pytest.raises(ExperimentError) as refused:
        loaded(path, text)
    said = str(refused.value)
    assert said.startswith(str(path))
    assert said.isprintable()
    assert len(said) < len(str(path)) + 350
    return said.removeprefix(str(path))


ENGINE = "{a: {share: 1, legacy: segment}, b: {share: 0}}"


def two(first="", second="", *, starts="2018-01-01", layer="page", arms=ENGINE):
    """A file with two experiments: `first` and `second` are added to them; the rest is of the second one."""
    common = "control: a, primary: ctr, start"
    return (
        "layers: {page: {}, other: {}}\nexperiments:\n"
        f"  one: {{layer: page, arms: {ENGINE}, {common}: 2018-01-01T00:00:00Z{first}}}\n"
        f"  two: {{layer: {layer}, arms: {arms}, {common}: {starts}T00:00:00Z{second}}}\n"
    )


def test_a_good_file_is_read_whole(path):
    """Every value arrives, instants in their zones, and what is not said has its default."""
    found = loaded(path, GOOD)
    engine = found.named("engine")
    assert {name: layer.holdout for name, layer in found.layers.items()} == {"page": 0.05, "rules": 0.0}
    assert (engine.name, engine.layer, engine.control, engine.primary) == ("engine", "page", "old", "ctr")
    assert engine.start == datetime(2017, 12, 4, 5, tzinfo=UTC)
    assert engine.end == datetime(2017, 12, 11, 5, tzinfo=UTC)
    assert (engine.ramp, engine.slice, engine.settled) == (0.2, (0.0, 0.5), None)
    assert {each.metric: each.worst for each in engine.guardrails} == {"latency_ms": 0.5, "degraded": 0.0}
    assert engine.treatments == ("new",)
    assert engine.changes == {"engine", "rules"}
    old, new = engine.arms.values()
    assert (old.share, old.legacy, old.changes) == (0.25, "segment", {"engine"})
    assert (new.release, new.rules, new.explore) == ("endcap-release:x", "boost.yaml", None)
    plain = Experiment.model_validate({**vars(engine), "ramp": 1, "end": None})
    assert (plain.window_hours, plain.alpha) == (24.0, 0.05)


SWAPS = [
    ("share: 0.25", "share: 0.3", ": experiments.engine: the arms' shares add up to 1.05; make that 1"),
    ("share: 0.25", "share: 0.2499999", "add up to 0.9999999; make that 1"),
    ("share: 0.25", "share: .nan", ": experiments.engine.arms.old.share is nan: Input should be a finite"),
    ("share: 0.25", "share: -0.25", ".share is -0.25: Input should be greater than or equal to 0"),
    ("share: 0.25", "share: half", ".share is 'half': Input should be a valid number"),
    ("share: 0.25", "share: '0.25'", ".share is '0.25': Input should be a valid number"),
    ("share: 0.25", "share: true", ".share is True: Input should be a valid number"),
    ("share: 0.25, ", "", ": experiments.engine.arms.old.share: Field required"),
    ("holdout: 0.05", "holdout: 1", ": layers.page.holdout is 1: Input should be less than 1"),
    ("holdout: 0.05", "holdout: yes", ": layers.page.holdout is True: "),
    ("ramp: 0.2", "ramp: 20", ": experiments.engine.ramp is 20: Input should be less than or equal to 1"),
    ("worst: 0.5", "worst: -0.5", ": experiments.engine.guardrails.0.worst is -0.5: "),
    ("ramp: 0.2", "alpha: 0", ": experiments.engine.alpha is 0: Input should be greater than 0"),
    ("ramp: 0.2", "window_hours: .inf", ": experiments.engine.window_hours is inf: "),
    ("ramp: 0.2", "colour: red", ": experiments.engine: 'colour' is unknown; use layer, arms, control, "),
    ("ramp: 0.2", "name: other", ": experiments.engine.name is 'other'; take it out, as the key is the name"),
    ("legacy: segment", "legacy_rule: 1", ".arms.old: 'legacy_rule' is unknown; use share, release, legacy"),
    ("holdout", "hold_out", ": layers.page: 'hold_out' is unknown; use holdout"),
    ("layers:", "layer:", ": 'layer' is unknown; use layers, experiments"),
    ("primary: ctr", "primary: clicks", f".primary is 'clicks': it is no metric; use {', '.join(METRICS)}"),
    ("metric: degraded", "metric: speed", ".guardrails.1.metric is 'speed': it is no metric; use ctr, "),
    ("segment}", "segments}", f"is 'segments': it is no legacy rule; use {', '.join(LEGACY_RULES)}"),
    ("segment}", "segment, release: x}", ".arms.old: a legacy rule has no release and explores nothing"),
    (
        "layer: page",
        "layer: pages",
        ": experiments.engine.layer is 'pages'; use one under layers (page, rules)",
    ),
    ("control: old", "control: older", ": control is 'older'; use one of the arms old, new"),
    ("ramp: 0.2", "settled: older", ": settled is 'older'; use one of the arms old, new"),
    ("12-11T00", "12-04T00", "end 2017-12-04T00:00:00-05:00 is not after start 2017-12-04T05:00:00+00:00"),
    (
        "05:00:00Z",
        "05:00:00",
        ".start is 2017-12-04 05:00:00: use an instant with its time zone, such as 2017-",
    ),
    ("2017-12-04T05:00:00Z", "'2017-12-04T05:00:00'", "Input should have timezone info"),
    ("2017-12-04T05:00:00Z", "2017-12-04", ".start is 2017-12-04: use an instant with its time zone"),
    ("2017-12-04T05:00:00Z", "1512363600", ".start is 1512363600: use an instant with its time zone"),
    ("[0.0, 0.5]", "[0.5, 0.0]", ": slice is [0.5, 0.0]; use [from, to] with from below to"),
    ("[0.0, 0.5]", "[0.5, 0.5]", ": slice is [0.5, 0.5]; use [from, to] with from below to"),
    ("[0.0, 0.5]", "[0.5, 2]", ": experiments.engine.slice.1 is 2: Input should be less than or equal to 1"),
    ("[0.0, 0.5]", "half", ": experiments.engine.slice is 'half': "),
    (
        "metric: degraded",
        "metric: latency_ms",
        ": two guardrails have the same metric; keep the stricter one",
    ),
    ("  engine:", "  Engine!:", ": experiments.'Engine!' is 'Engine!': String should match pattern"),
    ("  engine:", '  "engine\\n":', r": experiments.'engine\n' is 'engine\n': String should match pattern"),
    ("  engine:", "  ../engine:", ": experiments.'../engine' is '../engine': String should match pattern"),
    ("  engine:", "  実験:", ": experiments.実験 is '実験': String should match pattern"),
    ("  engine:", "  7:", ": experiments.7 is 7: Input should be a valid string"),
    ("  engine:", f"  {'e' * 900}:", f": experiments.{'e' * 64} is 'eee"),
    ("ramp: 0.2", "rollout: {steps: [0.25, 0.05]}", "steps are [0.25, 0.05]; use shares above 0, each above"),
    ("ramp: 0.2", "rollout: {steps: [0, 0.05]}", ".rollout: steps are [0.0, 0.05]; use shares above 0"),
    (
        "ramp: 0.2",
        "rollout: {steps: [0.05, 0.8]}",
        "rollout.steps go up to 0.8; the treatment's share is 0.75",
    ),
    ("ramp: 0.2", "rollout: {users: true}", ".rollout.users is True: Input should be a valid integer"),
    ("ramp: 0.2", "rollout: {hours: -1}", ".rollout.hours is -1: Input should be greater than or equal to 0"),
    ("old: {", "Old: {", ".arms.Old is 'Old': String should match pattern"),
    (
        "      old:",
        "      new: {share: 1}\n      old:",
        " cannot be read as experiments: 'new' stands there twice",
    ),
    ("    ramp: 0.2", "    layer: rules", "'layer' stands there twice in line 10"),
    ("ctr", "p" * 90_000, ".primary is 'ppp"),
    ("page: {", "? " + "k" * 90_000 + "\n  : {", ": layers.kkk"),
    ("page: {holdout: 0.05}", "page: [0.05]", ": layers.page is [0.05]: use a mapping of holdout"),
]


@pytest.mark.parametrize(("good", "bad", "says"), SWAPS, ids=[f"{bad:.25}" for _, bad, _ in SWAPS])
def test_one_wrong_value_is_refused_with_its_place(path, good, bad, says):
    """The line names the place and the value, and says what to use."""
    assert GOOD.count(good) >= 1
    assert says in refusal(path, GOOD.replace(good, bad, 1))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", ": it is None: use a mapping of layers, experiments"),
        ("# nothing yet\n", ": it is None: use a mapping of layers, experiments"),
        ("- engine\n", ": it is ['engine']: use a mapping of layers, experiments"),
        ("engine", ": it is 'engine': use a mapping"),
        ("experiments: [engine]", ": experiments is ['engine']: Input should be a valid dictionary"),
        ("experiments:\n", ": experiments is None: "),
        ("{}\n---\n{}\n", "another document"),
        (bytes(range(256)) * 9, " cannot be read as experiments: 'utf-8' codec can't decode"),
        (b"\0\1\2", " cannot be read as experiments: "),
        ("x: " + "y" * LIMIT, f" has more than {LIMIT:,} bytes; take out those that ended"),
        ("x: " + "y" * (LIMIT - 10), ": 'x' is unknown"),
        ("[" * 40_000, "more than 50 levels in one another in line 1"),
        ("- " * 40_000, "more than 50 levels in one another in line 1"),
        ("{a: " * 40_000, "more than 50 levels in one another in line 1"),
        ("- " * 60 + "x", "more than 50 levels in one another in line 1"),
        ("experiments: " + "[" * 40 + "]" * 40, ": experiments is [[...]]: "),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor for the tag"),
        ("a: !" + "t" * 90_000 + " 1", "could not determine a constructor for the tag"),
        ("a: !!float " + "t" * 90_000, "could not convert string to float"),
        ("experiments: {" + "a: {}, " * 2 + "}", "'a' stands there twice in line 1"),
    ],
    ids=lambda value: f"{value!s:.25}",
)
def test_what_is_no_experiment_file_is_refused(path, text, says):
    """Nothing, a list, junk, a file that is huge or deep, tags that would run code: at once."""
    began = time.monotonic()
    assert says in refusal(path, text)
    assert time.monotonic() - began < 5


def test_a_shared_node_is_told_short(path):
    """Nine aliases of nine aliases, and so on, are small to read and would be 3 billion items to write."""
    lines = [f"  - &a{n} [{', '.join([f'*a{n - 1}'] * 9) if n else '0'}]" for n in range(11)]
    assert ": layers is [[...], [...], [...], [...], [...], [...], ...]: " in refusal(
        path, "layers:\n" + "\n".join(lines)
    )


def test_a_missing_file_and_a_folder_are_refused(path):
    """The first is told what to copy."""
    with pytest.raises(
        ExperimentError, match=r"experiments\.yaml is not there; copy bentos/experiments\.yaml to it"
    ):
        load_experiments(path)
    path.mkdir()
    with pytest.raises(
        ExperimentError, match=r"experiments\.yaml cannot be read as experiments: .*directory"
    ):
        load_experiments(path)


ENDS = ", end: 2018-02-01T00:00:00Z"


def test_the_file_that_is_shipped_is_good():
    """It can be copied as it is."""
    found = load_experiments(Path(experiments.__file__).with_name("experiments.yaml"))
    assert found.named("engine").control in found.named("engine").arms


def test_experiments_of_a_layer_share_no_user_at_one_time(path):
    """Slices that meet are refused while both run; apart in slice or in time they are fine."""
    says = ": one and two share users of layer page at one time; give them slices apart"
    for first, second in [
        ("", ""),
        (", slice: [0, 0.5]", ", slice: [0.4, 1]"),
        (", slice: [0.2, 0.3]", ", slice: [0, 1]"),
        (ENDS, ""),
    ]:
        assert says in refusal(path, two(first, second))
    assert loaded(path, two(", slice: [0, 0.5]", ", slice: [0.5, 1]"))
    assert says in refusal(path, two(ENDS, starts="2018-01-31"))
    assert loaded(path, two(ENDS, starts="2018-02-01"))


def test_layers_do_not_change_the_same_at_one_time(path):
    """Two engines are refused; an engine and rules are fine, and so are two engines one after the other."""
    engine, rules = ENGINE.replace("legacy", "release"), ENGINE.replace("legacy", "rules")
    says = ": one and two change the same (engine) at one time; put them in one layer"
    assert says in refusal(path, two(layer="other", arms=engine))
    assert loaded(path, two(layer="other", arms=rules))
    assert says in refusal(path, two(ENDS, layer="other", arms=engine, starts="2018-01-31"))
    assert loaded(path, two(ENDS, layer="other", arms=engine, starts="2018-02-01"))


def test_an_experiment_runs_from_its_start_until_before_its_end(path):
    """The start is in, the end is not, and without an end it goes on."""
    engine = loaded(path, GOOD).named("engine")
    at = {hour: datetime(2017, 12, 11, hour, 59, 59, tzinfo=UTC) for hour in (4, 5)}
    assert engine.runs_at(engine.start)
    assert not engine.runs_at(datetime(2017, 12, 4, 4, 59, 59, 999_999, tzinfo=UTC))
    assert engine.runs_at(at[4])
    assert not engine.runs_at(engine.end)
    assert not engine.runs_at(at[5])
    assert engine.model_copy(update={"end": None}).runs_at(datetime(9999, 12, 31, tzinfo=UTC))


def test_an_experiment_that_is_not_there_is_told_with_those_that_are(path):
    """Also where none is."""
    with pytest.raises(ExperimentError, match="There is no experiment 'engin'; use engine"):
        loaded(path, GOOD).named("engin")
    with pytest.raises(ExperimentError, match="no experiment 'x'; use none is defined"):
        Experiments().named("x")
