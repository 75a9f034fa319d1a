"""One commit for all who wait: each gets its own result, whatever happens to the others."""

import asyncio
import threading

import pytest

from bentos.group_commit import GroupCommit


class Disk:
    """Doubles numbers, slowly: a commit ends when it is let; it fails where a number is negative."""

    def __init__(self):
        self.batches, self.threads, self.let, self.begun = [], set(), threading.Event(), threading.Event()

    def commit(self, numbers):
        """Twice each number, and an error for all if one is negative."""
        self.batches.append(list(numbers))
        self.threads.add(threading.get_ident())
        self.begun.set()
        assert self.let.wait(10)
        if min(numbers) < 0:
            raise OSError(f"no room for {min(numbers)}")
        return [2 * number for number in numbers]


async def behind_one(disk, numbers):
    """Futures of numbers that come while a commit of 0 is under way."""
    commits = GroupCommit(disk.commit)
    first = commits.put(0)
    await asyncio.to_thread(disk.begun.wait, 10)
    return commits, [first, *map(commits.put, numbers)]


def outcome(coroutine):
    """What it comes to, which must be soon."""
    return asyncio.run(asyncio.wait_for(coroutine, 20))


@pytest.fixture
def disk():
    """A disk of one test."""
    return Disk()


def test_who_comes_during_a_commit_shares_the_next(disk):
    """A hundred wait for one commit, in a thread, in their order, each for its own result."""

    async def many():
        _, answers = await behind_one(disk, range(1, 101))
        disk.let.set()
        return await asyncio.gather(*answers)

    assert outcome(many()) == [2 * number for number in range(101)]
    assert disk.batches == [[0], list(range(1, 101))]
    assert threading.get_ident() not in disk.threads


def test_nobody_waits_who_comes_to_an_idle_disk(disk):
    """One after the other has a commit of its own each, also after a while."""
    disk.let.set()

    async def alone():
        commits, results = GroupCommit(disk.commit), []
        for number in range(3):
            results.append(await commits.put(number))
            await asyncio.sleep(0.01)
        return results

    assert outcome(alone()) == [0, 2, 4]
    assert disk.batches == [[0], [1], [2]]


def test_an_error_reaches_all_of_its_commit_and_nobody_else(disk):
    """Those before and those after have their results."""

    async def some():
        commits, answers = await behind_one(disk, [1, -5, 2])
        disk.let.set()
        found = await asyncio.gather(*answers, return_exceptions=True)
        return found, await commits.put(7)

    (first, *failed), later = outcome(some())
    assert first == 0
    assert [str(error) for error in failed] == ["no room for -5"] * 3
    assert later == 14


def test_who_came_during_a_commit_that_fails_is_not_forgotten(disk):
    """The next commit comes at once, not with the next who asks."""

    async def behind():
        commits = GroupCommit(disk.commit)
        answers = [commits.put(-1)]
        await asyncio.to_thread(disk.begun.wait, 10)
        answers.append(commits.put(3))
        disk.let.set()
        return await asyncio.gather(*answers, return_exceptions=True)

    failed, result = outcome(behind())
    assert (str(failed), result) == ("no room for -1", 6)


def test_who_leaves_hurts_nobody(disk):
    """Waiters that were cancelled change nothing for the others, be it results or an error."""

    async def leaving():
        commits, answers = await behind_one(disk, [1, 2, 3])
        answers[0].cancel()
        answers[2].cancel()
        disk.let.set()
        found = await asyncio.gather(*answers, return_exceptions=True)
        failing = [commits.put(-1), commits.put(-2)]
        failing[0].cancel()
        found += await asyncio.gather(*failing, return_exceptions=True)
        return found, await commits.put(4)

    found, later = outcome(leaving())
    assert [isinstance(each, asyncio.CancelledError) for each in found] == [
        True,
        False,
        True,
        False,
        True,
        False,
    ]
    assert (found[1], found[3], str(found[5]), later) == (2, 6, "no room for -2", 8)
    assert disk.batches == [[0], [1, 2, 3], [-1, -2], [4]]


def test_a_waiter_that_times_out_leaves_what_it_put(disk):
    """It is kept all the same, and its future tells so."""

    async def impatient():
        answer = GroupCommit(disk.commit).put(5)
        await asyncio.wait([answer], timeout=0.05)
        early = answer.done()
        disk.let.set()
        return early, await answer

    assert outcome(impatient()) == (False, 10)


def test_who_comes_within_the_time_to_gather_shares_one_commit(disk):
    """Ten that come one after the other are kept together, and the next one after them by itself."""
    disk.let.set()

    async def ten():
        commits, answers = GroupCommit(disk.commit, gather_s=0.5), []
        for number in range(10):
            answers.append(commits.put(number))
            await asyncio.sleep(0)
        found = await asyncio.gather(*answers)
        return found, await commits.put(10)

    assert outcome(ten()) == ([2 * number for number in range(10)], 20)
    assert disk.batches == [list(range(10)), [10]]


def test_what_waits_when_the_loop_ends_is_kept(disk):
    """A server that is stopped loses nothing of what it gathers."""
    disk.let.set()

    async def stopped():
        commits = GroupCommit(disk.commit, gather_s=60.0)
        commits.put(1)
        commits.put(2)
        await asyncio.sleep(0.01)

    outcome(stopped())
    assert disk.batches == [[1, 2]]
