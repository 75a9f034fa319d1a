"""Where tests write tables of the contract."""


def first_part(settings, name):
    """The file of a table that a full ingest writes; its folder is there."""
    path = settings.table(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
