"""The audit: what changes, moves, adds or cuts is found; the copy comes before the answer; who looked is told."""

from __future__ import annotations

import datetime as dt
import json
import os
import pwd
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ops.settings import PROJECT
from tests.conftest import start_vault, stop, unguarded
from tests.vault.test_purposes import RECORD, agree, landed, pair
from tests.vault.test_sealing import PERSON, batch
from vault.audit import COPY, Alarm, Asking, AuditCut, AuditTrouble, Entry, Verdict
from vault.client import VaultClient, VaultRefused
from vault.keys import FileKeys
from vault.store import Setup, Store

TOKEN = "id1_" + "0" * 32


def entry(number: int, **changes: Any) -> Entry:
    given: dict[str, Any] = {
        "action": "reveal",
        "who": f"H58-{number:04d}",
        "outcome": "disclosed",
        "subject": TOKEN,
    }
    return Entry(**given | changes)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


@pytest.fixture(scope="module")
def emptied(server: Any, folder: Path) -> SimpleNamespace:
    """A store with a copy, and how to begin anew with it."""
    url = server.new_database()
    keys = FileKeys(folder / "keys", create=True)
    copy = folder / "copy"
    copy.mkdir()
    return SimpleNamespace(
        url=url, keys=keys, copy=copy, with_copy=Store(Setup(url, keys, audit_copy=copy)),
        without=Store(Setup(url, keys)),
    )  # fmt: skip


def begin(place: SimpleNamespace, entries: int, copied: bool = True) -> Store:
    """The store with a chain of so many entries, and nothing else."""
    with unguarded(place.url) as connection:
        connection.execute("delete from audit")
        connection.execute("delete from meta where name = 'audit_head'")
    (place.copy / COPY).unlink(missing_ok=True)
    store = place.with_copy if copied else place.without
    if entries:
        store.audit.record(*(entry(n) for n in range(1, entries + 1)))
    return store


def tamper(place: SimpleNamespace, *statements: str) -> None:
    with unguarded(place.url) as connection:
        for statement in statements:
            connection.execute(statement)  # type: ignore[call-overload]


MOVES = {
    "another person": (["update audit set subject = '' where number = 4"], "entry 4 was changed"),
    "another officer": (["update audit set who = 'H58-0001' where number = 4"], "entry 4 was changed"),
    "another time": (["update audit set at = at - interval '1 second' where number = 4"], "entry 4 was changed"),
    "another hash": (["update audit set hash = 'ô' where number = 4"], "entry 4 was changed"),
    "one missing": (["delete from audit where number = 4"], "entry 4 is missing: after 3 comes 5"),
    "two missing": (["delete from audit where number in (4, 5)"], "entries 4 to 5 are missing: after 3 comes 6"),
    "the first missing": (["delete from audit where number = 1"], "entry 1 is missing: after 0 comes 2"),
    "one missing, numbers closed up": (
        ["delete from audit where number = 4", "update audit set number = number - 1 where number > 4"],
        "entry 4 was changed",
    ),
    "two exchanged": (
        ["update audit set number = 40 where number = 4", "update audit set number = 4 where number = 5",
         "update audit set number = 5 where number = 40"],
        "entry 4 was changed",
    ),
    "one added": (
        [
            "insert into audit select 9, at, action, who, agency, purpose, basis, asked, subject, source_code, "
            "dossier_id, outcome, note, reason, request_id, hash, hash from audit where number = 8"
        ],
        "entry 9 was changed or is none of the vault's",
    ),
    "one put before the first": (
        [
            "insert into audit select -9, at, action, who, agency, purpose, basis, asked, subject, source_code, "
            "dossier_id, outcome, note, reason, request_id, hash, hash from audit where number = 8"
        ],
        "entry -9 was changed or is none of the vault's",
    ),
    "the end cut off": (
        ["delete from audit where number > 6"], "the end was cut off: the database notes entries up to 8",
    ),
    "all cut off": (["delete from audit"], "the end was cut off: the database notes entries up to 8"),
    "the end and its note": (
        ["delete from audit where number > 6", "delete from meta where name = 'audit_head'"],
        "note of the last entry is gone",
    ),
    "the note forged": (
        ["update meta set value = '8 ' || repeat('0', 129) where name = 'audit_head'"], "gone or forged",
    ),
}  # fmt: skip


