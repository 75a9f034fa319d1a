"""Which answers have their features logged (`feature_log.py`), and the way into that log: behind the answer.

The setting ENDCAP_LOG_FEATURES says how many; they are drawn by the request's id, which is random. A log that
cannot be written costs no answer; it is counted and logged.
"""

import asyncio
import logging

from bentos import metrics
from bentos.exposure_log import Exposure
from bentos.feature_log import FeatureLog, Reads, Recording
from bentos.group_commit import GroupCommit
from bentos.ladder import Reader
from bentos.online_features import OnlineFeatures
from bentos.release import Release
from feature_repo.settings import Settings

log = logging.getLogger("bentoml.endcap")
DIGITS = 8  # of an id in hexadecimal, which draw it


class SampledReads:
    """Takes the reads of one worker; without a share of answers there is no log."""

    def __init__(self, settings: Settings) -> None:
        self.share = settings.log_features
        if self.share:
            self._commits = GroupCommit(FeatureLog(settings.feature_log).append)

    def reader(self, request_id: str, features: OnlineFeatures) -> Reader:
        """What an answer is to read by: the features themselves, or a recording of them."""
        return Recording(features) if drawn(request_id, self.share) else features

    def keep(self, exposure: Exposure, reader: Reader, release: Release) -> None:
        """Log what an answer read, if it was recorded."""
        if isinstance(reader, Recording):
            found, asked_us = exposure.found, exposure.shown_us
            reads = Reads(exposure.request_id, found, asked_us, reader, release.catalogue.item_ids)
            self._commits.put(reads).add_done_callback(noted)


def drawn(request_id: str, share: float) -> bool:
    """Whether an answer is among a share of all; `request_id` is random, in hexadecimal digits."""
    return share > 0 and int(request_id[:DIGITS], 16) < share * 16**DIGITS


def noted(kept: "asyncio.Future[None]") -> None:
    """Count what was kept, or could not be."""
    error = kept.exception()
    metrics.reads("lost" if error else "kept")
    if error:
        log.warning("features of an answer cannot be logged: %s", error)
