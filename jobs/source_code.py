"""Which of our source files a step depends on, found by reading its imports, and one hash over them.

A step is done again when this hash changes. Only syntax counts: comments and formatting do not change it.
"""

import ast
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("feature_repo", "bentos", "training", "jobs")


def code_hash(modules: Sequence[str], files: Sequence[str] = (), *, root: Path = ROOT) -> str:
    """Hash over the sources of `modules` and all of ours that they import, and over other `files`."""
    digest = hashlib.sha256()
    for name, path in sorted(modules_used(modules, root=root).items()):
        digest.update(name.encode() + b"\0" + ast.dump(ast.parse(path.read_text())).encode())
    for name in sorted(files):
        digest.update(name.encode() + b"\0" + (root / name).read_bytes())
    return digest.hexdigest()


def modules_used(modules: Sequence[str], *, root: Path = ROOT) -> dict[str, Path]:
    """`modules` and every module of ours that they import, near or far, also inside functions."""
    ours = {
        *PACKAGES,
        *(name.split(".")[0] for name in modules),
    }  # installed, others' packages lie beside ours
    found: dict[str, Path] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        path = module_file(name, root=root) if name.split(".")[0] in ours else None
        if path is None and name in modules:
            raise FileNotFoundError(f"No module {name} under {root}; install the package again: make setup")
        if path is None or name in found:
            continue
        found[name] = path
        waiting.extend(imported_names(path, name))
    return found


def module_file(name: str, *, root: Path = ROOT) -> Path | None:
    """Source file of a module under `root`; None if there is none of that name."""
    stem = root.joinpath(*name.split("."))
    for path in (stem.with_suffix(".py"), stem / "__init__.py"):
        if path.is_file():
            return path
    return None


def imported_names(path: Path, module: str) -> Iterator[str]:
    """Dotted names that a source file may import: modules, their packages, members that may be modules."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, package)
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            parts = name.split(".")
            yield from (".".join(parts[: end + 1]) for end in range(len(parts)))


def _absolute(node: ast.ImportFrom, package: str) -> str:
    """Absolute name behind a possibly relative `from ... import`."""
    if node.level == 0:
        return node.module or ""
    parts = package.split(".")
    base = parts[: len(parts) - node.level + 1]
    return ".".join([*base, *([node.module] if node.module else [])])
