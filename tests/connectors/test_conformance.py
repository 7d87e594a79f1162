"""The policy every connector keeps, shown over real HTTP for each case of `conformance.CASES`."""

from __future__ import annotations

import datetime as dt
import email.utils
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from connectors.base import (
    BudgetSpent,
    PagingError,
    SourceError,
    SourceRefused,
    SourceUnavailable,
    _retry_after_seconds,
)
from connectors.contract import contract
from ops.settings import PROJECT
from ops.sources import read_sources

from .conformance import CASES, Case, Pulled, Wire, named, pull, served, taste, wired

HTML = b"<html><head><title>Request Rejected</title></head><body>Your support ID is: 42</body></html>"


#: What follows from HTTP alone is shown once for each source, not for each way of paging.
each_source = pytest.mark.parametrize(
    "case", list({c.code: c for c in reversed(CASES)}.values()), ids=named, indirect=True, scope="session"
)


@pytest.fixture(params=CASES, ids=named, scope="session")
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.fixture(scope="session")
def url(case: Case, request: pytest.FixtureRequest) -> Iterator[str]:
    with served(case, request) as base_url:
        yield base_url


@pytest.fixture
def wire(case: Case, url: str) -> Iterator[Wire]:
    with wired(url, case.rows) as running:
        yield running


@pytest.fixture(scope="session")
def whole(case: Case, url: str) -> Pulled:
    """The whole interval, pulled once."""
    return pull(case.connect(url), case.interval)


def failure(kind: type[SourceError], case: Case, wire: Wire, base_url: str = "", **options: Any) -> str:
    """The message of a pull that must fail; whatever it is, it quotes nothing that may name a person."""
    with pytest.raises(kind) as caught:
        taste(case.connect(base_url or wire.url, **options), case.interval)
    said = str(caught.value)
    assert case.code in said
    # A chained exception of requests would print the query string into the task's log.
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    quoted = [case.secret, options.get("secret", case.secret)]
    for call in wire.seen:
        quoted += [call.target.partition("?")[2], call.headers.get("Authorization", ""), call.body.decode()]
    for text in filter(None, quoted):
        assert text.removeprefix("Bearer ") not in said
    assert "?" not in said
    return said


# --- what a pull gives ------------------------------------------------------------------------------


def test_no_connector_is_left_out() -> None:
    mine = {case.source.connector for case in CASES}
    # Files in a folder are no HTTP: tests/connectors/test_file_drop.py holds them to the same promises.
    others = {"connectors.file_drop:FileDrop"}
    assert {s.connector for s in read_sources(PROJECT / "ops" / "sources.yml").values()} == mine | others


def test_every_record_announced_is_landed_rejected_or_a_duplicate(case: Case, whole: Pulled) -> None:
    assert set(whole.report.counts) == set(case.connector.tables)
    assert sum(t.num_rows for t in whole.tables.values()) > 0
    for table, count in whole.report.counts.items():
        landed = whole.tables[table].num_rows if table in whole.tables else 0
        assert count.rejected == sum(1 for r in whole.rejects if r.table == table)
        if count.announced is not None:
            assert count.announced == landed + count.rejected + count.duplicates, table


def test_announced_numbers_are_recorded_before_and_after_or_unknown(case: Case, whole: Pulled) -> None:
    windows = [w for w in whole.report.windows if "received" in w]
    assert windows
    counted = [w for w in windows if w["announced_after"] is not None]
    assert counted if case.announces else len(counted) < len(windows)
    for window in counted:
        assert window["announced_before"] == window["announced_after"] == window["received"]


def test_no_record_stands_twice(whole: Pulled) -> None:
    for table, rows in whole.tables.items():
        keys = list(zip(*(rows.column(k).to_pylist() for k in contract(table).key), strict=True))
        assert len(keys) == len(set(keys)), table


def test_every_batch_satisfies_the_schema_of_its_contract(case: Case, whole: Pulled) -> None:
    for table, rows in whole.tables.items():
        known = contract(table)
        assert rows.schema.equals(known.clear_schema, check_metadata=True)
        assert set(rows.column("source_code").to_pylist()) <= {case.code}
        for column in known.columns:
            if column.required:
                assert rows.column(column.name).null_count == 0


def test_rejects_are_within_what_the_contract_allows(whole: Pulled) -> None:
    for table, count in whole.report.counts.items():
        received = count.rejected + (whole.tables[table].num_rows if table in whole.tables else 0)
        assert count.rejected <= received * contract(table).reject_share


def test_pulling_again_gives_the_same(case: Case, url: str, whole: Pulled) -> None:
    again = pull(case.connect(url), case.interval, chunks=10)
    assert again.tables
    for table, rows in again.tables.items():
        assert whole.tables[table].slice(0, rows.num_rows).equals(rows), table


def test_smaller_pages_give_the_same(case: Case, url: str, wire: Wire, whole: Pulled) -> None:
    if not case.announces:
        pytest.skip("told apart by its announcing twin")
    connector = case.connect(wire.url, page_size=7 if "page_size" in case.options else 150)
    some = taste(connector, case.interval)
    for table, rows in some.tables.items():
        assert whole.tables[table].slice(0, rows.num_rows).equals(rows), table


