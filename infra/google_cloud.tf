# What Endcap needs of Google Cloud: a bucket, a dataset, an online store, a repository of images, a secret
# without a value, a network, service accounts with what each needs, and the job that does a day.
#
#   terraform -chdir=infra init
#   terraform -chdir=infra apply -var project=my-shop -var region=europe-west4
#
# docs/google-cloud.md has what comes before and after, and a table of the grants below: a test holds the two
# against each other. No secret is in this file or in its outputs. Terraform's state is another matter: it has
# all that Google tells of a resource, and of Redis that is its password (auth_string). Keep the state where
# only those may read it who may know that.

terraform {
  required_version = ">= 1.5"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 6.50"
    }
  }
}

variable "project" {
  description = "Id of the project, of Endcap alone: a role on the project reaches all that is in it."
  type        = string
}

variable "region" {
  description = "Where all lies: loads take a bucket beside the dataset, endpoints an image of their region."
  type        = string
}

variable "name" {
  description = "What names begin with."
  type        = string
  default     = "endcap"

  validation {
    condition     = can(regex("^[a-z][a-z0-9]{2,17}$", var.name))
    error_message = "Use 3 to 18 lower-case letters and digits: accounts and the dataset are named by it."
  }
}

variable "subnet_range" {
  description = "Addresses for batches, jobs and machines; a batch takes one for each executor."
  type        = string
  default     = "10.10.0.0/20"
}

variable "redis_gb" {
  description = "Memory of the online store in GiB, up to 300: twice its rows, if they are ever written anew."
  type        = number
  default     = 5
}

variable "job_image" {
  description = "Image of the job that does a day, in the repository below. Without one there is no job yet."
  type        = string
  default     = ""
}

variable "redis_secret_version" {
  description = "Version of the secret that the job reads the Redis URL from."
  type        = string
  default     = "latest"
}

provider "google" {
  project = var.project
  region  = var.region
}

locals {
  apis = [
    "aiplatform",
    "artifactregistry",
    "bigquery",
    "bigquerystorage",
    "cloudresourcemanager",
    "composer",
    "compute",
    "dataproc",
    "iam",
    "redis",
    "run",
    "secretmanager",
    "servicenetworking",
    "storage",
  ]

  accounts = {
    batch    = "Spark steps as batches"
    daily    = "A day of the shop, from its rows to the release"
    serving  = "The service that answers"
    composer = "Starts what a day is made of"
  }

  # Who may do what on what. Nobody has anything else.
  grants = [
    { account = "batch", role = "roles/dataproc.worker", on = "project" },
    { account = "batch", role = "roles/bigquery.jobUser", on = "project" },
    { account = "batch", role = "roles/bigquery.readSessionUser", on = "project" },
    { account = "batch", role = "roles/storage.objectUser", on = "bucket" },
    { account = "batch", role = "roles/bigquery.dataEditor", on = "dataset" },
    { account = "batch", role = "roles/artifactregistry.reader", on = "repository" },

    { account = "daily", role = "roles/bigquery.jobUser", on = "project" },
    { account = "daily", role = "roles/bigquery.readSessionUser", on = "project" },
    { account = "daily", role = "roles/dataproc.editor", on = "project" },
    { account = "daily", role = "roles/storage.objectUser", on = "bucket" },
    { account = "daily", role = "roles/bigquery.dataEditor", on = "dataset" },
    { account = "daily", role = "roles/secretmanager.secretAccessor", on = "secret" },
    { account = "daily", role = "roles/iam.serviceAccountUser", on = "batch" },

    { account = "serving", role = "roles/secretmanager.secretAccessor", on = "secret" },

    { account = "composer", role = "roles/composer.worker", on = "project" },
    { account = "composer", role = "roles/dataproc.editor", on = "project" },
    { account = "composer", role = "roles/run.viewer", on = "project" },
    { account = "composer", role = "roles/run.jobsExecutorWithOverrides", on = "job" },
    { account = "composer", role = "roles/iam.serviceAccountUser", on = "batch" },
  ]

  granted = {
    for on in distinct(local.grants[*].on) : on => {
      for grant in local.grants : "${grant.account} ${grant.role}" => grant if grant.on == on
    }
  }
  members = { for name, account in google_service_account.of : name => "serviceAccount:${account.email}" }
  images  = "${var.region}-docker.pkg.dev/${var.project}/${var.name}"
}

