"""What Terraform is told to make: it hangs together, is private, and grants what the guide's table says."""

import re
from pathlib import Path

import hcl2
import pytest
from hcl2 import SerializationOptions

pytestmark = pytest.mark.gcp
ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "infra" / "google_cloud.tf"
GUIDE = ROOT / "docs" / "google-cloud.md"
PLAIN = SerializationOptions(with_comments=False, explicit_blocks=False, strip_string_quotes=True)
# What a grant may be on, and the resource that makes such grants.
MADE_BY = {
    "project": "google_project_iam_member",
    "bucket": "google_storage_bucket_iam_member",
    "dataset": "google_bigquery_dataset_iam_member",
    "repository": "google_artifact_registry_repository_iam_member",
    "secret": "google_secret_manager_secret_iam_member",
    "batch": "google_service_account_iam_member",
    "job": "google_cloud_run_v2_job_iam_member",
}
BROAD = {"roles/dataproc.editor"}  # of the whole project: a batch can be granted no more narrowly
API_OF = {
    "artifact_registry": "artifactregistry",
    "bigquery": "bigquery",
    "cloud_run": "run",
    "compute": "compute",
    "redis": "redis",
    "secret_manager": "secretmanager",
    "service_account": "iam",
    "service_networking": "servicenetworking",
    "storage": "storage",
}
# Google's variables, and those of a server, that `feature_repo.settings` does not read.
OTHERS_VARIABLES = {"BENTOML_HOME", "ENDCAP_REDIS_URL", "ENDCAP_REDIS_CA"}


class Told:
    """The file, block by block."""

    def __init__(self, text):
        self.text = re.sub(r"(?m)^\s*#.*", "", text)
        blocks = hcl2.loads(text, serialization_options=PLAIN)
        self.variables, self.outputs = (
            {name: about for block in blocks[kind] for name, about in block.items()}
            for kind in ("variable", "output")
        )
        (self.locals,) = blocks["locals"]
        self.resources = {
            (kind, name): about
            for block in blocks["resource"]
            for kind, named in block.items()
            for name, about in named.items()
        }

    def only(self, kind):
        """The one resource of a kind."""
        (found,) = (about for (each, _), about in self.resources.items() if each == kind)
        return found

    def kinds(self):
        """Kinds of resources."""
        return {kind for kind, _ in self.resources}


@pytest.fixture(scope="module")
def told():
    """The file as Terraform reads it."""
    return Told(FILE.read_text())


def table_below(heading, page=GUIDE):
    """Rows of the first Markdown table below a heading, its own head left out; code marks are taken off."""
    section = re.split(r"(?m)^## ", page.read_text().split(f"\n## {heading}\n", 1)[1])[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip().strip("`") for cell in row] for row in rows[2:]]


def test_all_that_is_named_is_declared_and_used(told):
    """Variables, locals and resources that expressions name are there; no variable or local is idle."""
    variables = set(re.findall(r"\bvar\.(\w+)", told.text))
    assert variables == set(told.variables)
    assert set(re.findall(r"\blocal\.(\w+)", told.text)) == set(told.locals)
    used = set(re.findall(r"\b(google_\w+)\.(\w+)", told.text))
    assert used <= set(told.resources)


def test_each_variable_and_output_is_described(told):
    """With a sentence; a variable has a type."""
    for about in (*told.variables.values(), *told.outputs.values()):
        assert about["description"].endswith(".")
    assert all(about["type"] in ("string", "number") for about in told.variables.values())


def test_the_guide_lists_just_the_roles_that_are_granted(told):
    """Account, role and what it is on, no more and no less, each with a reason."""
    rows = table_below("Who may do what")
    listed = sorted((account, role, on) for account, role, on, _ in rows)
    name = told.variables["name"]["default"]
    granted = [
        (
            f"{name}-{grant['account']}",
            grant["role"],
            {"batch": f"{name}-batch"}.get(grant["on"], grant["on"]),
        )
        for grant in told.locals["grants"]
    ]
    assert listed == sorted(granted)
    assert len(listed) == len(set(listed))
    assert all(reason for *_, reason in rows)


def test_each_grant_is_made_by_one_resource_of_its_kind(told):
    """One for each thing that a grant may be on, over its grants alone; no other resource grants anything."""
    assert {grant["on"] for grant in told.locals["grants"]} == set(MADE_BY)
    assert {kind for kind in told.kinds() if "_iam_" in kind} == set(MADE_BY.values())
    for on, kind in MADE_BY.items():
        about = told.only(kind)
        assert f'local.granted["{on}"]' in about["for_each"]
        assert about["role"] == "${each.value.role}"
        assert about["member"] == "${local.members[each.value.account]}"
    assert told.only(MADE_BY["batch"])["service_account_id"] == '${google_service_account.of["batch"].name}'


def test_each_account_has_a_grant_and_each_grant_an_account(told):
    """Nobody is there for nothing."""
    assert {grant["account"] for grant in told.locals["grants"]} == set(told.locals["accounts"])
    assert told.only("google_service_account")["for_each"] == "${local.accounts}"


def test_no_role_on_the_project_is_broad_but_those_named_here(told):
    """No owner, editor or admin of a service; basic roles of the project never."""
    on_project = {grant["role"] for grant in told.locals["grants"] if grant["on"] == "project"}
    broad = {role for role in on_project if re.search(r"(owner|editor|admin)$", role, re.IGNORECASE)}
    assert broad == BROAD
    for grant in told.locals["grants"]:
        assert re.fullmatch(r"roles/[a-z]+\.[a-zA-Z]+", grant["role"])
        assert not re.search(r"owner|admin", grant["role"], re.IGNORECASE)


