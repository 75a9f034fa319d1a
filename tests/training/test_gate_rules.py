"""Thresholds: defaults without a file, others by name, what is unknown or out of range refused."""

import pytest

from training.gate_rules import GateRules, GateRulesError, load_gate_rules


def test_without_a_file_the_defaults_hold(tmp_path):
    """No file and an empty one are the same."""
    path = tmp_path / "gate.yaml"
    assert load_gate_rules(path) == GateRules()
    path.write_text("# nothing yet\n")
    assert load_gate_rules(path) == GateRules()


def test_a_file_changes_what_it_names(tmp_path):
    """Only the rules that it names are others."""
    path = tmp_path / "gate.yaml"
    path.write_text("most_gain: 0.8\nneed_online_store: false\n")
    assert load_gate_rules(path) == GateRules(most_gain=0.8, need_online_store=False)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("margins: 0.1", "'margins' is unknown; use margin, big_loss"),
        ("margin: -1", "margin is -1"),
        ("margin: yes", "margin is True"),
        ("slower: 0.5", "slower is 0.5"),
        ("leak_rows: 0", "leak_rows is 0"),
        ("margin: 0.1\nmargin: 0.2", "'margin' stands there twice"),
        ("- 1", "use a mapping of margin"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, content, said):
    """One line with the file, the rule and its value."""
    path = tmp_path / "gate.yaml"
    path.write_text(content)
    with pytest.raises(GateRulesError, match=r"gate\.yaml") as caught:
        load_gate_rules(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_rule_has_its_reason():
    """Each field is explained in the docstring."""
    assert all(name in (GateRules.__doc__ or "") for name in GateRules.model_fields)
