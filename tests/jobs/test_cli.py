"""Each verb is explained, documented and instant to ask about; errors are told in one line."""

import ast
import json
import os
import shlex
import signal
import statistics
import subprocess
import sys
import threading
from datetime import UTC, date, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import jobs.pipeline
from feature_repo.settings import Settings, SettingsError
from feature_repo.shop_calendar import ShopCalendar
from jobs.cli import endcap
from jobs.days.steps import DAY_STEPS
from jobs.source_code import module_file
from jobs.steps import STEPS, Choices
from jobs.verbs import Instant

DAY = date(2017, 12, 4)
ROOT = Path(__file__).resolve().parents[2]


def verbs_of(group):
    """Commands by the words that call them: those of a group within by two."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from ((f"{name} {verb}", found) for verb, found in verbs_of(command))
        else:
            yield name, command


VERBS = dict(sorted(verbs_of(endcap)))


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Call `endcap` in this process over an empty state folder."""
    monkeypatch.setenv("ENDCAP_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("ENDCAP_REPORTS", str(tmp_path / "reports"))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # Spark leaves a handler of its own
    yield lambda *words: CliRunner().invoke(endcap, words)
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("verb", VERBS)
def test_verb_has_help_and_an_example(verb):
    """Help is a sentence, then an example that calls the verb, and every option says what it is."""
    command = VERBS[verb]
    sentence, _, rest = command.help.partition("\n")
    assert sentence.endswith(".")
    assert "Example:" in rest
    assert f"endcap {verb}" in rest
    assert all(option.help for option in command.params if isinstance(option, click.Option))


@pytest.mark.parametrize("verb", VERBS)
def test_verb_stands_in_the_documents(verb):
    """Each verb occurs in the README or in a page of docs/."""
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    assert any(f"endcap {verb}" in page.read_text() for page in pages)


@pytest.mark.parametrize("verb", VERBS)
def test_example_in_help_is_accepted(verb):
    """The words of each example are options that the verb has."""
    lines = [line.strip() for line in VERBS[verb].help.splitlines()]
    examples = [shlex.split(line) for line in lines if line.startswith(f"endcap {verb}")]
    assert examples
    for words in examples:
        VERBS[verb].make_context(verb, words[1 + len(verb.split()) :])


def cpu_seconds(*words):
    """User and system time of one `endcap` process."""
    process = subprocess.Popen([sys.executable, "-m", "jobs.cli", *words], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_utime + usage.ru_stime


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"]], ids=["group", "verb"])
def test_help_is_instant(words):
    """Help takes less than half a second of processor time."""
    assert statistics.median(cpu_seconds(*words) for _ in range(3)) < 0.5


def test_help_imports_nothing_heavy():
    """Asking for help loads no library that a verb needs."""
    program = (
        "import sys; from click.testing import CliRunner; from jobs.cli import endcap;"
        "assert CliRunner().invoke(endcap, ['train', '--help']).exit_code == 0;"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    loaded = set(subprocess.check_output([sys.executable, "-c", program], text=True).split())
    heavy = {
        "numpy",
        "pandas",
        "pyarrow",
        "duckdb",
        "feast",
        "bentoml",
        "tensorflow",
        "torch",
        "pyspark",
        "xgboost",
    }
    assert loaded & heavy == set()


@pytest.mark.parametrize("name", sorted({step.name for step in (*STEPS, *DAY_STEPS)}))
def test_a_verb_has_no_option_that_no_step_takes(name, tmp_path):
    """Over both tables, of the whole and of a day; --date chooses the table."""
    settings = with_calendar(tmp_path)
    steps = [step for step in (*STEPS, *DAY_STEPS) if step.name == name]
    taken = {key for step in steps for key in step.arguments(settings, Choices(day=DAY))}
    assert {option.name for option in endcap.commands[name].params} <= {*taken, "day"}


def with_calendar(folder):
    """Settings of an installation that has nothing but its weeks."""
    settings = Settings(state=folder, reports=folder)
    settings.shop_calendar.parent.mkdir()
    ShopCalendar("America/New_York", date(2016, 12, 26)).save(settings.shop_calendar)
    return settings


@pytest.mark.parametrize("step", [*STEPS, *DAY_STEPS], ids=lambda step: f"{step.name} {step.module}")
def test_table_verb_and_module_agree(step, tmp_path):
    """A step's arguments are the options of its verb and the parameters of its module's `run`."""
    settings = with_calendar(tmp_path)
    arguments = step.arguments(settings, Choices(day=DAY))
    assert {option.name for option in endcap.commands[step.name].params} >= set(arguments)
    tree = ast.parse(module_file(step.module).read_text())
    run = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "run")
    parameters = [argument.arg for argument in run.args.args + run.args.kwonlyargs]
    assert parameters[0] == "settings"
    assert set(parameters[1:]) >= set(arguments)


def raising(error):
    """A stand-in for a verb's work that raises `error`."""

    def run_here(*_):
        raise error

    return run_here


def test_error_of_ours_is_one_line(call):
    """An error raised on purpose is shown without traceback, with exit code 1."""
    answer = call("recommend", "1", "--url", "ftp://x")
    assert (answer.exit_code, answer.output) == (
        1,
        "Error: The URL is 'ftp://x'; give one like http://127.0.0.1:3000\n",
    )


def test_debug_shows_where_an_error_came_from(call):
    """With --debug the error itself comes through."""
    answer = call("--debug", "recommend", "1", "--url", "ftp://x")
    assert answer.exit_code == 1
    assert type(answer.exception).__name__ == "ServerError"


def test_wrong_setting_is_named(call, monkeypatch):
    """A setting that cannot be used is told like any other error."""
    monkeypatch.setenv("ENDCAP_PROFILE", "cloud")
    assert call("status").output == "Error: ENDCAP_PROFILE is 'cloud'; use embedded, gcp, gcp-emulated\n"


def test_mistake_keeps_its_traceback(call, monkeypatch):
    """An error that nobody raised on purpose, here from outside our packages, is not hidden."""
    monkeypatch.setattr(jobs.pipeline.Pipeline, "run_here", raising(ValueError("from elsewhere")))
    answer = call("apply")
    assert isinstance(answer.exception, ValueError)
    assert not isinstance(answer.exception, SettingsError)


def test_interrupt_says_how_to_go_on(call, monkeypatch):
    """Ctrl-C ends with code 130 and says that the same command goes on."""
    monkeypatch.setattr(jobs.pipeline.Pipeline, "run_here", raising(KeyboardInterrupt()))
    answer = call("apply")
    assert answer.exit_code == 130
    assert answer.output.strip() == "Interrupted; run the same command again to go on"


def test_interrupt_that_a_library_turned_into_an_error_is_still_one(call, monkeypatch):
    """A library that answers Ctrl-C with an error of its own does not hide the interrupt."""

    def run_here(*_):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise RuntimeError("query interrupted") from None

    monkeypatch.setattr(jobs.pipeline.Pipeline, "run_here", run_here)
    assert call("apply").exit_code == 130
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_status_of_an_empty_installation(call):
    """Before the first run every step is to do, no release is in use and nobody is at work."""
    lines = call("status").output.splitlines()
    assert [line.split()[0] for line in lines[2:-2]] == [step.name for step in STEPS if step.name != "load"]
    assert all("to do" in line for line in lines[2:-2])
    assert lines[-2].endswith("none yet; run: endcap run")
    assert lines[-1].endswith("nobody")


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2017-12-04", datetime(2017, 12, 4, tzinfo=UTC)),
        ("2017-12-04T00:00:00-05:00", datetime(2017, 12, 4, 5, tzinfo=UTC)),
    ],
)
def test_instants_are_utc_unless_said_otherwise(text, instant):
    """A time without an offset is UTC, one with an offset is that instant."""
    assert Instant().convert(text, None, None) == instant


