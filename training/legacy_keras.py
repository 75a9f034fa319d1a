"""TensorFlow with Keras 2, as tensorflow-recommenders wants it, imported without chatter.

TensorFlow 2.21 writes about missing GPU drivers to the terminal before any log level counts, so what it
writes while it is imported is held back, and shown only if the import fails.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Before TensorFlow is imported: tensorflow-recommenders is written for Keras 2.
os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def import_tensorflow() -> Any:
    """The module `tensorflow`; later imports of it are quiet too, as they find it loaded."""
    with stderr_held_back():
        import tensorflow
    return tensorflow


@contextmanager
def stderr_held_back() -> Iterator[None]:
    """What is written to standard error meanwhile, also by C++, is shown only if the block fails."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            sys.stderr.flush()
            held.seek(0)
            os.write(kept, held.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
