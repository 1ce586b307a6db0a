"""What is read out of a process's own endpoints."""

import pytest

from libs.common.metrics import Metrics
from libs.common.service import Health, serve_http
from tools.demo.scrape import read_answers, scrape

METRICS = """\
# HELP python_info about
python_info{version="3"} 1.0
process_resident_memory_bytes 1.2e+08
ballast_price_frame_accepted_seconds_bucket{le="0.01"} 50.0
ballast_price_frame_accepted_seconds_bucket{le="0.1"} 100.0
ballast_price_frame_accepted_seconds_bucket{le="+Inf"} 100.0
ballast_price_other_seconds_bucket{le="0.01"} 900.0
ballast_price_other_seconds_bucket{le="+Inf"} 900.0
ballast_price_clock_held_seconds_total{reason="risk_behind"} 2.5
ballast_log_lag_records{partition="0"} 3.0
ballast_log_lag_records{partition="1"} 7.0
"""


def test_figures_are_read_where_they_are() -> None:
    found = read_answers("price_ingestion", status=200, ready="", metrics=METRICS)
    row = found.row
    assert (row.is_ready, row.lag, row.measure, row.memory_mb) == (True, 7, "frame accepted", 120.0)
    assert row.p50_ms == pytest.approx(10)
    assert row.p99_ms == pytest.approx(98.2)
    assert found.held_seconds == {"risk_behind": 2.5}


def test_latency_is_of_what_came_since_an_earlier_answer() -> None:
    since = {0.01: 50.0, 0.1: 98.0, float("inf"): 98.0}
    row = read_answers("price_ingestion", status=200, ready="", metrics=METRICS, since=since).row
    assert row.p50_ms == pytest.approx(55)
    another_process = {0.01: 51.0, 0.1: 60.0, float("inf"): 60.0}
    row = read_answers("price_ingestion", status=200, ready="", metrics=METRICS, since=another_process).row
    assert row.p50_ms == pytest.approx(10)


def test_a_service_nobody_listed_shows_its_busiest_histogram() -> None:
    assert read_answers("another", status=200, ready="", metrics=METRICS).row.measure == "other"


def test_absent_figures_stay_unknown() -> None:
    row = read_answers("north", status=200, ready="", metrics="").row
    assert (row.lag, row.p50_ms, row.p99_ms, row.memory_mb, row.measure) == (None, None, None, None, "")


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        ('{"ready": false, "unmet": [{"condition": "journal", "detail": "3 behind"}]}', "journal 3 behind"),
        ('{"unmet": ["session_up", "replay_watched"]}', "session_up, replay_watched"),
        ("busy", "busy"),
    ],
)
def test_an_unready_process_says_why(answer: str, detail: str) -> None:
    row = read_answers("north", status=503, ready=answer, metrics="").row
    assert (row.is_ready, row.detail) == (False, detail)


async def test_a_real_process_is_read_over_http() -> None:
    health, metrics = Health(), Metrics()
    health.started.set(True)
    metrics.histogram("ballast_risk_sweep_seconds", "Sweep.").observe(0.004)
    server = serve_http(health, metrics, host="127.0.0.1", port=0)
    try:
        row = (await scrape("risk_evaluation", f"http://127.0.0.1:{server.server_port}")).row
        assert (row.is_ready, row.measure) == (True, "sweep")
        assert row.p99_ms is not None
        assert 2.5 <= row.p99_ms <= 5
    finally:
        server.shutdown()
        server.server_close()


async def test_a_process_that_is_away_is_not_ready() -> None:
    assert (await scrape("north", "http://127.0.0.1:1")).row.is_ready is False
