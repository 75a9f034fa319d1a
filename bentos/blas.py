"""One BLAS thread: an inner product with a catalogue waits for memory, not for cores.

More threads only wait for each other: on two busy cores the product of 48,751 x 65 item vectors with one
query took 16.6 ms of wall time on two threads and 1.6 ms on one. What runs in parallel is workers.
"""

from typing import Any


def use_one_blas_thread() -> Any:
    """Limit NumPy's and SciPy's BLAS in this process, whatever its environment says.

    Returns the limits, to be kept.
    """
    import numpy  # noqa: F401 - only what is loaded can be limited
    import scipy.linalg  # noqa: F401
    from threadpoolctl import threadpool_limits

    return threadpool_limits(limits=1, user_api="blas")
