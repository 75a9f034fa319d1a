"""The Bento as it is shipped: built once for all tests, and an environment that has what it declares.

It is served as in a container: with the release packed inside, an empty model store, and no other package.
"""

import functools
import subprocess
import sys
import tarfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from served_shop import BENTOML, ROOT


@functools.cache
def exported(shop, root):
    """Folder of an exported Bento, built as pyproject.toml says but without the lock, which needs a net."""
    folder = root / "bento"
    folder.mkdir()
    facts = (ROOT / "pyproject.toml").read_text()
    table = "[tool.bentoml.build.python]\n"
    assert facts.count(table) == 1
    (folder / "pyproject.toml").write_text(facts.replace(table, f"{table}lock_packages = false\n"))
    build = [*BENTOML, "build", "-o", "tag", "-f", folder / "pyproject.toml"]
    tag = run(build, shop.environment).removeprefix("__tag__:")
    run([*BENTOML, "export", tag, folder / "exported.bento"], shop.environment)
    with tarfile.open(folder / "exported.bento") as archive:
        archive.extractall(folder / "exported", filter="data")
    return folder / "exported"


def run(command, environment):
    """Output of a program that runs in the root and must not fail."""
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def declared(bento):
    """Requirements that the Bento's environment is installed from."""
    lines = (bento / "env" / "python" / "requirements.txt").read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("-")]


def installed(requirements):
    """Names of all distributions that an installation of `requirements` has, from what is installed here."""
    waiting, seen = [(each, "") for each in requirements], set()
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        for part in ("", *requirement.extras):
            key = (canonicalize_name(requirement.name), part)
            if key not in seen:
                seen.add(key)
                waiting += [(Requirement(each), part) for each in needs(requirement.name)]
    return {name for name, _ in seen}


def needs(name):
    """Requirements of an installed distribution; none for one that this platform does without."""
    try:
        return distribution(name).requires or []
    except PackageNotFoundError:
        return []


@functools.cache
def interpreter(bento, root):
    """Interpreter of a fresh environment with links to the packages that the Bento declares."""
    folder = root / "bento-environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = folder.glob("lib/*/site-packages")
    for name in installed(declared(bento)):
        for top in tops(name):
            link = packages / top.name
            if not link.exists():
                link.symlink_to(top)
    return folder / "bin" / "python"


def tops(name):
    """Folders and files that a distribution put into site-packages."""
    try:
        files = distribution(name).files or []
    except PackageNotFoundError:
        return set()
    here = {Path(file.parts[0]) for file in files if file.parts[0] not in ("..", "__pycache__")}
    return {Path(distribution(name).locate_file(each)) for each in here}
