"""`endcap check-rules`: what a rule file means, or what is wrong with it and exit code 2."""

import pytest
import served_shop
from click.testing import CliRunner

from bentos.rule_file import DEFAULT_RULES
from bentos.rule_parameters import PARAMETERS, REASONS
from jobs import check_rules
from jobs.cli import endcap


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Call the verb over a state folder without a release."""
    monkeypatch.setenv("ENDCAP_STATE", str(tmp_path))
    return lambda *words: CliRunner().invoke(endcap, ["check-rules", *map(str, words)])


def test_each_rule_is_a_line_with_its_parameters_and_reason(call):
    """The shipped file: all rules, in its order, then that it is valid."""
    answer = call(DEFAULT_RULES)
    assert answer.exit_code == 0
    *lines, last = answer.output.splitlines()
    assert [line.split()[0] for line in lines] == list(PARAMETERS)
    for line, rule in zip(lines, PARAMETERS, strict=True):
        assert line.endswith(f"  # {REASONS[rule]}")
    assert "share 0.4" in lines[list(PARAMETERS).index("category_cap")]
    assert last.startswith(f"{DEFAULT_RULES} is valid; its names were held against no release")


def test_the_operators_file_is_the_default(call, tmp_path):
    """state/rules.yaml; a long list is told by its length, and what it does not name stays the release's."""
    (tmp_path / "rules.yaml").write_text("blocked: {item_ids: [1, 2, 3, 4], reason: not now}\n")
    first, others, _ = call().output.splitlines()
    assert first.split() == ["blocked", "item_ids", "of", "4", "#", "not", "now"]
    assert others == f"as the release has them: {', '.join(rule for rule in PARAMETERS if rule != 'blocked')}"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "is not there, so all rules are the release's; copy bentos/rules.yaml to it"),
        ("diversity: {departments: 0}\n", "diversity.departments is 0; use a whole number from 1, up to 100"),
        ("diversity: [\n", "cannot be read as rules"),
    ],
)
def test_a_bad_file_is_exit_code_two(call, tmp_path, text, says):
    """With the error in one line."""
    if text is not None:
        (tmp_path / "rules.yaml").write_text(text)
    answer = call()
    assert answer.exit_code == 2
    assert answer.output.startswith("Error: ")
    assert says in answer.output
    assert answer.output.count("\n") == 1


def test_names_are_held_against_the_current_release(call, tmp_path, monkeypatch):
    """An unknown department is refused, an unknown item warned of; here of the small shop's release."""
    release = served_shop.shop_release()
    facts = ("endcap-release:x", release.catalogue, release.manifest["features"]["item"])
    monkeypatch.setattr(check_rules, "current", lambda _: facts)
    path = tmp_path / "rules.yaml"
    path.write_text("blocked: {departments: [NORTH]}\n")
    answer = call()
    assert (answer.exit_code, answer.output) == (
        2,
        "Error: blocked.departments has 'NORTH'; use one like 'north'\n",
    )
    path.write_text("blocked: {item_ids: [i01, 7]}\n")
    assert call().output.splitlines()[-2:] == [
        "warning: blocked.item_ids has 1 of 2 not in the release",
        f"{path} is valid for endcap-release:x",
    ]
