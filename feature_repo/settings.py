"""Where this installation keeps its state and which profile it runs under.

The environment is read once, at the edge (`Settings.from_environment`), and passed on as an argument.

    ENDCAP_PROFILE   embedded (default), gcp, or gcp-emulated: gcp on one machine, with BigQuery's emulator
    ENDCAP_STATE     folder of tables, features, stores and releases' pointer (default: state)
    ENDCAP_REPORTS   folder of reports (default: reports)
    ENDCAP_THREADS   threads that one step may use (default: the machine's cores)
    ENDCAP_REPLAY    1 for a server of a replay, whose clock may be set (default: 0)
    ENDCAP_LOG_FEATURES       share of answers whose features are logged as they were read (default: 0.01)
    ENDCAP_BIGQUERY_DATASET   PROJECT.DATASET of the tables, for gcp
    ENDCAP_BUCKET             gs://BUCKET[/FOLDER] where the state folder lies for others, for gcp
    FEAST_FS_YAML_FILE_PATH   which feature_store.yaml: Feast's own variable, for its commands too

The default folders lie in the project's root, also when a command runs in a folder below it, as Feast's
does in `feature_repo/`. Away from any project they lie in the working directory.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

PROFILES = ("embedded", "gcp", "gcp-emulated")
ROOT_HAS = "feature_repo/feature_store.yaml"  # what tells a project's root from other folders
FEATURE_STORE = Path(__file__).with_name("feature_store.yaml")  # the embedded one
FEATURE_STORE_GCP = FEATURE_STORE.with_name("feature_store.gcp.yaml")
BUCKET = re.compile(r"gs://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9](/[\w.=-]+)*")
DATASET = re.compile(
    r"[a-z][a-z0-9-]{4,28}[a-z0-9]\.[A-Za-z0-9_]{1,1024}"
)  # as Google Cloud lets them be named


class SettingsError(ValueError):
    """A setting has a value that cannot be used; the message names it, its value and what is valid."""


@dataclass(frozen=True)
class Settings:
    """All that differs between two installations of Endcap."""

    state: Path
    reports: Path
    profile: str = "embedded"
    threads: int = 2
    feature_store: Path = FEATURE_STORE
    replay: bool = False
    bigquery_dataset: str = ""
    bucket: str = ""
    log_features: float = 0.01

    def __post_init__(self) -> None:
        if self.profile not in PROFILES:
            raise SettingsError(f"ENDCAP_PROFILE is {self.profile!r}; use {', '.join(PROFILES)}")
        if self.threads < 1:
            raise SettingsError(f"ENDCAP_THREADS is {self.threads}; use a whole number from 1")
        if not 0 <= self.log_features <= 1:
            raise SettingsError(f"ENDCAP_LOG_FEATURES is {self.log_features}; use a share from 0 to 1")
        if self.bigquery_dataset and not DATASET.fullmatch(self.bigquery_dataset):
            raise SettingsError(
                f"ENDCAP_BIGQUERY_DATASET is {self.bigquery_dataset!r}; use PROJECT.DATASET,"
                " such as my-shop.endcap"
            )
        if self.bucket and not BUCKET.fullmatch(self.bucket):
            raise SettingsError(f"ENDCAP_BUCKET is {self.bucket!r}; use gs://BUCKET or gs://BUCKET/FOLDER")

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        """Read the variables above; a missing one takes its default."""
        threads = environ.get("ENDCAP_THREADS", "")
        if threads and not threads.isdecimal():
            raise SettingsError(f"ENDCAP_THREADS is {threads!r}; use a whole number from 1")
        replay = environ.get("ENDCAP_REPLAY") or "0"
        if replay not in ("0", "1"):
            raise SettingsError(f"ENDCAP_REPLAY is {replay!r}; use 0 or 1")
        root = project_root(Path.cwd())
        profile = environ.get("ENDCAP_PROFILE") or "embedded"
        store = FEATURE_STORE if profile == "embedded" else FEATURE_STORE_GCP
        return cls(
            state=Path(environ.get("ENDCAP_STATE") or root / "state").absolute(),
            reports=Path(environ.get("ENDCAP_REPORTS") or root / "reports").absolute(),
            profile=profile,
            threads=int(threads) if threads else os.cpu_count() or 2,
            feature_store=Path(environ.get("FEAST_FS_YAML_FILE_PATH") or store).absolute(),
            replay=replay == "1",
            bigquery_dataset=environ.get("ENDCAP_BIGQUERY_DATASET", ""),
            bucket=environ.get("ENDCAP_BUCKET", "").rstrip("/"),
            log_features=share_of("ENDCAP_LOG_FEATURES", environ.get("ENDCAP_LOG_FEATURES") or "0.01"),
        )

    def table(self, name: str) -> Path:
        """Parquet file that a full ingest writes of a table of the data contract: the table's first part."""
        return self.state / "tables" / name / "base.parquet"

    def table_part(self, name: str, day: date) -> Path:
        """Parquet file of the rows of one local day, which stands beside the first part."""
        return self.table(name).with_name(f"{day.isoformat()}.parquet")

    def table_parts(self, name: str) -> str:
        """All parts of a table, as DuckDB and Spark read them."""
        return all_parts(self.table(name))

    @property
    def in_bigquery(self) -> bool:
        """Whether tables lie in BigQuery, too, and are asked for there."""
        return self.profile != "embedded"

    def uri(self, path: Path) -> str:
        """Where a path of the state folder lies in Cloud Storage."""
        return f"{self.bucket}/{path.relative_to(self.state).as_posix()}"

    @property
    def dataset(self) -> str:
        """BigQuery's dataset, PROJECT.DATASET; SettingsError where none is named."""
        if not self.bigquery_dataset:
            raise SettingsError(
                f"ENDCAP_BIGQUERY_DATASET is not set, and ENDCAP_PROFILE is {self.profile};"
                " use PROJECT.DATASET, such as my-shop.endcap"
            )
        return self.bigquery_dataset

    @property
    def shop_calendar(self) -> Path:
        """The shop's weeks: written by `endcap ingest`, read by all that speak of weeks."""
        return self.state / "tables" / "calendar.json"

    def feature_table(self, name: str) -> Path:
        """Folder of Parquet part files of one feature table."""
        return self.state / "features" / name

    @property
    def training(self) -> Path:
        """What training leaves for evaluation and publishing."""
        return self.state / "training"

    def day(self, day: date) -> Path:
        """What the run of one logical date leaves: its release, its figures, the gate's decision."""
        return self.state / "days" / day.isoformat()

    @property
    def registry(self) -> Path:
        """Feast's registry."""
        return self.state / "registry.db"

    @property
    def online_store(self) -> Path:
        """The embedded online store; its layout is that of `feature_repo.stores.packed`."""
        return self.state / "online_store.db"

    @property
    def event_log(self) -> Path:
        """What shoppers did, as the service was told."""
        return self.state / "events.db"

    @property
    def exposure_log(self) -> Path:
        """What shoppers were shown, and by which arm."""
        return self.state / "exposures.db"

    @property
    def feature_log(self) -> Path:
        """What a share of the answers read of the online store."""
        return self.state / "features.db"

    @property
    def experiments_file(self) -> Path:
        """Which experiments run: an operator's."""
        return self.state / "experiments.yaml"

    @property
    def rollouts_file(self) -> Path:
        """How far rollouts have come: written by `endcap rollout`, over what the experiments' file says."""
        return self.state / "rollouts.json"

    @property
    def current_release(self) -> Path:
        """A one-line file that holds the tag of the release in use."""
        return self.state / "current"

    @property
    def release_history(self) -> Path:
        """How `current_release` came to be what it is."""
        return self.state / "releases.jsonl"

    @property
    def rules_file(self) -> Path:
        """An operator's business rules, which override those of the release while the file is there."""
        return self.state / "rules.yaml"


def share_of(name: str, told: str) -> float:
    """A share as a setting tells it; SettingsError for what is no number."""
    try:
        return float(told)
    except ValueError:
        raise SettingsError(f"{name} is {told!r}; use a share from 0 to 1") from None


def all_parts(part: Path) -> str:
    """Pattern of all parts of the table that has a part."""
    return str(part.with_name("*.parquet"))


def project_root(folder: Path) -> Path:
    """Nearest folder, from `folder` upwards, that is a project's root; `folder` itself if none is."""
    return next((each for each in (folder, *folder.parents) if (each / ROOT_HAS).is_file()), folder)