@pytest.mark.parametrize("copied", [False, True])
@pytest.mark.parametrize("move", MOVES)
def test_what_was_done_to_the_database_is_told(emptied, move, copied):
    store = begin(emptied, 8, copied)
    assert store.audit.verify().trouble is None
    statements, said = MOVES[move]
    tamper(emptied, *statements)
    found = store.audit.verify()
    assert said in str(found.trouble)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(st.text(st.characters(exclude_categories=("Cs",)), max_size=40), min_size=3, max_size=3),
    column=st.sampled_from(["action", "who", "agency", "purpose", "basis", "asked", "dossier_id", "note", "outcome"]),
    number=st.integers(1, 3), change=st.text("abc0", min_size=1, max_size=3),
)  # fmt: skip
def test_any_text_is_kept_whole_and_any_change_of_it_is_found(emptied, texts, column, number, change):
    store = begin(emptied, 0, copied=False)
    store.audit.record(*(entry(n, note=t, reason=t, basis=t) for n, t in enumerate(texts)))
    assert store.audit.verify() == Verdict(3, None, None)
    rows = store._do(lambda cursor: store.audit.about(cursor, TOKEN, []))
    kept = [t.replace("\0", "") for t in texts]
    assert [(r["note"], r["basis"]) for r in rows] == [(t, t) for t in kept]
    assert [r["reason"] for r in rows] == texts
    with unguarded(emptied.url) as connection:
        connection.execute(
            f"update audit set {column} = {column} || %s where number = %s",
            (change, number),  # type: ignore[call-overload]
        )
    assert f"entry {number} was changed" in str(store.audit.verify().trouble)
    told = store._do(lambda cursor: store.audit.about(cursor, TOKEN, []))
    assert [r["number"] for r in told if "its hash does not fit" in r["note"]] == [number]


def test_an_end_that_was_cut_off_stays_told_after_more_entries(emptied):
    store = begin(emptied, 8, copied=False)
    tamper(emptied, "delete from audit where number > 6")
    store.audit.record(entry(9))
    assert "entries 7 to 8 are missing: after 6 comes 9" in str(store.audit.verify().trouble)


@pytest.mark.parametrize(
    "statement",
    [
        "update audit set who = 'x'",
        "delete from audit",
        "truncate audit",
        "delete from audit where number = 2",
    ],
)
def test_the_database_refuses_changes(emptied, statement):
    begin(emptied, 2)
    with (
        psycopg.connect(emptied.url) as connection,
        pytest.raises(psycopg.errors.RaiseException, match="append-only"),
    ):
        connection.execute(statement)


