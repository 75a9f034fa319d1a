"""Files where a Spark driver finds them: a local folder, a bucket, whatever Hadoop has a file system for.

    files = HadoopFiles(spark)
    files.write_text("gs://my-shop-lake/state/features/departments.json", "[]")
    files.put(aside, final)

A driver on a cluster has neither Google's libraries nor a mounted bucket, but it has Hadoop's.
"""

from typing import Any


class HadoopFiles:
    """Files by their URIs; a plain path is one of Hadoop's default file system."""

    def __init__(self, spark: Any) -> None:
        self._jvm, self._conf = spark._jvm, spark._jsc.hadoopConfiguration()

    def exists(self, uri: str) -> bool:
        """Whether there is a file or folder."""
        system, path = self._at(uri)
        return bool(system.exists(path))

    def names(self, uri: str, ending: str = "") -> list[str]:
        """Names in a folder that end so, sorted, hidden ones left out; none where there is no folder."""
        if not self.exists(uri):
            return []
        system, path = self._at(uri)
        found = sorted(each.getPath().getName() for each in system.listStatus(path))
        return [name for name in found if name.endswith(ending) and not name.startswith((".", "_"))]

    def delete(self, uri: str) -> None:
        """Remove a file, or a folder with all that is in it; nothing where there is none."""
        system, path = self._at(uri)
        system.delete(path, True)

    def rename(self, uri: str, to: str) -> None:
        """Give a file or folder another name, which must be free; OSError where that fails."""
        system, path = self._at(uri)
        if self.exists(to) or not system.rename(path, self._path(to)):
            raise OSError(f"Cannot rename {uri} to {to}")

    def put(self, aside: str, final: str) -> None:
        """Let what was written aside take the place of what is there, whole as it is.

        Whoever reads between the two renames finds nothing; `settle` mends a crash between them.
        """
        old = hidden(final, "old")
        self.settle(final)
        if self.exists(final):
            self.rename(final, old)
        self.rename(aside, final)
        self.delete(old)

    def settle(self, final: str) -> None:
        """Put back what a crash within `put` has left aside, or remove it where its successor is there."""
        old = hidden(final, "old")
        if self.exists(old) and not self.exists(final):
            self.rename(old, final)
        self.delete(old)

    def read_text(self, uri: str) -> str:
        """Content of a small file."""
        system, path = self._at(uri)
        stream = system.open(path)
        try:
            return bytes(stream.readAllBytes()).decode()
        finally:
            stream.close()

    def write_text(self, uri: str, text: str) -> None:
        """Write a small file, aside and then renamed; its folder need not be there."""
        aside = hidden(uri, "aside")
        system, path = self._at(aside)
        stream = system.create(path, True)
        try:
            stream.write(bytearray(text.encode()))
        finally:
            stream.close()
        self.put(aside, uri)

    def _at(self, uri: str) -> tuple[Any, Any]:
        path = self._path(uri)
        system = path.getFileSystem(self._conf)
        system.setWriteChecksum(False)  # a local folder's, which others who write there do not know of
        system.setVerifyChecksum(False)
        return system, path

    def _path(self, uri: str) -> Any:
        return self._jvm.org.apache.hadoop.fs.Path(uri)


def hidden(uri: str, ending: str) -> str:
    """A name beside another one that nobody takes for data."""
    folder, _, name = uri.rpartition("/")
    return f"{folder}/.{name}.{ending}"