def test_lists_are_read_to_an_empty_page_or_the_last_cursor(case: Case, wire: Wire) -> None:
    taste(case.connect(wire.url), case.interval)
    for part in case.lists:
        assert len([c for c in wire.seen if part in c.target]) >= 2


# --- pages lost and repeated ------------------------------------------------------------------------


@pytest.mark.parametrize("spoil", ["lose", "repeat"])
def test_a_page_spoiled_for_a_moment_is_read_again(case: Case, wire: Wire, spoil: str, whole: Pulled) -> None:
    if spoil == "lose" and not case.announces:
        pytest.skip("a source that announces nothing cannot be caught losing a row")
    for part in case.lists:
        wire.fault(1, on=part, spoil=spoil)
    some = taste(case.connect(wire.url), case.interval)
    assert len([n for n in some.report.notes if "attempt 1" in n]) == len(case.lists)
    for table, rows in some.tables.items():
        assert whole.tables[table].slice(0, rows.num_rows).equals(rows), table


@pytest.mark.parametrize("spoil", ["lose", "repeat"])
def test_a_page_spoiled_again_and_again_is_an_error(case: Case, url: str, spoil: str) -> None:
    if spoil == "lose" and not case.announces:
        pytest.skip("a source that announces nothing cannot be caught losing a row")
    for part in case.lists:
        with wired(url, case.rows) as wire:
            wire.fault(on=part, spoil=spoil)
            said = failure(PagingError, case, wire)
            assert "two readings" in said
            assert "nothing was landed" in said


# --- a source in trouble ----------------------------------------------------------------------------


@each_source
def test_every_call_has_a_timeout_and_verifies_tls(
    case: Case, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[tuple[Any, Any]] = []
    send = requests.adapters.HTTPAdapter.send

    def watched(self: Any, *args: Any, **words: Any) -> requests.Response:
        kept.append((words["timeout"], words["verify"]))
        return send(self, *args, **words)

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", watched)
    taste(case.connect(url), case.interval)
    assert set(kept) == {((case.connector.connect_timeout, case.connector.read_timeout), True)}


@each_source
def test_a_source_that_never_answers_is_given_up(case: Case, wire: Wire) -> None:
    wire.fault(hang=30)  # then it would answer well, so that a connector without timeouts fails this test
    said = failure(SourceUnavailable, case, wire, policy={"read_timeout": 0.5, "attempts": 2})
    assert "2 times in a row" in said


@each_source
def test_nobody_at_the_address_is_a_clear_message(case: Case, wire: Wire, free_address: str) -> None:
    said = failure(SourceUnavailable, case, wire, free_address, policy={"attempts": 2})
    assert "no answer (ConnectionError)" in said
    assert free_address.removeprefix("http://") in said


@each_source
@pytest.mark.parametrize(
    "trouble",
    [
        {"status": 503}, {"status": 429, "headers": {"Retry-After": "0"}}, {"status": 500, "body": b""},
        {"status": 200, "headers": {"Content-Type": "text/html"}, "body": HTML},
        {"status": 200, "body": HTML}, {"status": 403, "headers": {"Content-Type": "text/html"}, "body": HTML},
        {"status": 200, "body": b'{"cut'}, {"cut": True},
    ],
    ids=["503", "429", "500", "html", "html called json", "html 403", "half json", "cut body"],
)  # fmt: skip
def test_trouble_that_passes_is_ridden_out_and_trouble_that_stays_is_not(
    case: Case, url: str, wire: Wire, trouble: dict[str, Any]
) -> None:
    wire.fault(case.connector.attempts - 1, **trouble)
    assert taste(case.connect(wire.url), case.interval).report.retries == case.connector.attempts - 1
    with wired(url, case.rows) as staying:
        staying.fault(**trouble)
        said = failure(SourceUnavailable, case, staying)
        assert len(staying.seen) == case.connector.attempts
    assert ("HTML" in said) is ("html" in str(trouble))
    assert "support" not in said


@each_source
def test_retry_after_is_waited_for(case: Case, wire: Wire) -> None:
    wire.fault(1, status=429, headers={"Retry-After": "1"})
    taste(case.connect(wire.url), case.interval)
    assert wire.seen[1].at - wire.seen[0].at >= 1
    assert wire.seen[1].path == wire.seen[0].path


@each_source
def test_a_pause_longer_than_a_task_may_wait_ends_the_task(case: Case, wire: Wire) -> None:
    wire.fault(status=429, headers={"Retry-After": "100000"})
    assert "100000 s" in failure(SourceUnavailable, case, wire)
    assert len(wire.seen) == 1


def test_retry_after_in_both_forms_and_in_none() -> None:
    assert _retry_after_seconds(None) is _retry_after_seconds("soon") is _retry_after_seconds("²") is None
    assert _retry_after_seconds(" 7 ") == 7
    later = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=3600)
    for text in (email.utils.format_datetime(later, usegmt=True), f"{later:%a, %d %b %Y %H:%M:%S} -0000"):
        assert 3500 < (_retry_after_seconds(text) or 0) < 3700
    assert _retry_after_seconds("Wed, 21 Oct 2015 07:28:00 GMT") == 0


