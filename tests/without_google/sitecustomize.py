"""On the path of every process that tests start: one under the embedded profile finds no library of Google's.

Protocol buffers stay, which Feast and TensorFlow are made of.
"""

import os
import sys

REFUSED = ("google.cloud", "google.auth", "google.api_core", "googleapiclient", "google.oauth2")


class WithoutGoogle:
    """A finder that comes first, and knows what may not be found."""

    @staticmethod
    def find_spec(name, *_):
        """None for what others may look for."""
        if name in REFUSED or name.startswith(tuple(f"{each}." for each in REFUSED)):
            raise ModuleNotFoundError(f"{name} is imported under the embedded profile", name=name)


if os.environ.get("ENDCAP_PROFILE", "embedded") == "embedded":
    sys.meta_path.insert(0, WithoutGoogle)
