"""The code that a Spark cluster is given: a zip of the driver's modules, and the driver's own file.

    package = Package.made()
    package.hash       # of the content: another one where a module has changed

The zip holds what the driver imports, itself too, and nothing else. Its name tells its content, however it is
packed: what lies in a bucket under that name need not be brought again.
"""

import hashlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

from jobs.source_code import ROOT, modules_used

DRIVER = "jobs.dataproc_driver"
LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the first time that a zip can hold
READABLE = 0o644 << 16


@dataclass(frozen=True)
class Package:
    """Both files, and the hash that is in their names."""

    zipped: bytes
    driver: bytes
    hash: str

    @classmethod
    def made(cls, root: Path = ROOT) -> "Package":
        """The package of the code as it is."""
        modules = modules_used([DRIVER], root=root)
        files = {path.relative_to(root).as_posix(): path.read_bytes() for path in modules.values()}
        return cls(zip_of(files), modules[DRIVER].read_bytes(), hash_of(files))

    @property
    def zip_name(self) -> str:
        """Name of the zip, as Python imports from it."""
        return f"endcap-{self.hash}.zip"

    @property
    def driver_name(self) -> str:
        """Name of the driver's file."""
        return f"endcap-{self.hash}.py"


def hash_of(files: dict[str, bytes]) -> str:
    """Names and contents in 12 hexadecimal digits: libraries compress in more ways than one."""
    found = hashlib.sha256()
    for name, content in sorted(files.items()):
        for part in (name.encode(), content):
            found.update(len(part).to_bytes(8, "big") + part)
    return found.hexdigest()[:12]


def zip_of(files: dict[str, bytes]) -> bytes:
    """A zip of files by their names, the same for the same content."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(files.items()):
            entry = zipfile.ZipInfo(name, LONG_AGO)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, READABLE
            archive.writestr(entry, content)
    return whole.getvalue()
