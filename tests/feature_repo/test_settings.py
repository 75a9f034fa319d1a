"""Settings read from the environment."""

import pytest

from feature_repo.settings import Settings, SettingsError


def test_the_environment_is_read_with_defaults(tmp_path):
    """A state folder is taken as given; the rest has defaults."""
    settings = Settings.from_environment({"ENDCAP_STATE": str(tmp_path)})
    assert settings.state == tmp_path
    assert settings.profile == "embedded"
    assert settings.threads >= 1
    assert settings.log_features == 0.01


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"ENDCAP_PROFILE": "gpc"}, "ENDCAP_PROFILE is 'gpc'; use embedded, gcp, gcp-emulated"),
        ({"ENDCAP_THREADS": "two"}, "ENDCAP_THREADS is 'two'"),
        ({"ENDCAP_THREADS": "0"}, "ENDCAP_THREADS is 0"),
        ({"ENDCAP_LOG_FEATURES": "all"}, "ENDCAP_LOG_FEATURES is 'all'; use a share from 0 to 1"),
        ({"ENDCAP_LOG_FEATURES": "1.5"}, "ENDCAP_LOG_FEATURES is 1.5; use a share from 0 to 1"),
        ({"ENDCAP_LOG_FEATURES": "nan"}, "ENDCAP_LOG_FEATURES is nan; use a share from 0 to 1"),
        ({"ENDCAP_BIGQUERY_DATASET": "endcap"}, "ENDCAP_BIGQUERY_DATASET is 'endcap'; use PROJECT.DATASET"),
        ({"ENDCAP_BIGQUERY_DATASET": "my-shop.end.cap"}, "ENDCAP_BIGQUERY_DATASET is 'my-shop.end.cap'"),
        ({"ENDCAP_BIGQUERY_DATASET": "My.endcap"}, "ENDCAP_BIGQUERY_DATASET is 'My.endcap'"),
    ],
)
def test_a_bad_value_is_named_with_what_is_valid(environ, message):
    """The error names the variable, its value and the remedy."""
    with pytest.raises(SettingsError, match=message):
        Settings.from_environment(environ)


def test_a_dataset_is_asked_for_where_one_is_needed():
    """It is taken as given; without it all goes on that needs none, and what does says so."""
    named = Settings.from_environment({"ENDCAP_BIGQUERY_DATASET": "my-shop.endcap"})
    assert named.dataset == "my-shop.endcap"
    settings = Settings.from_environment({"ENDCAP_PROFILE": "gcp"})
    with pytest.raises(SettingsError, match="ENDCAP_BIGQUERY_DATASET is not set, and ENDCAP_PROFILE is gcp"):
        _ = settings.dataset
