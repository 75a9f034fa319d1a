"""YAML files that operators write: read whole, in one go, and refused in one line that says where and why."""

from pathlib import Path
from typing import Any

import yaml

from bentos.rule_parameters import told

LIMIT = 1_000_000  # bytes: some 50,000 ids
DEEPEST = 50  # levels; LibYAML recurses, and at some 10,000 its stack ends, and with it the process
Parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # C is ten times quicker, where YAML has it


class Loader(Parser):  # type: ignore[misc]
    """Plain YAML in which no key stands twice and an id such as 0012 keeps its zeros."""

    depth = 0

    def descend_resolver(self, parent: Any, index: Any) -> None:
        """Called before each node; ComposerError below DEEPEST levels."""
        self.depth += 1
        if self.depth > DEEPEST:
            problem = f"more than {DEEPEST} levels in one another"
            raise yaml.composer.ComposerError(None, None, problem, parent.start_mark)
        super().descend_resolver(parent, index)

    def ascend_resolver(self) -> None:
        """Called after each node."""
        self.depth -= 1
        super().ascend_resolver()

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """A mapping, or ConstructorError for the second of two equal keys and for what is no plain key."""
        seen = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                problem = "a key is no name"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                problem = f"{told(key)} stands there twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)

    def construct_yaml_int(self, node: Any) -> Any:
        """A whole number; as the text it is where YAML 1.1 would read octal, sexagesimal or the like."""
        value = super().construct_yaml_int(node)
        return value if str(value) == node.value else node.value


Loader.add_constructor("tag:yaml.org,2002:int", Loader.construct_yaml_int)


class YamlFileError(ValueError):
    """A file cannot be read; the message names it and what is wrong."""


def read_yaml(path: Path, what: str, *, too_long: str) -> Any:
    """What a file holds, `what` in words; `too_long` says what to do with one of more than LIMIT bytes."""
    try:
        with path.open("rb") as file:
            content = file.read(LIMIT + 1)
        if len(content) > LIMIT:
            raise YamlFileError(f"{path} has more than {LIMIT:,} bytes; {too_long}")
        loader = Loader(content.decode())
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except YamlFileError:
        raise
    except Exception as error:  # besides its own errors YAML lets those of numbers and dates through
        raise YamlFileError(f"{path} cannot be read as {what}: {in_one_line(error)}") from error


def in_one_line(error: Exception) -> str:
    """What is wrong, in a short line, and in which line of the file."""
    said, where = str(error), ""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        said, where = str(error.problem), f" in line {error.problem_mark.line + 1}"
    return f"{' '.join(said.split()):.200}{where}"
