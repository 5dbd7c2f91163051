"""The arithmetic of the benchmark: medians, ratios within a round, and verdicts."""

import json
from pathlib import Path
from uuid import UUID

import pytest

from app.domain.token_format import SCOPED_TOKEN, format_credential
from bench import report
from bench.load import Sample
from bench.messages import LEGACY, MODERN, make_listen, make_requests
from bench.more import memory
from bench.more.issuing import Issuing
from bench.more.memory import Grown, Reading
from bench.processes import divide_cores
from bench.rounds import Measured
from bench.systems import AIOHTTP, DIRECT, MIRROR, RAW
from bench.targets import Figure, at_least, at_most, figures_table

_SYSTEMS = (DIRECT, RAW, AIOHTTP, MIRROR)


def _measured(
    system: str, callers: int, rate: float, latency_ms: float, error: str | None = None
) -> Measured:
    sample = Sample(callers, seconds=2.0, calls=int(rate * 2), all_calls=int(rate * 2) + callers)
    sample.latencies = [latency_ms] * 99 + [latency_ms * 10]
    if error is not None:
        sample.errors[error] += 1
    records = system == MIRROR
    return Measured(system, sample, cpu=100.0, database_cpu=50.0 if records else None)


def _round(rates: tuple[int, int, int, int], error: str | None = None) -> list[Measured]:
    return [
        _measured(system, callers, rate, 1000 * callers / rate, error if system == MIRROR else None)
        for callers in (1, 64)
        for system, rate in zip(_SYSTEMS, rates, strict=True)
    ]


ROUNDS = [
    _round((8000, 4000, 1000, 500)),
    # A slow round, in which everything took ten times as long.
    _round((800, 400, 100, 60)),
    _round((8000, 4000, 1000, 700), error="HTTP/1.1 503"),
]


def _line(system: str, callers: int) -> report.Summary:
    return next(
        line for line in report.summarize(ROUNDS) if line.system == system and line.callers == callers
    )


def test_a_figure_is_the_median_of_the_rounds() -> None:
    line = _line(MIRROR, 64)

    assert (line.rate, line.p50, line.p99) == (500, 128, 1280)
    assert (line.cpu, line.database_cpu) == (100, 50)
    assert line.calls == 2 * (500 + 60 + 700)
    assert _line(RAW, 64).database_cpu is None


def test_a_ratio_is_taken_within_each_round_so_that_a_bad_spell_harms_both() -> None:
    assert _line(MIRROR, 64).to_aiohttp == pytest.approx(0.6)
    assert _line(MIRROR, 64).to_raw == pytest.approx(0.15)
    assert _line(MIRROR, 64).to_direct == pytest.approx(0.075)
    assert report.ratio(ROUNDS, MIRROR, AIOHTTP, 1) == pytest.approx(0.6)


def test_added_latency_is_over_the_direct_call_with_as_many_callers() -> None:
    assert _line(MIRROR, 1).added_p50 == pytest.approx(1000 / 500 - 1000 / 8000)


def test_errors_under_load_name_their_system_and_load() -> None:
    report_step = report.errors(ROUNDS)

    assert [line.partition(": {")[0] for line in report_step] == [
        f"ERRORS: {MIRROR} at 1",
        f"ERRORS: {MIRROR} at 64",
    ]
    assert "HTTP/1.1 503" in report_step[0]


def test_the_calls_are_held_against_their_targets_at_the_loads_that_these_name() -> None:
    throughput, added = report.key_figures(report.summarize(ROUNDS))

    assert throughput.what == f"throughput, 64 callers: {MIRROR}"
    assert throughput.value == pytest.approx(0.6)
    assert added.what == f"added p50, 1 caller: {MIRROR}"
    assert added.value == pytest.approx(1.875)
    assert (throughput.verdict, added.verdict) == ("missed", "missed")


@pytest.mark.parametrize(
    ("figure", "verdict"),
    [
        (Figure("", 1.0, "x", at_least(1.0)), "met"),
        (Figure("", 0.99, "x", at_least(1.0)), "missed"),
        (Figure("", 1.0, "ms", at_most(1.0)), "met"),
        (Figure("", 1.01, "ms", at_most(1.0)), "missed"),
        (Figure("", float("nan"), "ms", at_most(1.0)), "missed"),
        (Figure("", 9.0, "x", at_least(1.0), exempt_reason="two cores"), "not judged"),
        (Figure("", 9.0, "x"), ""),
    ],
)
def test_a_figure_is_judged_by_its_target_or_says_why_not(figure: Figure, verdict: str) -> None:
    assert figure.verdict == verdict
    assert figures_table([figure]).splitlines()[-1].find(verdict) >= 0