resource "google_project_service" "api" {
  for_each = toset(local.apis)

  service            = "${each.value}.googleapis.com"
  disable_on_destroy = false
}

# The lake: the state folder, and the store of releases. Folders are renamed as a whole.

resource "google_storage_bucket" "lake" {
  name                        = "${var.project}-${var.name}-lake"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"

  hierarchical_namespace {
    enabled = true
  }

  depends_on = [google_project_service.api]
}

resource "google_bigquery_dataset" "shop" {
  dataset_id  = var.name
  location    = var.region
  description = "A shop's tables, features and logs."

  depends_on = [google_project_service.api]
}

resource "google_artifact_registry_repository" "images" {
  repository_id = var.name
  location      = var.region
  format        = "DOCKER"
  description   = "The service, the job of a day, Spark workers that embed."

  depends_on = [google_project_service.api]
}

# The Redis URL goes in by gcloud, from its standard input.

resource "google_secret_manager_secret" "redis" {
  secret_id = "${var.name}-redis"

  replication {
    user_managed {
      replicas {
        location = var.region
      }
    }
  }

  depends_on = [google_project_service.api]
}

# A network in which batches and jobs reach Google's services, and Redis, without an address of their own.

resource "google_compute_network" "shop" {
  name                    = var.name
  auto_create_subnetworks = false

  depends_on = [google_project_service.api]
}

resource "google_compute_subnetwork" "jobs" {
  name                     = "${var.name}-jobs"
  network                  = google_compute_network.shop.id
  region                   = var.region
  ip_cidr_range            = var.subnet_range
  private_ip_google_access = true
}

resource "google_compute_firewall" "within" {
  name          = "${var.name}-within"
  network       = google_compute_network.shop.id
  description   = "Spark's driver and executors talk to each other."
  source_ranges = [var.subnet_range]

  allow {
    protocol = "all"
  }
}

resource "google_compute_firewall" "ssh" {
  name          = "${var.name}-ssh"
  network       = google_compute_network.shop.id
  description   = "SSH through Identity-Aware Proxy alone; these are its addresses."
  source_ranges = ["35.235.240.0/20"]

  allow {
    protocol = "tcp"
    ports    = ["22"]
  }
}

resource "google_compute_global_address" "services" {
  name          = "${var.name}-services"
  purpose       = "VPC_PEERING"
  address_type  = "INTERNAL"
  prefix_length = 20
  network       = google_compute_network.shop.id
}

resource "google_service_networking_connection" "services" {
  network                 = google_compute_network.shop.id
  service                 = "servicenetworking.googleapis.com"
  reserved_peering_ranges = [google_compute_global_address.services.name]

  depends_on = [google_project_service.api]
}

resource "google_redis_instance" "online" {
  name                    = var.name
  region                  = var.region
  tier                    = "STANDARD_HA"
  memory_size_gb          = var.redis_gb
  redis_version           = "REDIS_7_2"
  auth_enabled            = true
  transit_encryption_mode = "SERVER_AUTHENTICATION"
  authorized_network      = google_compute_network.shop.id
  connect_mode            = "PRIVATE_SERVICE_ACCESS"

  redis_configs = {
    "maxmemory-policy" = "noeviction"
  }

  depends_on = [google_project_service.api, google_service_networking_connection.services]
}

# Service accounts, and their grants by what they are on.

resource "google_service_account" "of" {
  for_each = local.accounts

  account_id   = "${var.name}-${each.key}"
  display_name = each.value

  depends_on = [google_project_service.api]
}

resource "google_project_iam_member" "project" {
  for_each = local.granted["project"]

  project = var.project
  role    = each.value.role
  member  = local.members[each.value.account]
}

resource "google_storage_bucket_iam_member" "bucket" {
  for_each = local.granted["bucket"]

  bucket = google_storage_bucket.lake.name
  role   = each.value.role
  member = local.members[each.value.account]
}

resource "google_bigquery_dataset_iam_member" "dataset" {
  for_each = local.granted["dataset"]

  dataset_id = google_bigquery_dataset.shop.dataset_id
  role       = each.value.role
  member     = local.members[each.value.account]
}

