"""Settings read from the environment."""

import pytest

from feature_repo.settings import Settings, SettingsError


def test_the_environment_is_read_with_defaults(tmp_path):
    """A state folder is taken as given; the rest has defaults."""
    settings = Settings.from_environment({"ENDCAP_STATE": str(tmp_path)})
    assert settings.state == tmp_path
    assert settings.profile == "embedded"
    assert settings.threads >= 1


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"ENDCAP_PROFILE": "gpc"}, "ENDCAP_PROFILE is 'gpc'; use embedded or gcp"),
        ({"ENDCAP_THREADS": "two"}, "ENDCAP_THREADS is 'two'"),
        ({"ENDCAP_THREADS": "0"}, "ENDCAP_THREADS is 0"),
    ],
)
def test_a_bad_value_is_named_with_what_is_valid(environ, message):
    """The error names the variable, its value and the remedy."""
    with pytest.raises(SettingsError, match=message):
        Settings.from_environment(environ)