def test_what_reads_the_secret_are_the_service_and_the_day_alone(told):
    """Batches and Composer never see the Redis URL."""
    readers = {grant["account"] for grant in told.locals["grants"] if "secret" in grant["role"]}
    assert readers == {"daily", "serving"}


def test_no_secret_is_in_the_file(told):
    """The secret has no version here, Redis' password goes nowhere, and nothing looks like one."""
    assert told.only("google_secret_manager_secret")["secret_id"] == "${var.name}-redis"
    assert "google_secret_manager_secret_version" not in told.kinds()
    assert not re.search(r"auth_string|secret_data|password|private_key|rediss?://", told.text, re.IGNORECASE)
    assert not any(re.search(r"pass|token", name) for name in (*told.variables, *told.outputs))


def test_the_bucket_is_private_and_renames_folders_as_a_whole(told):
    """Access by roles alone, never by the public; a hierarchical namespace."""
    bucket = told.only("google_storage_bucket")
    assert bucket["uniform_bucket_level_access"] is True or bucket["uniform_bucket_level_access"] == "true"
    assert bucket["public_access_prevention"] == "enforced"
    assert str(bucket["hierarchical_namespace"][0]["enabled"]).lower() == "true"
    assert "allUsers" not in told.text
    assert "allAuthenticatedUsers" not in told.text


def test_redis_has_a_replica_tls_and_a_password(told):
    """Standard Tier, no cluster, in our network, and never out of rows that are being written."""
    redis = told.only("google_redis_instance")
    assert redis["tier"] == "STANDARD_HA"
    assert redis["transit_encryption_mode"] == "SERVER_AUTHENTICATION"
    assert str(redis["auth_enabled"]).lower() == "true"
    assert redis["connect_mode"] == "PRIVATE_SERVICE_ACCESS"
    assert redis["authorized_network"] == "${google_compute_network.shop.id}"
    assert "noeviction" in redis["redis_configs"].values()
    assert not any(kind.startswith(("google_redis_cluster", "google_memorystore")) for kind in told.kinds())


def test_nothing_is_open_to_the_internet(told):
    """Batches reach Google's services from inside; rules let in the subnet, and SSH by Google's proxy."""
    assert str(told.only("google_compute_subnetwork")["private_ip_google_access"]).lower() == "true"
    rules = {
        name: about for (kind, name), about in told.resources.items() if kind == "google_compute_firewall"
    }
    assert {name: about["source_ranges"] for name, about in rules.items()} == {
        "within": ["${var.subnet_range}"],
        "ssh": ["35.235.240.0/20"],
    }
    assert "0.0.0.0/0" not in told.text


def test_the_api_of_each_resource_is_enabled(told):
    """And so are those of what is made later: models, batches, DAGs, reads of rows."""
    apis = set(told.locals["apis"])
    for kind in told.kinds() - {"google_project_service", "google_project_iam_member"}:
        (api,) = (api for of, api in API_OF.items() if kind.startswith(f"google_{of}"))
        assert api in apis, kind
    assert {"aiplatform", "dataproc", "composer", "bigquerystorage"} <= apis
    assert told.only("google_project_service")["for_each"] == "${toset(local.apis)}"


def test_all_lies_in_one_region(told):
    """Loads, images and mounts do not cross regions."""
    for kind in ("google_storage_bucket", "google_bigquery_dataset", "google_artifact_registry_repository"):
        assert told.only(kind)["location"] == "${var.region}"
    for kind in ("google_redis_instance", "google_compute_subnetwork"):
        assert told.only(kind)["region"] == "${var.region}"


def test_the_job_has_its_state_where_others_look_for_it(told):
    """Its variables are those that are read; the bucket is mounted, and ENDCAP_BUCKET is the same folder."""
    job = told.only("google_cloud_run_v2_job")["template"][0]["template"][0]
    (container,), (volume,) = job["containers"], job["volumes"]
    variables = {each["name"]: each.get("value", "") for each in container["env"]}
    known = set(re.findall(r"ENDCAP_\w+", (ROOT / "feature_repo" / "settings.py").read_text()))
    assert set(variables) <= known | OTHERS_VARIABLES
    (mount,) = container["volume_mounts"]
    assert mount["name"] == volume["name"]
    assert volume["gcs"][0]["bucket"] == "${google_storage_bucket.lake.name}"
    root = variables["ENDCAP_BUCKET"].removeprefix("gs://${google_storage_bucket.lake.name}")
    assert variables["ENDCAP_STATE"] == mount["mount_path"] + root
    assert variables["BENTOML_HOME"].startswith(f"{mount['mount_path']}/")
    assert variables["ENDCAP_REDIS_URL"] == ""  # from the secret
    assert job["service_account"] == '${google_service_account.of["daily"].email}'


@pytest.mark.parametrize("page", sorted(GUIDE.parent.glob("*.md")), ids=lambda page: page.name)
def test_pages_name_accounts_that_there_are(told, page):
    """Each address of a service account is one of the file's."""
    name = told.variables["name"]["default"]
    accounts = {f"{name}-{account}" for account in told.locals["accounts"]}
    assert set(re.findall(r"\b([a-z-]+)@[$\w-]+\.iam\.gserviceaccount", page.read_text())) <= accounts


def test_the_guide_asks_for_outputs_and_variables_that_there_are(told):
    """`terraform output` and `-var` of its commands."""
    text = GUIDE.read_text()
    outputs = set(re.findall(r"output -raw (\w+)", text))
    variables = set(re.findall(r"-var[ =]\"?(\w+)=", text))
    assert outputs
    assert outputs <= set(told.outputs)
    assert {"project", "region"} <= variables <= set(told.variables)
