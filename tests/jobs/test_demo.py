"""The demo's shopper is chosen by rule, and its server lives exactly as long as it is needed."""

import json
import sys
from datetime import UTC, date, datetime

import duckdb
import pytest
from table_files import first_part

from feature_repo.settings import Settings
from feature_repo.shop_calendar import ShopCalendar
from jobs.demo import quality_table, typical_user
from jobs.local_server import PROGRAM, local_server
from jobs.recommend import ServerError, ask, is_ready

FAKE_SERVER = """
import json, os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def do_POST(self):
        self.do_GET()
        self.wfile.write(json.dumps({"state": os.environ["ENDCAP_STATE"], "words": sys.argv[1:]}).encode())
HTTPServer(("127.0.0.1", int(sys.argv[-1])), Handler).serve_forever()
"""


@pytest.fixture
def settings(tmp_path):
    """Settings over an empty state folder with a calendar whose week 1 begins on 2 January 2017."""
    settings = Settings(state=tmp_path / "state", reports=tmp_path / "reports")
    settings.shop_calendar.parent.mkdir(parents=True)
    ShopCalendar("UTC", date(2017, 1, 2)).save(settings.shop_calendar)
    return settings


def test_typical_user_has_the_median_number_of_baskets(settings):
    """Baskets count, not lines; returns and what comes after the cut do not."""
    early, late = datetime(2017, 1, 3, tzinfo=UTC), datetime(2017, 1, 9, tzinfo=UTC)
    rows = [
        *(("few", "a", early, 1.0), ("few", "a", early, 2.0), ("few", "r", early, -1.0)),
        *(("middle", "b", early, 1.0), ("middle", "c", early, 1.0)),
        *(("many", "d", early, 1.0), ("many", "e", early, 1.0), ("many", "f", early, 1.0)),
        *(("few", name, late, 1.0) for name in "uvwxyz"),
    ]
    con = duckdb.connect()
    con.execute("create table t (user_id text, basket_id text, event_timestamp timestamptz, quantity double)")
    con.executemany("insert into t values (?, ?, ?, ?)", rows)
    con.execute(f"copy t to '{first_part(settings, 'transactions')}' (format parquet)")
    assert typical_user(settings, cut=1) == ("middle", 2)
    assert typical_user(settings, cut=2) == ("many", 3)
    with pytest.raises(ValueError, match=r"No purchases before 2016-12-26 \(cut -1\)"):
        typical_user(settings, cut=-1)


def test_missing_quality_report_names_the_command(settings):
    """Without figures of the cut, though there are some of another, the error says what makes them."""
    settings.reports.mkdir(parents=True, exist_ok=True)
    (settings.reports / "quality.json").write_text('[{"cut": 45}]')
    with pytest.raises(FileNotFoundError, match="run `endcap evaluate --cut 49`"):
        quality_table(settings, 49)


def test_server_lives_in_the_block(settings, tmp_path):
    """The server is ready inside the block, has the same state folder, and is gone after it."""
    (tmp_path / "server.py").write_text(FAKE_SERVER)
    with local_server(settings, program=(sys.executable, str(tmp_path / "server.py"))) as server:
        answer = ask(server.url, "1")
        assert answer["state"] == str(settings.state)
        assert answer["words"][:2] == ["--host", "127.0.0.1"]
    assert PROGRAM[-2:] == ("--with-parent", "serve")  # what is started otherwise
    assert not is_ready(server.url)


def test_server_that_fails_shows_its_log(settings):
    """A server that ends at once is told with its exit code and the end of its log."""
    program = (sys.executable, "-c", f"print({json.dumps('no release')}); raise SystemExit(5)")
    with (
        pytest.raises(ServerError, match=r"(?s)ended with code 5; the end of .*serve\.log:\n    no release"),
        local_server(settings, program=program),
    ):
        pass


def test_server_that_never_gets_ready_is_ended(settings):
    """A server that does not answer in time is stopped and told as such."""
    program = (sys.executable, "-c", "import time; time.sleep(60)")
    with (
        pytest.raises(ServerError, match="was not ready after 0 s"),
        local_server(settings, program=program, start_s=0.3),
    ):
        pass
