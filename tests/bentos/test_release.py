"""A release on disk: what is written comes back, what was touched is refused.

In BentoML's store it is the matter of tests/jobs/test_publish.py.
"""

import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import served_shop
from tiny_release import ITEM_FEATURES, USER_FEATURES, tiny_release

from bentos.release import Catalogue, ReleaseError, load, save, sha256
from bentos.scoring import margins, matrix_columns

NEXT = "run `endcap publish`"


@pytest.fixture(scope="module")
def original():
    """A release with real rankers."""
    width, rng = len(matrix_columns(USER_FEATURES, ITEM_FEATURES)), np.random.default_rng(7)
    rankers = {task: served_shop.random_ranker(rng, width) for task in ("all", "discover")}
    return replace(tiny_release(), rankers=rankers)


@pytest.fixture
def folder(original, tmp_path):
    """A folder that holds it."""
    save(original, tmp_path / "release")
    return tmp_path / "release"


def rehashed(folder):
    """Write hashes of the files as they are now, as somebody who knows the format would."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"] = {name: sha256(folder / name) for name in manifest["files"]}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_round_trip_is_bit_for_bit(original, folder):
    """Everything that was saved is loaded with the same types, shapes and bits; the tag is what is given.

    Titles are the same words, however long the longest is: each takes the memory of its own length.
    """
    back = load(folder, "endcap-release:x")
    assert back.tag == "endcap-release:x"
    assert load(folder).tag == "release"
    for field in fields(Catalogue):
        here, there = getattr(original.catalogue, field.name), getattr(back.catalogue, field.name)
        if field.name == "titles":
            assert there.tolist() == here.tolist()
            continue
        assert (here.dtype, here.shape, here.tobytes()) == (there.dtype, there.shape, there.tobytes())
    assert back.arrays.keys() == original.arrays.keys()
    for name, array in original.arrays.items():
        there = back.arrays[name]
        assert (array.dtype, array.shape, array.tobytes()) == (there.dtype, there.shape, there.tobytes())
    assert back.rules == original.rules
    assert {name: back.manifest[name] for name in original.manifest} == original.manifest


def test_loaded_rankers_answer_the_same(original, folder):
    """A ranker's margins survive the file exactly, on one thread."""
    width = len(matrix_columns(USER_FEATURES, ITEM_FEATURES))
    rows = np.random.default_rng(8).uniform(0, 30, (200, width)).astype(np.float32)
    rows[::3, ::2] = np.nan
    back = load(folder)
    assert back.rankers.keys() == {"all", "discover"}
    for task, ranker in original.rankers.items():
        assert margins(back.rankers[task], rows).tobytes() == margins(ranker, rows).tobytes()
        config = json.loads(back.rankers[task].save_config())
        assert config["learner"]["generic_param"]["nthread"] == "1"


def test_manifest_hashes_every_other_file(folder):
    """No file of a release is without a hash, and nothing of the writing is left beside it."""
    files = json.loads((folder / "manifest.json").read_text())["files"]
    assert files.keys() | {"manifest.json"} == {path.name for path in folder.iterdir()}
    assert [path.name for path in folder.parent.iterdir()] == ["release"]


def test_saving_again_replaces_the_whole(original, folder):
    """A second save leaves nothing of the first."""
    (folder / "ranker_other.json").write_text("{}")
    save(replace(original, rules={}), folder)
    assert load(folder).rules == {}
    assert load(folder).rankers.keys() == {"all", "discover"}


@pytest.mark.parametrize(
    "name", ["catalogue.npz", "arrays.npz", "rules.yaml", "ranker_all.json", "ranker_discover.json"]
)
@pytest.mark.parametrize("harm", ["one bit", "cut", "gone"])
def test_touched_file_is_refused_by_name(folder, name, harm):
    """One changed bit, a file cut short or a missing one: the error names the file and the next command."""
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content if harm == "one bit" else content[:-7])
    if harm == "gone":
        (folder / name).unlink()
    with pytest.raises(ReleaseError, match=rf"{name} is (damaged|missing).*{NEXT}"):
        load(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "manifest.json is missing"),
        ("", "damaged"),
        ('{"files": ', "damaged"),
        ("[]", "not a release's manifest"),
        ("{}", "not a release's manifest"),
        ('{"as_of": "", "features": {}, "files": {}}', "not a release's manifest"),
        ('{"files": {"catalogue.npz": "", "arrays.npz": "", "rules.yaml": ""}}', "not a release's manifest"),
    ],
)
def test_damaged_manifest_is_refused(folder, text, message):
    """Without a whole manifest, which vouches for every file, nothing is loaded."""
    (folder / "manifest.json").unlink()
    if text is not None:
        (folder / "manifest.json").write_text(text)
    with pytest.raises(ReleaseError, match=rf"{message}.*{NEXT}"):
        load(folder)


def test_foreign_folder_is_refused(tmp_path):
    """A folder of something else is no release, and is said to be none."""
    (tmp_path / "model.pkl").write_bytes(b"x")
    with pytest.raises(ReleaseError, match=rf"No release in {tmp_path}.*{NEXT}"):
        load(tmp_path)


class Bomb:
    """What runs code when it is unpickled."""

    def __reduce__(self):
        return (Path("unpickled").touch, ())


def pickled(path):
    """An array of objects, which NumPy keeps as a pickle."""
    bomb = np.empty(1, dtype=object)
    bomb[0] = Bomb()
    np.savez(path, popularity=bomb)


def lacking(path):
    """An archive without the columns."""
    np.savez(path, other=np.zeros(3))


def text(path):
    """A file that is none of what it should be."""
    path.write_text("{[")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *(("arrays.npz", pickled), ("catalogue.npz", pickled), ("catalogue.npz", lacking)),
        *(("arrays.npz", text), ("rules.yaml", text), ("ranker_all.json", text)),
    ],
)
def test_wrong_content_with_right_hashes_is_refused(folder, name, content, monkeypatch, tmp_path):
    """Pickles are never opened, and what cannot be read is named, even where the hashes agree."""
    monkeypatch.chdir(tmp_path)
    content(folder / name)
    rehashed(folder)
    with pytest.raises(ReleaseError, match=rf"{name} is of another version or no part.*{NEXT}"):
        load(folder)
    assert not (tmp_path / "unpickled").exists()


def test_what_was_loaded_is_saved_as_it_was(folder, tmp_path):
    """File by file, so that a release may be published again."""
    save(load(folder), tmp_path / "again")
    hashes = [
        json.loads((each / "manifest.json").read_text())["files"] for each in (folder, tmp_path / "again")
    ]
    assert hashes[0] == hashes[1]