def test_wrong_instant_shows_a_right_one():
    """What is no time is refused with an example."""
    with pytest.raises(click.BadParameter, match="'yesterday' is no time; give one like 2017-12-04"):
        Instant().convert("yesterday", None, None)


ANSWER = {
    "request_id": "r",
    "user_id": "7",
    "release": "endcap-release:1",
    "items": [
        {
            "item_id": "1",
            "title": "Milk",
            "score": 0.5,
            "rank": 1,
            "sources": ["again"],
            "reason": "bought 3 times",
        },
        {
            "item_id": "2",
            "title": "Bread " * 12,
            "score": 0.25,
            "rank": 2,
            "sources": ["a", "b"],
            "reason": "new",
        },
    ],
    "degraded": ["unknown user: top sellers"],
    "latency_ms": 3.21,
    "stages_ms": {},
}


@pytest.fixture
def server():
    """A server that keeps what it was asked; user 500 makes it fail."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            self.send_response(500 if asked[-1][1]["user_id"] == "500" else 200)
            self.end_headers()
            self.wfile.write(
                json.dumps(ANSWER).encode() if asked[-1][1]["user_id"] != "500" else b"no release"
            )

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()


def test_recommend_asks_the_server_and_prints_a_table(call, server):
    """The verb posts user, k and task, and prints titles, sources, reasons, latency and what was degraded."""
    url, asked = server
    answer = call("recommend", "7", "--k", "2", "--task", "discover", "--url", url)
    assert asked == [("/recommend", {"user_id": "7", "k": 2, "task": "discover"})]
    head, milk, bread, total, degraded = answer.output.splitlines()
    assert head.split() == ["score", "title", "sources", "reason"]
    assert milk.split() == ["1", "0.500", "Milk", "again", "bought", "3", "times"]
    assert bread.split()[:2] == ["2", "0.250"]
    assert "… a, b" in bread
    assert total == "2 items from endcap-release:1 in 3.2 ms"
    assert degraded == "degraded: unknown user: top sellers"


def test_recommend_tells_a_server_error(call, server):
    """What the server says when it fails is passed on."""
    url, _ = server
    answer = call("recommend", "500", "--url", url)
    assert (answer.exit_code, answer.output) == (1, f"Error: {url} answered 500 for user '500': no release\n")


def test_recommend_without_a_server_names_the_command(call):
    """Without a server the error names the command that starts one."""
    answer = call("recommend", "7", "--url", "http://127.0.0.1:9")
    assert answer.exit_code == 1
    assert "start the server with: endcap serve" in answer.output
