"""What Feast gives of a shop, in a process under its own settings: `python tests/feast_rows.py FOLDER`.

In: entity rows as FOLDER/<service>.parquet. Out: what is known of them as FOLDER/<profile>/<service>.parquet,
and for one service, as <service>.written.parquet, what was written by then; a summary of `endcap apply` and
`endcap materialize` on the standard output.
"""

import sys
from datetime import datetime
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

import jobs.apply
import jobs.materialize
from feature_repo.settings import Settings
from feature_repo.store import open_store


def main(folder: Path, end: str) -> None:
    """Write a table for each service that rows are there for."""
    settings = Settings.from_environment()
    print(jobs.apply.run(settings))
    store, out = open_store(settings), folder / settings.profile
    out.mkdir()
    for path in sorted(folder.glob("*.parquet")):
        asked, service = pd.read_parquet(path), store.get_feature_service(path.stem)
        kinds = [("", False), *([(".written", True)] if path.stem == "item_ranking" else [])]
        for kind, known in kinds:
            job = store.get_historical_features(asked, service, filter_by_created_timestamp=known)
            pq.write_table(job.to_arrow().sort_by("row_number"), out / f"{path.stem}{kind}.parquet")
    print(jobs.materialize.run(settings, end=datetime.fromisoformat(end)))


main(Path(sys.argv[1]), sys.argv[2])