def test_the_file_of_results_is_json_and_has_every_line_and_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "RESULTS", tmp_path / "results")
    found = report.summarize(ROUNDS)

    path = report.write("latest", {"rounds": 3}, found, [Figure("a", float("nan"), "ms", at_most(2.0))])

    document = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert [one["system"] for one in document["results"]] == [*_SYSTEMS, *_SYSTEMS]
    assert document["figures"] == [
        {"what": "a", "value": None, "unit": "ms", "target": "≤ 2", "verdict": "missed", "detail": ""}
    ]


@pytest.mark.parametrize(
    ("allowed", "system", "rest", "pair", "others"),
    [
        ({0}, 0, 0, {0}, {0}),
        ({0, 1}, 0, 1, {0, 1}, {1}),
        ({2, 3, 5, 7}, 2, 3, {2, 5}, {3, 7}),
    ],
)
def test_with_four_cores_two_workers_have_two_to_themselves(
    allowed: set[int], system: int, rest: int, pair: set[int], others: set[int]
) -> None:
    cores = divide_cores(allowed)

    assert (cores.system, cores.rest) == (system, rest)
    assert (set(cores.pair), set(cores.others)) == (pair, others)


@pytest.mark.parametrize("version", [MODERN, LEGACY])
def test_a_request_says_its_true_length_and_takes_turns_with_the_tokens(version: str) -> None:
    requests = make_requests("host", "/mcp", "echo", version, ["first", "second"])

    for number, token in ((4, b"first"), (5, b"second")):
        head, _, body = requests.wire(number).partition(b"\r\n\r\n")
        assert b"Bearer " + token in head
        assert b"Content-Length: %d" % len(body) in head
        assert json.loads(body)["params"]["arguments"] == {"text": f"t{number:09}"}


def test_the_answer_to_another_request_does_not_count() -> None:
    requests = make_requests("host", "/mcp", "echo", MODERN, ["token"])
    result = {"content": [{"type": "text", "text": "echo t000000007"}]}
    body = json.dumps({"jsonrpc": "2.0", "id": "b000000007", "result": result}).encode()

    assert requests.is_right(7, b"HTTP/1.1 200 OK\r\n\r\n" + body)
    assert requests.is_exactly_right(7, b"HTTP/1.1 200 OK", body)
    assert not requests.is_right(8, b"HTTP/1.1 200 OK\r\n\r\n" + body)
    assert not requests.is_exactly_right(8, b"HTTP/1.1 200 OK", body)
    assert not requests.is_right(7, b"HTTP/1.1 403 Forbidden\r\n\r\n" + body)


def test_a_stream_is_asked_for_with_its_true_length() -> None:
    head, _, body = make_listen("host", "/mcp/bench", "token").partition(b"\r\n\r\n")

    assert b"Content-Length: %d" % len(body) in head
    assert json.loads(body)["method"] == "subscriptions/listen"


def test_the_memory_of_a_token_is_what_it_adds_and_growth_is_counted_from_when_all_are_in_use() -> None:
    grown = Grown(
        base=Reading(100 * 2**20, files=50),
        with_tokens=Reading(102 * 2**20, files=80),
        after=Reading(int(102 * 2**20 * 1.05), files=85),
        calls=9_000,
        failed=2,
    )

    each, whole, growth, failed, files = memory.figures(grown, tokens=1024, seconds=60)

    assert (each.value, each.verdict) == (2.0, "met")
    assert whole.value == pytest.approx(102)
    assert growth.value == pytest.approx(5)
    assert growth.verdict == "missed"
    assert (failed.value, failed.verdict) == (2, "missed")
    assert (files.value, files.verdict) == (5, "met")


def test_each_request_to_issue_a_token_has_a_name_of_its_own_and_its_answer_must_have_it_too() -> None:
    issuing = Issuing("host", "bearer", [UUID(int=1), UUID(int=2)], UUID(int=3))
    head, _, body = issuing.wire(12).partition(b"\r\n\r\n")
    secret = format_credential(SCOPED_TOKEN, UUID(int=4), bytes(32))
    answer = {"secret": secret, "token": {"name": json.loads(body)["name"]}}
    wire = json.dumps(answer, separators=(",", ":")).encode()

    assert b"Content-Length: %d" % len(body) in head
    assert issuing.is_right(12, b"HTTP/1.1 201 Created\r\n\r\n" + wire)
    assert issuing.is_exactly_right(12, b"HTTP/1.1 201 Created", wire)
    assert not issuing.is_right(13, b"HTTP/1.1 201 Created\r\n\r\n" + wire)
    assert not issuing.is_exactly_right(12, b"HTTP/1.1 201 Created", wire.replace(secret.encode(), b"null"))
