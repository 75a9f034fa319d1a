"""What was learnt is kept whole, found again in another world, and goes on from day to day."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from bentos.release import ReleaseError, load, save
from bentos.towers import KINDS
from jobs.train import release_folder
from training.day import day_split, days_until
from training.parameters import GroupNames, Parameters, arrays_of, load_parameters
from training.refresh import release_at
from training.taste_space import TasteSpace
from training.warm_start import advance


@pytest.fixture(scope="module")
def learnt(installation):
    """The parameters of the slice's training."""
    return load_parameters(release_folder(installation, 49))


def world_of(ids, **groups):
    """Names of a made-up world, all kinds of groups alike unless given."""
    codes = {kind: np.array(groups.get(kind, range(len(ids))), dtype=np.int32) for kind in KINDS}
    return GroupNames(np.array(ids), codes)


def parameters_of(names):
    """Parameters whose places tell the group and the side."""
    rng = np.random.default_rng(1)
    places = [
        {
            kind: rng.normal(size=(codes.max() + 1, 3)).astype(np.float32)
            for kind, codes in names.groups.items()
        }
        for _ in range(2)
    ]
    none = np.zeros(0, dtype=np.float32)
    return Parameters({}, TasteSpace(*places), names, none, {}, learnt_until=None, cut=1)


def test_an_equal_world_has_equal_places():
    """Nothing moves where nothing is new."""
    names = world_of(["a", "b", "c"], types=[0, 0, 1])
    parameters = parameters_of(names)
    found = parameters.space_in(names)
    for kind in KINDS:
        np.testing.assert_array_equal(found.queries[kind], parameters.space.queries[kind])
        np.testing.assert_array_equal(found.items[kind], parameters.space.items[kind])


def test_a_group_is_known_by_its_items():
    """Numbers may be others and items may have gone or come: a group keeps its place, a new one has zeros."""
    parameters = parameters_of(world_of(["a", "b", "c", "d"], types=[0, 1, 1, 2]))
    found = parameters.space_in(world_of(["b", "bb", "d", "e"], types=[3, 3, 0, 1]))
    old, new = parameters.space.items["types"], found.items["types"]
    np.testing.assert_array_equal(new[3], old[1])
    np.testing.assert_array_equal(new[0], old[2])
    assert not new[1].any()
    assert not new[2].any()


def test_parameters_travel_with_their_release(installation, learnt, tmp_path):
    """Saved and read again they are the same arrays; a release without them is refused as such."""
    folder = release_folder(installation, 49)
    release = load(folder)
    assert not any(name.startswith("tower") for name in release.arrays)
    save(release, tmp_path / "again", more={"parameters": arrays_of(learnt)})
    again = arrays_of(load_parameters(tmp_path / "again"))
    for name, array in arrays_of(learnt).items():
        np.testing.assert_array_equal(again[name], array)
    save(release, tmp_path / "without")
    with pytest.raises(ReleaseError, match="has no parameters; run `endcap train` again"):
        load_parameters(tmp_path / "without")


def test_at_the_cut_they_make_the_release_that_training_made(installation, sources, learnt):
    """Every array of the release of the cut, to the last bit; the panel's pairs stand in any order."""
    made = load(release_folder(installation, 49))
    found = release_at(sources, learnt, sources.calendar.end(49), threads=installation.threads)
    assert found.arrays.keys() == made.arrays.keys()
    for name, array in made.arrays.items():
        if name in ("panel_shoppers", "panel_items"):
            assert sorted(array.tolist()) == sorted(found.arrays[name].tolist())
        elif array.dtype.kind == "f":
            np.testing.assert_allclose(found.arrays[name], array, rtol=1e-5, atol=1e-6, err_msg=name)
        else:
            np.testing.assert_array_equal(found.arrays[name], array, err_msg=name)


def test_days_one_by_one_end_as_days_at_once(installation, sources, learnt):
    """Two days in one go and in two: the same weights; and the first day moves them."""
    until = [sources.calendar.end(49) + timedelta(days=n) for n in (1, 2)]

    def go_on(start, end):
        return advance(sources, start, end, threads=installation.threads, report=lambda _: None)

    first = go_on(learnt, until[0])
    at_once, one_by_one = go_on(learnt, until[1]), go_on(first, until[1])
    assert at_once.learnt_until == one_by_one.learnt_until == until[1]
    assert any((first.towers[name] != learnt.towers[name]).any() for name in learnt.towers)
    for name, array in at_once.towers.items():
        np.testing.assert_allclose(one_by_one.towers[name], array, rtol=1e-5, atol=1e-7, err_msg=name)


def test_learning_does_not_go_back(sources, learnt):
    """What was learnt is not forgotten by asking for a day before."""
    earlier = learnt.learnt_until - timedelta(days=1)
    with pytest.raises(ValueError, match="all is learnt already"):
        advance(sources, learnt, earlier, threads=1, report=lambda _: None)
    assert advance(sources, learnt, learnt.learnt_until, threads=1, report=lambda _: None) is learnt


def test_a_day_is_judged_on_the_week_before_its_end(sources):
    """Nothing learnt reaches into it, and the rankers' week was over before it, on every day of a month."""
    calendar = sources.calendar
    for n in range(31):
        day = calendar.day_at(calendar.start(48)) + timedelta(days=n)
        split = day_split(calendar, day)
        assert split.window.end == split.known == calendar.day_end(day)
        assert split.window.instant == calendar.day_end(day - timedelta(days=7))
        assert calendar.end(split.cut) <= split.window.instant < calendar.end(split.cut + 1)
    days = days_until(calendar, calendar.end(43), calendar.end(44))
    assert [window.instant for window in days[1:]] == [window.end for window in days[:-1]]
    with pytest.raises(ValueError, match="no local midnight"):
        days_until(calendar, calendar.end(43) + timedelta(hours=1), calendar.end(44))


def test_a_release_is_of_the_end_of_a_day(sources, learnt):
    """Facts of another moment would be those of no snapshot."""
    with pytest.raises(ValueError, match="no local midnight"):
        release_at(sources, replace(learnt), sources.calendar.end(49) + timedelta(hours=3), threads=1)
