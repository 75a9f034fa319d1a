"""The tables in BigQuery, under the gcp profile: how they lie, and how to reach them."""
