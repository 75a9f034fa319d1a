"""Many requests, one commit: who comes while a commit is under way waits for the next one, with all others.

So a disk that takes a few milliseconds bounds the delay of a request, not the rate of requests. What nobody
waits for may be gathered for a while first: a commit costs a tenth of an answer.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class GroupCommit(Generic[T, R]):
    """Hands what is to be kept to `commit`, in a thread, as many as wait: it gives one result for each.

    Who comes first waits `gather_s` seconds for others. What waits when the loop ends is kept by then.
    """

    def __init__(self, commit: Callable[[Sequence[T]], Sequence[R]], *, gather_s: float = 0.0) -> None:
        self._commit, self._gather_s = commit, gather_s
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._at_work: asyncio.Task[None] | None = None

    def put(self, what: T) -> "asyncio.Future[R]":
        """Have something kept; the future ends when it is, with its result or the error of the commit."""
        answer: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((what, answer))
        if self._at_work is None or self._at_work.done():
            self._at_work = asyncio.create_task(self._work())
        return answer

    async def _work(self) -> None:
        try:
            await self._work_off()
        except asyncio.CancelledError:
            if self._waiting:
                self._commit([what for what, _ in self._waiting])
            raise

    async def _work_off(self) -> None:
        while self._waiting:
            if self._gather_s:
                await asyncio.sleep(self._gather_s)
            taken, self._waiting = self._waiting, []
            try:
                results = await asyncio.to_thread(self._commit, [what for what, _ in taken])
            except Exception as error:  # whatever it is, those who wait must hear of it
                for _, answer in taken:
                    if not answer.done():
                        answer.set_exception(error)
                continue
            for (_, answer), result in zip(taken, results, strict=True):
                if not answer.done():
                    answer.set_result(result)
