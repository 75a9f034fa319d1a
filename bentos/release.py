"""A release: all that answers requests, as one immutable folder of plain files.

Training saves it, BentoML's model store keeps it, the service loads it. No pickles: arrays are npz
without objects, rankers XGBoost JSON, rules YAML. `manifest.json` is written last and holds a hash of
every other file, so its existence means complete and its hashes mean untouched.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import yaml
from numpy.typing import NDArray

from feature_repo.imports import absent

MODEL_NAME = "endcap-release"
MANIFEST = "manifest.json"
FACTS = {"as_of", "features", "files"}  # without which nothing can be served
FILES = {"catalogue.npz", "arrays.npz", "rules.yaml"}
FORMAT = 3  # of the arrays and their names; a release of another one cannot be served
Manifest = Mapping[str, Any]
T = TypeVar("T")


class ReleaseError(ValueError):
    """A release is missing, damaged or incomplete; the message names the file and the next command."""


@dataclass(frozen=True)
class Catalogue:
    """The items that a release may recommend, sorted by id; a position in it is an item everywhere.

    Codes point into the names of their group.
    """

    item_ids: NDArray[np.str_]  # (n_items,)
    titles: NDArray[Any]  # (n_items,) of np.str_, or of StringDType, which takes a fifth of the memory
    departments: NDArray[np.int32]  # (n_items,)
    categories: NDArray[np.int32]  # (n_items,)
    types: NDArray[np.int32]  # (n_items,)
    department_names: NDArray[np.str_]
    category_names: NDArray[np.str_]
    type_names: NDArray[np.str_]


@dataclass(frozen=True)
class Release:
    """What the request path reads."""

    tag: str
    manifest: Manifest
    catalogue: Catalogue
    arrays: Mapping[str, NDArray[Any]]
    rankers: Mapping[str, Any]  # xgboost.Booster by task
    rules: Mapping[str, Any]
    rules_from: str = "release"  # or the hash of an operator's rules
    _made: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    _made_under_rules: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def once(self, name: str, make: Callable[["Release"], T]) -> T:
        """What `make` makes of the release, made at the first call only: for what requests have in common.

        It must not depend on the rules.
        """
        return self._kept(self._made, name, make)

    def once_under_rules(self, name: str, make: Callable[["Release"], T]) -> T:
        """As `once`, for what depends on the rules."""
        return self._kept(self._made_under_rules, name, make)

    def _kept(self, made: dict[str, Any], name: str, make: Callable[["Release"], T]) -> T:
        if name not in made:
            made[name] = make(self)
        found: T = made[name]
        return found

    def under(self, rules: Mapping[str, Any], rules_from: str) -> "Release":
        """The same release under other rules; what was made `once` is shared."""
        other = replace(self, rules=rules, rules_from=rules_from)
        object.__setattr__(other, "_made", self._made)
        return other


def sha256(path: Path) -> str:
    """Hash of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save(
    release: Release, folder: Path, *, more: Mapping[str, Mapping[str, NDArray[Any]]] | None = None
) -> None:
    """Write a release into `folder`, replacing what stands there; the manifest comes last.

    `more` are arrays by name and file, NAME.npz, that travel with the release and that no request reads.
    """
    aside = folder.with_name(folder.name + ".aside")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    catalogue = {each.name: getattr(release.catalogue, each.name) for each in fields(Catalogue)}
    catalogue["titles"] = np.array(catalogue["titles"].tolist(), dtype=np.str_)
    np.savez(aside / "catalogue.npz", allow_pickle=False, **catalogue)
    np.savez(aside / "arrays.npz", allow_pickle=False, **dict(release.arrays))
    for name, arrays in (more or {}).items():
        np.savez(aside / f"{name}.npz", allow_pickle=False, **dict(arrays))
    for task, ranker in release.rankers.items():
        ranker.save_model(aside / f"ranker_{task}.json")
    (aside / "rules.yaml").write_text(yaml.safe_dump(dict(release.rules), sort_keys=False))
    hashes = {path.name: sha256(path) for path in sorted(aside.iterdir())}
    manifest = {**release.manifest, "format": FORMAT, "files": hashes}
    (aside / MANIFEST).write_text(json.dumps(manifest, indent=1))
    shutil.rmtree(folder, ignore_errors=True)
    aside.replace(folder)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Facts of the release in `folder`."""
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text())
    except OSError as error:
        raise ReleaseError(f"No release in {folder}: {MANIFEST} is missing; run `endcap publish`") from error
    except ValueError as error:
        raise ReleaseError(f"{path} is damaged ({error}); run `endcap publish` again") from error
    if not isinstance(manifest, dict) or not manifest.keys() >= FACTS or not set(manifest["files"]) >= FILES:
        raise ReleaseError(f"{path} is not a release's manifest; run `endcap publish` again")
    if manifest.get("format") != FORMAT:
        raise ReleaseError(
            f"{path} is of format {manifest.get('format')}, and this version reads {FORMAT};"
            f" run `endcap train` and `endcap publish` again"
        )
    return manifest


def verify(folder: Path, manifest: Manifest) -> None:
    """Check every file against its hash; ReleaseError names the first that is missing or changed."""
    for name, expected in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            raise ReleaseError(f"{path} is missing from the release; run `endcap publish` again")
        if sha256(path) != expected:
            raise ReleaseError(
                f"{path} is damaged: its hash is not the manifest's; run `endcap publish` again"
            )


def load_ranker(path: Path) -> Any:
    """An XGBoost ranker that answers on one thread, as each worker serves one request at a time."""
    with absent(
        "pandas", "pyarrow", "sklearn"
    ):  # it takes them along where it finds them: 140 MB for nothing
        import xgboost

    booster = xgboost.Booster()
    booster.load_model(path)
    booster.set_param({"nthread": 1})  # loading forgets it
    return booster


def load(folder: Path, tag: str = "") -> Release:
    """Read and verify the release in `folder`."""
    manifest = read_manifest(folder)
    verify(folder, manifest)
    catalogue = load_catalogue(folder)
    with reading(folder / "arrays.npz") as path, np.load(path, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    rankers = {}
    for name in manifest["files"]:
        if name.startswith("ranker_"):
            with reading(folder / name) as path:
                rankers[name.removeprefix("ranker_").removesuffix(".json")] = load_ranker(path)
    with reading(folder / "rules.yaml") as path:
        rules = yaml.safe_load(path.read_text())
    return Release(
        tag=tag or folder.name,
        manifest=manifest,
        catalogue=catalogue,
        arrays=arrays,
        rankers=rankers,
        rules=rules,
    )


def load_catalogue(folder: Path) -> Catalogue:
    """The catalogue alone of the release in `folder`, which is not verified here."""
    with reading(folder / "catalogue.npz") as path, np.load(path, allow_pickle=False) as stored:
        columns = {each.name: stored[each.name] for each in fields(Catalogue)}
    return Catalogue(**columns | {"titles": columns["titles"].astype(np.dtypes.StringDType())})


@contextmanager
def reading(path: Path) -> Iterator[Path]:
    """The path; what cannot be read of that file in the block is a ReleaseError with its name."""
    try:
        yield path
    except Exception as error:  # NumPy, XGBoost and YAML have no error in common
        said = str(error).partition("\n")[0]
        raise ReleaseError(
            f"{path} is of another version or no part of a release ({type(error).__name__}: {said});"
            f" run `endcap publish` again"
        ) from error


def store_release(folder: Path, version: str | None = None) -> str:
    """Copy the release in `folder` into BentoML's model store as a new immutable entry; return its tag.

    With a `version` that is there already, nothing is copied; ReleaseError where that holds other files.
    """
    import bentoml

    manifest = read_manifest(folder)
    verify(folder, manifest)
    labels = {"as_of": str(manifest.get("as_of", ""))[:10], "revision": str(manifest.get("revision", ""))}
    name = f"{MODEL_NAME}:{version}" if version else MODEL_NAME
    if version and is_stored(name):
        if read_manifest(Path(stored_model(name).path))["files"] != manifest["files"]:
            raise ReleaseError(f"{name} is in the store with other files; run `bentoml models delete {name}`")
        return name
    with bentoml.models.create(name, labels=labels) as model:
        shutil.copytree(folder, model.path, dirs_exist_ok=True)
    return str(model.tag)


def is_stored(tag: str) -> bool:
    """Whether BentoML's model store has an entry of that tag."""
    import bentoml

    try:
        bentoml.models.get(tag)
    except bentoml.exceptions.NotFound:
        return False
    return True