@each_source
def test_a_refusal_is_not_repeated(case: Case, wire: Wire) -> None:
    wire.fault(status=400)
    assert "HTTP 400" in failure(SourceRefused, case, wire)
    assert len(wire.seen) == 1


@each_source
def test_another_shape_is_called_so(case: Case, wire: Wire) -> None:
    for body in (b"[]", b"null", b'"text"', b"7", b'{"message":"xin ch\xc3\xa0o"}'):
        wire.faults.clear()
        wire.fault(status=200, body=body, signed_only=case.signs_in)
        failure(SourceError, case, wire)


@each_source
def test_the_budget_of_calls_is_kept(case: Case, wire: Wire) -> None:
    said = failure(BudgetSpent, case, wire, max_calls=3)
    assert "budget of 3 calls" in said
    assert len(wire.seen) == 3
    wire.seen.clear()
    wire.fault(status=503)
    failure(BudgetSpent, case, wire, max_calls=2)  # a repeated call spends as well
    assert len(wire.seen) == 2


@each_source
def test_calls_under_way_never_exceed_the_setting(case: Case, url: str) -> None:
    for most in (1, 3):
        with wired(url, case.rows) as wire:
            wire.delay = 0.01
            taste(case.connect(wire.url, concurrency=most), case.interval)
            assert wire.peak <= most


@each_source
def test_the_pace_asked_for_is_kept(case: Case, wire: Wire) -> None:
    failure(BudgetSpent, case, wire, min_delay=0.2, max_calls=4)
    # The whole of it: a call that a busy machine held up on its way stands nearer to the next one.
    assert len(wire.seen) == 4
    assert wire.seen[-1].at - wire.seen[0].at > 0.45


# --- signing in -------------------------------------------------------------------------------------


def needs_sign_in(case: Case) -> None:
    if not case.signs_in:
        pytest.skip("this source needs no token")


@each_source
def test_an_expired_token_is_renewed_once_for_all_calls(case: Case, wire: Wire) -> None:
    needs_sign_in(case)
    connector = case.connect(wire.url, concurrency=3)
    taste(connector, case.interval)
    assert len(wire.sign_ins()) == 1
    wire.expire()
    wire.delay = 0.01
    taste(connector, case.interval)
    assert len(wire.sign_ins()) == 2


@each_source
def test_a_token_refused_again_is_an_error(case: Case, wire: Wire) -> None:
    needs_sign_in(case)
    wire.fault(status=401, signed_only=True)
    assert "secret" in failure(SourceRefused, case, wire)
    assert len(wire.sign_ins()) == 2


@each_source
def test_a_wrong_secret_is_refused_without_a_second_try(case: Case, wire: Wire) -> None:
    needs_sign_in(case)
    failure(SourceRefused, case, wire, secret="not-the-secret-at-all")
    assert len(wire.seen) == 1


# --- redirects and TLS ------------------------------------------------------------------------------


@pytest.fixture
def free_address() -> str:
    with wired(None) as gone:
        return gone.url


@each_source
def test_a_redirect_to_another_host_is_refused(case: Case, wire: Wire) -> None:
    with wired(None) as elsewhere:
        for target in (elsewhere.url + "/x", elsewhere.url.replace("http://", "//") + "/x",
                       elsewhere.url.replace("127.0.0.1", "localhost"), "https" + wire.url.removeprefix("http"),
                       "http://ai:matkhau@example.invalid/"):  # fmt: skip
            wire.faults.clear()
            wire.fault(status=302, headers={"Location": target}, signed_only=case.signs_in)
            said = failure(SourceRefused, case, wire)
            assert "redirects" in said
            assert "matkhau" not in said
        assert elsewhere.seen == []
    wire.faults.clear()
    wire.fault(status=302, headers={"Location": "http://["}, signed_only=case.signs_in)
    failure(SourceRefused, case, wire)


@each_source
def test_an_address_that_is_none_is_refused_clearly(case: Case, wire: Wire) -> None:
    for address in ("http://[", "may-chu-khong-co-giao-thuc", "http://"):
        assert "Airflow connection" in failure(SourceRefused, case, wire, address)


@each_source
def test_a_redirect_within_the_host_is_followed_but_not_in_a_circle(case: Case, wire: Wire) -> None:
    wire.fault(2, status=307, headers={"Location": "{target}"})
    taste(case.connect(wire.url), case.interval)
    wire.fault(status=307, headers={"Location": "{target}"})
    assert "circle" in failure(SourceRefused, case, wire)


@each_source
def test_a_certificate_nobody_vouches_for_is_refused(case: Case, self_signed: str, wire: Wire) -> None:
    said = failure(SourceRefused, case, wire, self_signed)
    assert "TLS certificate could not be verified" in said
    assert "never switched off" in said


@pytest.fixture(scope="session")
def self_signed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a real HTTPS server with a certificate of its own making."""
    folder: Path = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    pem = folder / "both.pem"
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                          serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )  # fmt: skip
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"https://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
