"""The way into the log for answers: on the disk before they are given, where an experiment is to learn.

Others are logged in the background, those of a moment together. A log that cannot be written costs no answer;
it is told, counted and logged, as an experiment may lack it.
"""

import asyncio
import logging

from bentos import metrics
from bentos.exposure_log import Exposure, ExposureLog
from bentos.group_commit import GroupCommit

log = logging.getLogger("bentoml.endcap")
KEEP_S = 0.1  # for an exposure to be on the disk before its answer goes out
GATHER_S = 0.05  # of answers that nothing is to be learnt from, which a crash may cost the log
NOT_KEPT = "the log of exposures cannot be written now: the answer may count in no experiment"


class Exposures:
    """Takes the answers of one worker."""

    def __init__(self, exposures: ExposureLog) -> None:
        self._at_once = GroupCommit(exposures.append)
        self._gathered = GroupCommit(exposures.append, gather_s=GATHER_S)

    async def keep(self, exposure: Exposure) -> bool:
        """Log an answer; False where it is to be learnt from and was not on the disk in time."""
        to_learn_from = bool(exposure.assigned.arms)
        kept = (self._at_once if to_learn_from else self._gathered).put(exposure)
        kept.add_done_callback(noted)
        if not to_learn_from:
            return True
        metrics.exposed(exposure.assigned.arms)
        await asyncio.wait([kept], timeout=KEEP_S)
        return kept.done() and kept.exception() is None


def noted(kept: "asyncio.Future[None]") -> None:
    """Count an answer that was kept, or could not be."""
    error = kept.exception()
    metrics.exposures("lost" if error else "kept", 1)
    if error:
        log.warning("an exposure cannot be kept: %s", error)
