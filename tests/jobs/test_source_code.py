"""The code of a step is what its module imports, near or far."""

import pytest

from jobs.source_code import code_hash, module_file, modules_used


@pytest.fixture
def root(tmp_path):
    """Package `shop`: a imports b inside a function, b imports c relatively; d is imported by nobody."""
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (tmp_path / "theirs.py").write_text("")
    (package / "a.py").write_text("import json, theirs\ndef run():\n    from shop import b\n")
    (package / "b.py").write_text("from .c import value\n")
    (package / "c.py").write_text("value = 1\n")
    (package / "d.py").write_text("import shop.a\n")
    return tmp_path


def test_modules_are_followed_through_functions_and_relative_imports(root):
    """Imports in functions, relative imports and packages are followed; what is not ours is not."""
    assert set(modules_used(["shop.a"], root=root)) == {"shop", "shop.a", "shop.b", "shop.c"}
    assert set(modules_used(["shop.d"], root=root)) == {"shop", "shop.a", "shop.b", "shop.c", "shop.d"}


def test_hash_changes_with_meaning_only(root):
    """A far module's code changes the hash; comments, blank lines and unused modules do not."""
    before = code_hash(["shop.a"], root=root)
    (root / "shop" / "c.py").write_text("# one\n\nvalue = (1)\n")
    (root / "shop" / "d.py").write_text("other = 1\n")
    assert code_hash(["shop.a"], root=root) == before
    (root / "shop" / "c.py").write_text("value = 2\n")
    assert code_hash(["shop.a"], root=root) != before


def test_hash_covers_files_that_are_not_code(root):
    """A declared file counts by its bytes."""
    (root / "rules.yaml").write_text("a: 1\n")
    before = code_hash(["shop.c"], ["rules.yaml"], root=root)
    (root / "rules.yaml").write_text("a: 2\n")
    assert code_hash(["shop.c"], ["rules.yaml"], root=root) != before


def test_missing_module_is_named(root):
    """A step whose module is not there is an error, not an empty hash."""
    with pytest.raises(FileNotFoundError, match=r"No module shop\.z under"):
        code_hash(["shop.z"], root=root)
    assert module_file("json", root=root) is None