def test_two_writers_at_once_keep_one_chain(emptied):
    first = begin(emptied, 0)
    second = Store(Setup(emptied.url, emptied.keys, audit_copy=emptied.copy))

    def write(store: Store) -> None:
        for n in range(15):
            store.audit.record(entry(n), entry(n))

    threads = [threading.Thread(target=write, args=(s,)) for s in (first, second, first)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = first.audit.verify()
    assert (found.entries, found.copied, found.trouble) == (90, 90, None)


# --- the copy -----------------------------------------------------------------------------------------


def lines(place: SimpleNamespace) -> list[str]:
    return (place.copy / COPY).read_text().splitlines()


COPY_MOVES: dict[str, tuple[Callable[[list[str]], list[str]], str]] = {
    "a line changed": (
        lambda held: [*held[:3], held[3].replace("H58-0004", "H58-0001"), *held[4:]], "entry 4 was changed",
    ),
    "a line missing": (lambda held: [*held[:3], *held[4:]], "entry 4 is missing"),
    "lines exchanged": (lambda held: [*held[:3], held[4], held[3], *held[5:]], "entry 4 is missing"),
    "a line spoilt": (lambda held: [*held[:3], held[3][:20], *held[4:]], "entry 4 is missing"),
    "a field added": (lambda held: [*held[:3], held[3].replace("{", '{"x":"",'), *held[4:]], "entry 4 is missing"),
    "a line of nobody's": (
        lambda held: [*held, held[-1].replace('"number":8', '"number":9')], "entry 9 was changed or is none"
    ),
}  # fmt: skip


@pytest.mark.parametrize("move", COPY_MOVES)
def test_what_was_done_to_the_copy_is_told(emptied, move):
    store = begin(emptied, 8)
    change, said = COPY_MOVES[move]
    (emptied.copy / COPY).write_text("\n".join(change(lines(emptied))) + "\n")
    assert said in str(store.audit.verify().trouble)


def test_a_copy_cut_short_is_told_unless_it_is_of_this_minute(emptied):
    store = begin(emptied, 0)
    now = dt.datetime.now(dt.UTC)
    store.audit.record(*(entry(n, at=now - dt.timedelta(hours=1)) for n in range(8)))
    held = lines(emptied)
    (emptied.copy / COPY).write_text("\n".join(held[:6]) + "\n")
    assert f"{emptied.copy / COPY} ends at entry 6" in str(store.audit.verify().trouble)
    # Nothing is lost by it: the database has them still.
    store.audit.copied()
    assert lines(emptied) == held
    assert store.audit.verify().trouble is None


def test_what_a_crash_left_is_finished_by_the_next_entry(emptied):
    store = begin(emptied, 3)
    whole = lines(emptied)
    for rest in (whole[2][:40], "", whole[2]):
        (emptied.copy / COPY).write_text("\n".join([*whole[:2], rest]))
        store.audit.copied()
        kept = [line for line in lines(emptied) if line != whole[2][:40] and line]
        assert kept == whole
        assert store.audit.verify().trouble is None
    assert (emptied.copy / COPY).stat().st_mode & 0o077 == 0


def test_a_copy_begun_later_holds_everything(emptied):
    begin(emptied, 5, copied=False)
    emptied.with_copy.audit.record(entry(6))
    assert [json.loads(line)["number"] for line in lines(emptied)] == [1, 2, 3, 4, 5, 6]


def test_entries_cut_from_the_database_stop_readings_until_they_are_taken_back(emptied):
    store = begin(emptied, 8)
    before = lines(emptied)
    tamper(
        emptied,
        "delete from audit where number > 6",
        "delete from meta where name = 'audit_head'",
    )
    with pytest.raises(AuditCut, match=r"holds entries up to 8.*older backup.*started again"):
        store.audit.record(entry(9))
    store.audit.refused(Asking("reveal"), "spent")
    with psycopg.connect(emptied.url) as connection:
        assert connection.execute("select max(number) from audit").fetchone() == (6,), "not even a refusal"
    again = Store(Setup(emptied.url, emptied.keys, audit_copy=emptied.copy))
    again.audit.record(entry(10))
    found = again.audit.verify()
    assert (found.entries, found.copied, found.trouble) == (10, 10, None)
    assert lines(emptied)[:8] == before
    recovered = json.loads(lines(emptied)[8])
    assert (recovered["action"], recovered["note"]) == (
        "recover",
        "2 entries, up to 8, taken back from the copy",
    )


def test_an_older_state_put_back_whole_is_told_by_the_copy_alone(emptied):
    store = begin(emptied, 6)
    with psycopg.connect(emptied.url) as connection:
        (note,) = connection.execute("select value from meta where name = 'audit_head'").fetchone() or ("",)
    store.audit.record(entry(7), entry(8))
    tamper(
        emptied,
        "delete from audit where number > 6",
        f"update meta set value = '{note}' where name = 'audit_head'",
    )
    assert emptied.without.audit.verify().trouble is None
    assert "holds entry 7, the database does not" in str(store.audit.verify().trouble)


def test_a_forged_copy_is_not_taken_back(emptied):
    store = begin(emptied, 8)
    tamper(emptied, "delete from audit where number > 6", "delete from meta where name = 'audit_head'")
    held = lines(emptied)
    (emptied.copy / COPY).write_text("\n".join([*held[:6], held[6].replace(TOKEN, "")]) + "\n")
    Store(Setup(emptied.url, emptied.keys, audit_copy=emptied.copy))
    with psycopg.connect(emptied.url) as connection:
        assert connection.execute("select max(number) from audit").fetchone() == (6,)
    with pytest.raises(AuditTrouble):
        store.audit.record(entry(9))


# --- over the vault's API ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def running(server: Any) -> Iterator[Any]:
    with tempfile.TemporaryDirectory() as made:
        home = Path(made)
        (home / "copy").mkdir()
        started = start_vault(server.new_database(), home, VAULT_AUDIT_COPY=str(home / "copy"))
        (home / "agreements").mkdir()
        agree(started, daily_quota=1000)
        yield started
        stop(started.process)


def rows(vault: Any, condition: str = "true") -> list[dict[str, Any]]:
    with psycopg.connect(vault.database_url, row_factory=psycopg.rows.dict_row) as connection:
        return connection.execute(f"select * from audit where {condition} order by number").fetchall()  # type: ignore[call-overload]


def test_every_entry_is_in_the_copy_before_the_answer(running):
    (row,) = landed(running, {})
    for _ in range(3):
        (got,), _ = running.client.disclose("citizen_check", [pair(row)])
        last = json.loads((running.home / "copy" / COPY).read_text().splitlines()[-1])
        assert (last["request_id"], last["subject"]) == (got.request_id, got.token)
    copied = (running.home / "copy" / COPY).read_bytes()
    for value in (PERSON["applicant_id_number"], PERSON["applicant_name"]):
        assert value.encode() not in copied


@pytest.mark.parametrize("away", ["missing", "unwritable"])
def test_nothing_is_given_while_the_copy_cannot_be_written(running, away):
    (row,) = landed(running, {})
    running.client.disclose("citizen_check", [pair(row)])
    given = len(rows(running, "outcome = 'disclosed'"))
    copy, aside = running.home / "copy", running.home / "aside"
    copy.rename(aside)
    if away == "unwritable":
        copy.write_text("a file in the folder's place")
    try:
        with pytest.raises(
            VaultRefused, match=rf"{copy / COPY} \(setting VAULT_AUDIT_COPY\).*Bring the folder back"
        ):
            running.client.disclose("citizen_check", [pair(row)])
        assert len(rows(running, "outcome = 'disclosed'")) == given
        assert rows(running)[-1]["note"] == "cannot be copied", "it was tried, and that is kept"
        # Landing needs no audit.
        landed(running, {})
        assert running.auditor.verify_audit("root")["trouble"], "and the proof says so"
    finally:
        if copy.is_file():
            copy.unlink()
        aside.rename(copy)
    running.client.disclose("citizen_check", [pair(row)])
    found = running.auditor.verify_audit("root")
    assert found["trouble"] is None
    assert found["entries"] == found["copied"]


def test_who_looked_at_a_person_is_told_and_recorded_itself(running):
    person = {"applicant_id_number": "003077000042", "dossier_id": "looked-at"}
    (row,) = landed(running, person)
    (got,), _ = running.client.disclose("citizen_check", [pair(row)])
    found = running.auditor.who_looked("003 077 000 042", "lan.nt")
    assert [(e["who"], e["purpose"], e["basis"], e["outcome"], e["request_id"]) for e in found] == [
        (RECORD["officer_code"], "citizen_check", RECORD["document"], "disclosed", got.request_id)
    ]
    assert not {"subject", "hash", "previous"} & found[0].keys(), "a person's token stays inside"
    again = running.auditor.who_looked("003077000042", "lan.nt")
    assert [(e["action"], e["who"]) for e in again[1:]] == [("who_looked", "operator:lan.nt")]
    assert running.auditor.who_looked("003077000043", "lan.nt") == []
    with pytest.raises(VaultRefused, match="placeholder"):
        running.auditor.who_looked("000000001", "lan.nt")
    for by in ("Nguyễn Văn A", "003077000042", ""):
        with pytest.raises(VaultRefused, match="none this call knows"):
            running.auditor.who_looked("003077000042", by)
    assert rows(running)[-1]["note"] == "malformed"


def command(vault: Any, name: str, given: str = "") -> subprocess.CompletedProcess[str]:
    names = ("PATH", "PYTHONPATH", "VAULT_SOCKET", "VAULT_KEYS")
    environment = {n: vault.environment[n] for n in names} | {"KHOCHUNG_HOME": str(vault.home)}
    return subprocess.run(
        [sys.executable, "-m", "ops", name], env=environment, cwd=PROJECT, input=given,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_the_commands_tell_people_and_are_recorded(running):
    number = "003077000051"
    (row,) = landed(running, {"applicant_id_number": number, "dossier_id": "told"})
    running.client.disclose("citizen_check", [pair(row)])
    Store(Setup(running.database_url, FileKeys(running.home / "keys"), audit_copy=running.home / "copy")).audit.record(
        Entry(
            "reveal", "H58-0042", "disclosed", agency="H58", purpose="inspect", basis="QĐ 45",
            asked="applicant_phone", subject=row["applicant_id_number"], source_code="s", dossier_id="told",
            reason="vì\nhai dòng",
        )
    )  # fmt: skip
    done = command(running, "who-looked", f"{number}\n")
    assert done.returncode == 0, done.stderr
    heads, first, second, reason = done.stdout.splitlines()
    assert heads.startswith("lúc (when)")
    for said in (
        RECORD["officer_code"],
        "citizen_check",
        RECORD["document"],
        "disclose: disclosed [number, name]",
    ):
        assert said in first
    for said in ("H58-0042 (H58)", "inspect", "QĐ 45", "s/told", "reveal: disclosed [applicant_phone]"):
        assert said in second
    assert reason == "    lý do (reason): vì hai dòng"
    assert number not in done.stdout + done.stderr
    login = pwd.getpwuid(os.getuid()).pw_name
    last = rows(running)[-1]
    assert (last["action"], last["who"], last["subject"]) == (
        "who_looked", f"operator:{login}", row["applicant_id_number"],
    )  # fmt: skip
    assert "nobody looked" in command(running, "who-looked", "003077000052").stdout
    none = command(running, "who-looked", "")
    assert (none.returncode, none.stdout) == (1, "")
    assert "placeholder" in none.stderr

    whole = command(running, "audit-verify")
    assert whole.returncode == 0, whole.stderr
    assert whole.stdout.startswith("the audit is whole: ")
    assert (rows(running)[-1]["action"], rows(running)[-1]["outcome"]) == ("verify", "whole")
    held = (running.home / "copy" / COPY).read_text()
    (running.home / "copy" / COPY).write_text(held.replace("H58-0042", "H58-0043"))
    try:
        broken = command(running, "audit-verify")
        assert broken.returncode == 1
        assert "was changed or is none of the vault's" in broken.stderr
        assert rows(running)[-1]["outcome"] == "broken"
    finally:
        grown = (running.home / "copy" / COPY).read_text()
        (running.home / "copy" / COPY).write_text(grown.replace("H58-0043", "H58-0042"))


def test_a_question_that_is_no_utf8_is_refused_and_recorded(running):
    for path in ("/v1/audit/person", "/v1/audit/verify"):
        with pytest.raises(VaultRefused, match="none this call knows"):
            running.auditor._call("POST", path, b'{"by": "\xff"}')
    with psycopg.connect(running.database_url) as connection:
        last = connection.execute(
            "select action, outcome, note from audit order by number desc limit 2"
        ).fetchall()
    assert last == [("verify", "refused", "malformed"), ("who_looked", "refused", "malformed")]


def test_an_alert_reaches_whoever_verifies_and_ends_with_2(running):
    """Last of those that ask `audit-verify`: the alert stays for a day."""
    before = running.client.health()["alerts"]
    for _ in range(21):
        with pytest.raises(VaultRefused, match="no valid bearer token"):
            VaultClient(running.client.socket, "guessed", patience=0).pseudonyms()
    assert running.client.health()["alerts"] == before + 1
    done = command(running, "audit-verify")
    assert done.returncode == 2, done.stderr
    assert done.stdout.startswith("the audit is whole: ")
    (line,) = [line for line in done.stderr.splitlines() if "refusals of a caller today" in line]
    assert line.startswith("ALERT ")
    assert ", unknown: " in line
    # Older than a day, and told: not again. Not told yet: told, however old.
    with unguarded(running.database_url) as connection:
        connection.execute("update audit set at = at - interval '2 days'")
    assert [a["note"] for a in running.auditor.verify_audit("root")["alerts"]] == []
    with unguarded(running.database_url) as connection:
        connection.execute("update audit set at = at - interval '3 days' where action = 'verify'")
    assert "21 refusals of a caller today" in [
        a["note"] for a in running.auditor.verify_audit("root")["alerts"]
    ]


def test_a_repair_of_a_persons_dossier_is_among_who_looked(running):
    landed(running, {"applicant_id_number": "003077000044", "dossier_id": "repaired"})
    landed(running, {"applicant_id_number": "003077000045", "dossier_id": "another"})
    store = Store(
        Setup(running.database_url, FileKeys(running.home / "keys"), audit_copy=running.home / "copy")
    )
    store.audit.record(
        Entry("read_reject", "service", "disclosed", source_code="igate_tien_giang", dossier_id="repaired")
    )
    found = running.auditor.who_looked("003077000044", "root")
    assert [(e["action"], e["dossier_id"]) for e in found] == [("read_reject", "repaired")]
    assert running.auditor.who_looked("003077000045", "root") == []


def test_unusual_volume_is_told_once_a_day(server, tmp_path):
    store = Store(
        Setup(server.new_database(), FileKeys(tmp_path / "keys", create=True), alarm=Alarm(times=3, least=5))
    )

    def read(who: str) -> str | None:
        def give(cursor: Any) -> str | None:
            store.audit.append(cursor, [entry(1, who=who)])
            return store.audit.watch(cursor, who)

        return store._do(give)

    assert [read("a") for _ in range(5)] == [None] * 5
    assert "6 readings today, 0 a day before" in str(read("a"))
    assert read("a") is None, "once is enough"
    assert read("b") is None, "each by his own measure"
    with unguarded(store._url) as connection:
        connection.execute("update audit set at = at - interval '1 day'")
    # Seven yesterday are usual now: three times as many are not unusual yet.
    assert [read("a") for _ in range(21)] == [None] * 21
    said = read("a")
    assert "22 readings today, 7 a day before" in str(said)
    assert "H58" not in str(said)


def test_many_refusals_of_a_caller_or_about_a_person_are_told_once_a_day(server, tmp_path, caplog):
    store = Store(
        Setup(server.new_database(), FileKeys(tmp_path / "keys", create=True), alarm=Alarm(refusals=3))
    )
    token = store.sealer.token("003099000001")

    def alerts() -> list[tuple[Any, ...]]:
        with psycopg.connect(store._url) as connection:
            return connection.execute(
                "select who, asked, note, subject from audit where action = 'alert' order by number"
            ).fetchall()

    for _ in range(3):
        store.audit.refused(Asking("reveal", who="a"), "unknown officer")
    assert alerts() == []
    for _ in range(3):
        store.audit.refused(Asking("reveal", who="a"), "unknown officer")
    assert alerts() == [("a", "refusals of a caller", "4 refusals of a caller today", "")]
    for who in "bcdef":
        store.audit.refused(Asking("reveal", who=who, subjects=[str(token)]), "other agency")
    assert alerts()[1:] == [("service", "refusals about a person", "4 refusals about a person today", token)]
    assert [r.message.partition(".")[0] for r in caplog.records] == [
        "unusual volume: 4 refusals of a caller today", "unusual volume: 4 refusals about a person today",
    ]  # fmt: skip
    assert store.audit.verify().trouble is None


def test_more_new_persons_than_any_honest_day_brings_are_told_once_and_sealed_all_the_same(server, tmp_path):
    store = Store(
        Setup(server.new_database(), FileKeys(tmp_path / "keys", create=True), alarm=Alarm(sealed=4))
    )

    def seal(first: int, count: int) -> int:
        persons = [
            PERSON | {"dossier_id": f"d{n}", "applicant_id_number": f"0030990{n:05}"}
            for n in range(first, first + count)
        ]
        _, values = store.sealer.seal(batch(*persons))
        store.keep(values)
        with psycopg.connect(store._url) as connection:
            rows = connection.execute("select note from audit where action = 'alert'").fetchall()
        assert all(note == ("6 persons sealed today of whom nothing was held before",) for note in rows)
        return len(rows)

    assert [seal(1, 3), seal(1, 3), seal(1, 4), seal(1, 4)] == [0] * 4, "known persons are no new ones"
    assert seal(5, 2) == 1
    assert seal(7, 2) == 1, "once a day"
    assert store.count("person_key") >= 8


def test_what_earlier_versions_recorded_is_carried_over_in_order(database, tmp_path):
    with psycopg.connect(database) as connection:
        connection.execute("""
            create table quarantine (id bigint generated always as identity primary key, source_code text not null,
                table_name text not null, key text not null, field text not null,
                kind text not null check (kind in ('reject', 'undeclared')), payload bytea not null,
                batch_id text not null, created_at timestamptz not null default now());
            insert into quarantine (source_code, table_name, key, field, kind, payload, batch_id)
                values ('s', 'dossier', '{"dossier_id": "d7"}', 'due_at', 'reject', '', 'b');
            create table repair_reading (request_id uuid primary key, rule text not null, why text not null,
                quarantine_id bigint not null, at timestamptz not null default clock_timestamp());
            insert into repair_reading values (gen_random_uuid(), 'dots', 'Biên bản 12', 1, '2025-07-02 00:00+07');
            create table disclosure (request_id uuid primary key, purpose text not null, document text not null,
                officer_code text not null, token text not null, outcome text not null, at timestamptz not null);
        """)
        for day, token in ((3, TOKEN), (1, "003099000001")):
            connection.execute(
                "insert into disclosure values "
                "(gen_random_uuid(), 'citizen_check', 'TT 12', 'H20', %s, 'disclosed', %s)",
                (token, f"2025-07-0{day} 00:00+07"),
            )
    keys = FileKeys(tmp_path / "keys", create=True)
    for _ in range(2):
        store = Store(Setup(database, keys))
        assert store.audit.verify().entries == 4
    with psycopg.connect(database) as connection:
        found = connection.execute(
            "select number, action, who, basis, subject, source_code, dossier_id from audit order by number"
        ).fetchall()
        assert connection.execute(
            "select to_regclass('disclosure'), to_regclass('repair_reading')"
        ).fetchone() == (
            None,
            None,
        )
    assert found == [
        (1, "disclose", "H20", "TT 12", "", "", ""),  # what is no token may be anything
        (2, "read_reject", "service", "Biên bản 12", "", "s", "d7"),
        (3, "disclose", "H20", "TT 12", TOKEN, "", ""),
        (4, "begin", "service", "", "", "", ""),
    ]
    assert store.audit.verify().trouble is None
