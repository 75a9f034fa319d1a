"""What a plan says that its queries would cost, and when it says no."""

from datetime import UTC, datetime

import pytest

from feature_repo.bigquery.client import BigQueryError, connected
from jobs.google_cloud.cost_plan import DryRuns, Priced, TooDearError, lines, within
from jobs.google_cloud.questions import Question

pytestmark = pytest.mark.gcp
TIB = 1_099_511_627_776
PLAN = {
    "train": [Priced(Question("small", "SELECT 1"), 5), Priced(Question("large", "SELECT 2"), 3 * TIB)],
    "gate": [Priced(Question("middle", "SELECT 3"), TIB // 2)],
}


def test_bytes_are_priced_by_the_tebibyte_and_small_queries_by_ten_mebibytes():
    """3.5 TiB and 10 MiB at 6.25 $ are 21.875 $ and 6 hundred-thousandths."""
    told = list(lines(PLAN, 6.25))
    assert [line.split()[0] for line in told] == ["train", "gate", "in"]
    assert [float(line.split()[-2]) for line in told] == [18.7501, 3.125, 21.8751]
    assert [float(line.split()[-4].replace(",", "")) for line in told] == [3072.01, 512.0, 3584.01]


def test_queries_are_shown_the_dearest_first():
    """Under their step, if that is asked for."""
    assert [line.split()[0] for line in lines(PLAN, 6.25, each=True)] == [
        *("train", "large", "small"),
        *("gate", "middle", "in"),
    ]


def test_a_plan_above_its_limit_is_refused():
    """With what it costs, the limit, and the step that costs most."""
    within(PLAN, 6.25, 21.88)
    with pytest.raises(TooDearError, match=r"21\.88 \$, most of it train, and the limit is 21\.87 \$"):
        within(PLAN, 6.25, 21.87)


@pytest.fixture
def runs(shop):
    """Dry runs in a dataset of the emulator."""
    connected(shop).query(f"CREATE TABLE `{shop.dataset}.seen` (at TIMESTAMP, what STRING)").result()
    return DryRuns(shop)


def test_a_query_is_tried_once_however_often_it_is_asked(runs, bigquery):
    """The same text with other parameters is another."""
    first, second = (Question("rows", "SELECT what FROM seen WHERE at < ?", (day,)) for day in days())
    before = len(bigquery.queries())
    for one in (first, second, first):
        assert runs.priced(one).question is one
    assert len(runs.found) == 2
    assert len(bigquery.queries()) - before == 2


def days():
    """Two instants."""
    return datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 2, tzinfo=UTC)


def test_a_query_that_cannot_run_is_named_with_its_reason(runs):
    """A table that is not there yet, say."""
    with pytest.raises(BigQueryError, match=r"say what rows of the day would read in .*: .*absent"):
        runs.priced(Question("rows of the day", "SELECT what FROM absent"))
