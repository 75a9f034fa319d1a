"""The current release, followed while the service runs: the next one is loaded, warmed and tried beside it.

`endcap publish` and `endcap rollback` move the pointer `state/current`; within seconds a request is answered
by the new release as a whole, with its own index, dictionaries, features and rules, and those under way end
with the old one. One that cannot be used changes nothing: the old one stays, and the log and /metrics say so.
While the store does not answer, it is tried again. A Bento has its release packed, and follows nothing.
"""

import ctypes
import gc
import logging
from collections.abc import Callable
from dataclasses import dataclass

from bentos import metrics
from bentos.current_release import current_tag
from bentos.followed_files import FollowedFiles
from bentos.ladder import FeaturesUnavailableError
from bentos.live_rules import LiveRules
from bentos.online_features import OnlineFeatures
from bentos.release import Release
from feature_repo.settings import Settings

log = logging.getLogger("bentoml.endcap")


@dataclass(frozen=True)
class Engine:
    """A release under the rules in force, and where its features come from."""

    rules: LiveRules
    features: OnlineFeatures

    @property
    def release(self) -> Release:
        """The release under the rules in force now."""
        return self.rules.release


class LiveRelease(FollowedFiles):
    """The engine of the current release: replaced as a whole, so a request takes it once."""

    def __init__(self, settings: Settings, engine: Engine, engine_of: Callable[[str], Engine]) -> None:
        """`engine_of` opens a release by its tag, warm; it raises for one that cannot be used."""
        super().__init__(settings.current_release)
        self._settings, self._engine_of, self._said = settings, engine_of, ""
        self.engine = engine
        self.look_again()  # `current` may have moved since the engine's tag was read from it
        self.switched: Callable[[Engine], None] = lambda old: old.rules.stop()  # what follows on a switch

    def take(self) -> None:
        """Serve the release that is current now, or say why not."""
        try:
            tag = current_tag(self._settings)
            if tag == self.engine.release.tag:
                self._said = ""  # one that was refused is current no longer
                metrics.release_taken()
                return
            new = self._engine_of(tag)
            new.features.check()
        except FeaturesUnavailableError as error:
            self.look_again()  # it may be the store's fault
            self._refuse(str(error))
            return
        except Exception as error:  # whatever a release holds
            self._refuse(str(error))
            return
        self._switch(new)
        give_back()

    def _switch(self, new: Engine) -> None:
        old, self.engine = self.engine, new
        new.rules.watch()
        self.switched(old)
        self._said = ""
        metrics.switched(new.release.tag, old.release.tag)
        log.info(
            "release %s as of %s instead of %s",
            new.release.tag,
            new.release.manifest["as_of"],
            old.release.tag,
        )

    def _refuse(self, why: str) -> None:
        metrics.release_refused()
        if why != self._said:
            log.warning("the current release is refused, %s stays: %s", self.engine.release.tag, why)
        self._said = why


def give_back() -> None:
    """Let go of the memory of a release that nobody serves any more: some 100 MB.

    What was alive at the start is left out of collections, which is taken back for this one; and glibc keeps
    what is freed unless it is told not to.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