resource "google_artifact_registry_repository_iam_member" "repository" {
  for_each = local.granted["repository"]

  location   = google_artifact_registry_repository.images.location
  repository = google_artifact_registry_repository.images.name
  role       = each.value.role
  member     = local.members[each.value.account]
}

resource "google_secret_manager_secret_iam_member" "secret" {
  for_each = local.granted["secret"]

  secret_id = google_secret_manager_secret.redis.id
  role      = each.value.role
  member    = local.members[each.value.account]
}

resource "google_service_account_iam_member" "batch" {
  for_each = local.granted["batch"]

  service_account_id = google_service_account.of["batch"].name
  role               = each.value.role
  member             = local.members[each.value.account]
}

resource "google_cloud_run_v2_job_iam_member" "job" {
  for_each = { for key, grant in local.granted["job"] : key => grant if var.job_image != "" }

  location = google_cloud_run_v2_job.day[0].location
  name     = google_cloud_run_v2_job.day[0].name
  role     = each.value.role
  member   = local.members[each.value.account]
}

# The job that does a day, or a step of one: its arguments are `endcap`'s, and one run at a time is the rule.

resource "google_cloud_run_v2_job" "day" {
  count = var.job_image == "" ? 0 : 1

  name                = var.name
  location            = var.region
  deletion_protection = false

  template {
    task_count = 1

    template {
      service_account = google_service_account.of["daily"].email
      timeout         = "21600s"
      max_retries     = 0

      containers {
        image = var.job_image

        resources {
          limits = {
            cpu    = "8"
            memory = "32Gi"
          }
        }

        env {
          name  = "ENDCAP_PROFILE"
          value = "gcp"
        }
        env {
          name  = "ENDCAP_STATE"
          value = "/lake/state"
        }
        env {
          name  = "ENDCAP_REPORTS"
          value = "/lake/reports"
        }
        env {
          name  = "BENTOML_HOME"
          value = "/lake/bentoml"
        }
        env {
          name  = "ENDCAP_BUCKET"
          value = "gs://${google_storage_bucket.lake.name}/state"
        }
        env {
          name  = "ENDCAP_BIGQUERY_DATASET"
          value = "${var.project}.${google_bigquery_dataset.shop.dataset_id}"
        }
        env {
          name  = "ENDCAP_REDIS_CA"
          value = join("\n", google_redis_instance.online.server_ca_certs[*].cert)
        }
        env {
          name = "ENDCAP_REDIS_URL"
          value_source {
            secret_key_ref {
              secret  = google_secret_manager_secret.redis.secret_id
              version = var.redis_secret_version
            }
          }
        }

        volume_mounts {
          name       = "lake"
          mount_path = "/lake"
        }
      }

      volumes {
        name = "lake"
        gcs {
          bucket    = google_storage_bucket.lake.name
          read_only = false
        }
      }

      vpc_access {
        egress = "PRIVATE_RANGES_ONLY"
        network_interfaces {
          network    = google_compute_network.shop.id
          subnetwork = google_compute_subnetwork.jobs.id
        }
      }
    }
  }

  depends_on = [
    google_bigquery_dataset_iam_member.dataset,
    google_secret_manager_secret_iam_member.secret,
    google_storage_bucket_iam_member.bucket,
  ]
}

output "bucket" {
  description = "Where the state folder lies: ENDCAP_BUCKET."
  value       = "gs://${google_storage_bucket.lake.name}/state"
}

output "dataset" {
  description = "ENDCAP_BIGQUERY_DATASET."
  value       = "${var.project}.${google_bigquery_dataset.shop.dataset_id}"
}

output "images" {
  description = "What names of images begin with."
  value       = local.images
}

output "redis_at" {
  description = "Address and port of the online store, with TLS."
  value       = "${google_redis_instance.online.host}:${google_redis_instance.online.port}"
}

output "redis_ca" {
  description = "ENDCAP_REDIS_CA: the authority that signed the store's certificate; no secret."
  value       = join("\n", google_redis_instance.online.server_ca_certs[*].cert)
}

output "subnet" {
  description = "For batches, jobs and machines."
  value       = google_compute_subnetwork.jobs.id
}