def packed_tag(bento: Path) -> str | None:
    """Tag of the release that the Bento in folder `bento` was built with; None if that is no Bento."""
    path = bento / "bento.yaml"
    if not path.is_file():
        return None
    services = yaml.safe_load(path.read_text())["services"]
    tags = [str(model["tag"]) for service in services for model in service["models"]]
    return next((tag for tag in tags if tag.startswith(f"{MODEL_NAME}:")), None)


def stored_model(tag: str) -> Any:
    """The entry of that tag in BentoML's model store (a `bentoml.Model`), its files verified."""
    import bentoml

    try:
        model = bentoml.models.get(tag)
    except bentoml.exceptions.BentoMLException as error:  # not found, or not even a tag
        raise ReleaseError(f"{tag} is not in the model store; run `endcap publish`") from error
    folder = Path(model.path)
    verify(folder, read_manifest(folder))
    return model


def load_stored(model: Any) -> Release:
    """Load one entry of BentoML's model store (a `bentoml.Model`)."""
    return load(Path(model.path), tag=str(model.tag))


def clock(release: Release) -> datetime:
    """What time it is: a recording stands still at the instant of its release."""
    if release.manifest.get("recorded"):
        return datetime.fromisoformat(release.manifest["as_of"])
    return datetime.now(UTC)
