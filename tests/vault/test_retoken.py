"""The token key changes: the same persons stay the same, the database keeps nothing of before, kills included."""

from __future__ import annotations

import hashlib
import hmac
import subprocess
import threading
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.settings import PROJECT
from tests.conftest import start_vault, stop, unguarded, wait_for
from tests.vault.test_erasure import OTHER, erase, held, references, rows, store_of
from tests.vault.test_process import again, refused
from tests.vault.test_purposes import agree, pair
from tests.vault.test_reveal import MINE, OFFICER, SECRET
from tests.vault.test_rotation import command, people, run
from tests.vault.test_sealing import PAPER, PERSON, batch, of
from vault.audit import Audit, Entry, Verdict
from vault.client import VaultClient, VaultRefused, VaultUnavailable
from vault.handles import HandleError, Handles
from vault.keys import FileKeys, KeyTrouble, derive
from vault.sealing import Sealer, normalised_identity
from vault.store import Setup, Store

SEALED = ("applicant_id_number", "applicant_name", "applicant_phone", "applicant_email", "applicant_address",
          "subject_line", "receiving_officer_name")  # fmt: skip
KEYS = {v: bytes([v]) * 32 for v in range(2, 5)}


def retoken(vault: Any, *words: str) -> None:
    done = run(vault, "retoken", *words)
    assert done.returncode == 0, done.stderr


def same_but_for_handles(old: pa.RecordBatch, new: pa.RecordBatch, version: int) -> None:
    """Each column holds the same values at the same places, under other handles; what is no handle is equal."""
    assert old.schema == new.schema
    for name, before, after in zip(old.schema.names, old.columns, new.columns, strict=True):
        if name not in SEALED:
            assert before.equals(after), name
            continue
        assert before.is_valid().equals(after.is_valid()), name
        assert before.dictionary_encode().indices.equals(after.dictionary_encode().indices), name
        kind = "id" if name == "applicant_id_number" else "ref"
        assert {str(h)[: len(kind) + 2] for h in after.drop_null().to_pylist()} == {f"{kind}{version}_"}


def handles_in(url: str) -> set[str]:
    """Kind and version of every handle in the vault's database, but for the audit and what stands encrypted."""
    found: set[str] = set()
    with psycopg.connect(url) as connection:
        tables = connection.execute(
            "select tablename from pg_tables where schemaname = 'public' and tablename not in ('audit')"
        ).fetchall()
        for (table,) in tables:
            rows = connection.execute(
                f"select distinct (regexp_matches(t::text, '(id|ref|grp|dig)([0-9]+)_[0-9a-f]{{32}}', 'g'))[1:2] "
                f"from {table} t"
            ).fetchall()
            found |= {"".join(kind) for (kind,) in rows}
    return found


# --- the map ----------------------------------------------------------------------------------------


@given(
    st.lists(
        st.one_of(
            st.none(),
            st.sampled_from(["", "nobody", "data_key:1", "id1_x", "Nguyễn"]),
            st.tuples(st.sampled_from(["id", "ref", "grp", "dig"]), st.binary(min_size=16, max_size=16)).map(
                lambda h: f"{h[0]}1_{h[1].hex()}"
            ),
        )
    )
)
@settings(max_examples=60, deadline=None)
def test_the_map_is_one_to_one_goes_both_ways_and_leaves_what_is_no_handle(texts):
    first = pa.array(texts, pa.string())
    second, fourth = Handles({2: KEYS[2]}), Handles(KEYS)
    then = second.current(first)
    assert second.first(then).equals(first)
    assert fourth.current(then).equals(fourth.current(first))
    assert fourth.current(fourth.current(first)).equals(fourth.current(first))
    assert then.dictionary_encode().indices.equals(first.dictionary_encode().indices)
    for before, after in zip(texts, then.to_pylist(), strict=True):
        is_handle = before is not None and before[-1:] in set("0123456789abcdef") and len(before) >= 36
        assert (before == after) is not is_handle


def test_a_token_of_the_second_key_is_one_block_of_it_over_the_token_of_the_first():
    keys = b"1" * 32, b"r" * 32
    plain, changed = Sealer(*keys), Sealer(*keys, Handles({2: KEYS[2]}))
    made = hmac.digest(keys[0], str(normalised_identity("003099000001")).encode(), hashlib.sha256)[:16]
    assert plain.token("003099000001") == f"id1_{made.hex()}"
    assert changed.handles.first_one(str(changed.token("003099000001"))) == plain.token("003099000001")
    # With the first key alone, and with another second one, nobody comes to it.
    assert changed.token("003099000001") != Sealer(*keys, Handles({2: KEYS[3]})).token("003099000001")
    assert plain.digest(b"x") != changed.digest(b"x")
    assert derive(KEYS[2], "handles/token") != derive(KEYS[2], "handles/reference")


def test_a_handle_of_a_version_to_come_is_refused_and_not_repeated_and_what_is_none_stays():
    handle = "id5_" + "0" * 32
    with pytest.raises(HandleError, match="of version 5 were given") as told:
        Handles(KEYS).current(pa.array([handle], pa.string()))
    assert handle not in str(told.value)
    for none in ("ref2_" + "z" * 32, "ref2_" + " " * 32, "id0_" + "0" * 32, "id1_" + "0" * 33):
        assert Handles(KEYS).current_one(none) == none


# --- the vault --------------------------------------------------------------------------------------


def test_after_the_change_the_same_persons_are_the_same_and_nothing_of_before_is_left(vault):
    first = vault.client.seal(people(0, 300))
    papers = vault.client.seal(of("dossier_paper", PAPER | {"dossier_id": "r7"}))
    alone = vault.client.seal(of("dossier_paper", PAPER | {"dossier_id": "unknown"}))
    vault.client.quarantine(
        [{"source_code": "s", "table_name": "t", "key": "{}", "field": "f", "kind": "undeclared", "payload": b"p",
          "batch_id": "b"}]
    )  # fmt: skip
    stored = vault.client.health()["sealed_values"]
    clear = store_of(vault).reveal([str(h) for n in SEALED for h in first.column(n).drop_null().to_pylist()])
    before = {
        t: rows(vault, f"select count(*) from {t}") for t in ("person_key", "sealed_group", "sealed_dossier")
    }
    assert handles_in(vault.database_url) == {"id1", "ref1", "grp1"}

    done = run(vault, "retoken", "--batch", "100")
    assert done.returncode == 0, done.stderr
    assert str(vault.home / "keys" / "token.2.key") in done.stdout
    assert "renew-handles" in done.stdout

    assert handles_in(vault.database_url) == {"id2", "ref2", "grp2", "dig2"}
    # The vault that ran on takes the new key by itself.
    second = vault.client.seal(people(0, 300))
    same_but_for_handles(first, second, 2)
    assert vault.client.health()["sealed_values"] == stored, "something was stored twice"
    assert {t: rows(vault, f"select count(*) from {t}") for t in before} == before
    # Papers find their dossier's person by what the vault noted, also where the dossier does not come with them.
    for old, made in ((papers, "r7"), (alone, "unknown")):
        new = vault.client.seal(of("dossier_paper", PAPER | {"dossier_id": made}))
        assert vault.client.renewed(old.column("file_name")).equals(new.column("file_name"))
    assert vault.client.health()["sealed_values"] == stored
    # What was landed before is told in its present form, and the values behind it are still there.
    for name in SEALED:
        assert vault.client.renewed(first.column(name)).equals(second.column(name))
        assert vault.client.renewed(second.column(name)).equals(second.column(name))
    store = store_of(vault)
    found = store.reveal([str(h) for n in SEALED for h in second.column(n).drop_null().to_pylist()])
    assert found == {store.sealer.handles.current_one(h): v for h, v in clear.items()}
    assert len(found) == len(clear)


def test_killed_in_the_middle_it_refuses_everything_and_goes_on_where_it_was(vault):
    sealed = [vault.client.seal(people(n * 300, 300)) for n in range(2)]
    process = subprocess.Popen(command(vault, "retoken", "--batch", "50"), env=vault.environment, cwd=PROJECT)
    count = "select count(*) from sealed_value where reference like 'ref2%%' or reference like 'id2%%'"
    wait_for(lambda: rows(vault, count)[0][0] > 100 or process.poll() is not None)
    process.kill()
    process.wait()
    assert {"id2", "ref1"} < handles_in(vault.database_url), "the change ended before the kill"

    impatient = VaultClient(vault.client.socket, vault.client.token, patience=0)
    for call in (
        lambda: impatient.seal(people(0, 1)),
        lambda: impatient.renewed(sealed[0].column("applicant_name")),
    ):
        with pytest.raises(VaultUnavailable, match=r"503\): the token key is being changed .*start it again"):
            call()
    assert "ok" in str(impatient._call("GET", "/v1/ready", b"").json())
    refused(run(vault, "rotate"), "interrupted", "ops vault retoken")
    refused(erase(vault), "interrupted", "ops vault retoken")
    refused(again(vault), "token key 2 was made", "does not start", "ops vault retoken")

    # Whoever waits is served as soon as it is done.
    waiting: list[pa.RecordBatch] = []
    worker = threading.Thread(target=lambda: waiting.append(vault.client.seal(people(0, 300))))
    worker.start()
    retoken(vault)
    worker.join(60)
    same_but_for_handles(sealed[0], waiting[0], 2)
    assert handles_in(vault.database_url) == {"id2", "ref2"}
    assert not (vault.home / "keys" / "token.3.key").exists()
    assert len(rows(vault, "select 1 from person_key where holder like 'id%%'")) == 600
    references_of = [str(h) for n in SEALED for s in sealed for h in s.column(n).drop_null().to_pylist()]
    store = store_of(vault)
    assert len(store.reveal(store.sealer.handles.current_of(references_of))) == len(set(references_of))


def test_a_kill_before_it_is_announced_leaves_a_key_that_is_taken_then(vault):
    vault.client.seal(people(0, 5))
    keys = store_of(vault).masters.provider
    keys.make_token_key(2)
    made = keys.token_key(2)
    refused(again(vault), "at token key 1", "token key 2 was made")
    retoken(vault)
    assert keys.token_key(2) == made


@pytest.mark.prove
def test_batches_on_their_way_leave_nothing_of_the_key_of_before(vault):
    stopped, sealed = threading.Event(), []

    def work(offset: int) -> None:
        number = offset
        while not stopped.is_set():
            sealed.append((number, vault.client.seal(people(number, 20))))
            number += 20

    workers = [threading.Thread(target=work, args=(n * 100_000,)) for n in range(2)]
    for worker in workers:
        worker.start()
    wait_for(lambda: len(sealed) > 4)
    for version in (2, 3):
        retoken(vault)
        assert {h[-1] for h in handles_in(vault.database_url)} == {str(version)}
    at = len(sealed)
    wait_for(lambda: len(sealed) > at + 4)
    stopped.set()
    for worker in workers:
        worker.join(60)
    assert {h[-1] for h in handles_in(vault.database_url)} == {"3"}
    last = dict(sealed)
    for number, old in list(last.items())[:: max(1, len(last) // 10)]:
        new = vault.client.seal(people(number, 20))
        for name in SEALED:
            assert vault.client.renewed(old.column(name)).equals(new.column(name)), (number, name)


def test_an_erased_person_stays_erased_and_a_restricted_one_restricted(vault):
    (vault.home / "agreements").mkdir()
    agree(vault)
    first = vault.client.seal(batch(PERSON, OTHER))
    assert erase(vault).returncode == 0
    assert erase(vault, OTHER["applicant_id_number"], "YC-02", decision="restrict").returncode == 0
    bare = vault.client.seal(batch(PERSON, OTHER))
    papers = vault.client.seal(of("dossier_paper", PAPER))
    file = papers.column("file_name")[0].as_py()
    retoken(vault)
    second = vault.client.seal(batch(PERSON, OTHER))
    same_but_for_handles(bare, second, 2)
    current = store_of(vault).sealer.handles.current_one
    mine, file = [current(r) for r in (*references(first), *references(second)[1:])], current(file)
    assert vault.client.seal(of("dossier_paper", PAPER)).column("file_name")[0].as_py() == file
    assert held(vault, [*mine, file]) == set()
    assert rows(vault, "select wrapped from person_key where holder = %s", mine[0]) == [(None,)]
    # Asked for as the warehouse still has them, or as they are now.
    for other in (first, second):
        asked = [pair(first.to_pylist()[0]), pair(other.to_pylist()[1])]
        assert [d.outcome for d in vault.client.disclose("citizen_check", asked)[0]] == [
            "not_held",
            "refused",
        ]
    # The journal names both as they were: a database put back to before the erasure is told so.
    with psycopg.connect(vault.database_url) as connection:
        connection.execute("delete from erasure_request")
    assert store_of_journal(vault).restricted() == {references(second, 1)[0]}
    assert len(rows(vault, "select 1 from person_key where holder like 'id%%'")) == 2


def store_of_journal(vault: Any) -> Any:
    home = vault.home / "keys"
    return Store(Setup(vault.database_url, FileKeys(home), erasures=home / "erasures.jsonl"))


@pytest.mark.prove
def test_an_older_backup_of_the_database_is_told_and_brought_to_the_same_key(vault):
    first = vault.client.seal(people(0, 50))
    tables = ("meta", "person_key", "sealed_group", "sealed_value", "sealed_dossier")
    backup = {t: rows(vault, f"select * from {t}") for t in tables}
    retoken(vault)
    second = vault.client.seal(people(0, 50))
    stop(vault.process)
    with psycopg.connect(vault.database_url) as connection, connection.cursor() as cursor:
        for table, content in backup.items():
            cursor.execute(f"truncate {table}")
            marks = ", ".join(["%s"] * len(content[0]))
            cursor.executemany(f"insert into {table} values ({marks})", content)
    refused(again(vault), "older backup of the database was put back", "ops vault retoken")
    retoken(vault)
    started = start_vault(vault.database_url, vault.home)
    try:
        assert started.client.seal(people(0, 50)).equals(second)
        assert started.client.renewed(first.column("applicant_name")).equals(second.column("applicant_name"))
    finally:
        stop(started.process)


def test_a_lost_or_wrong_version_is_named_at_the_start(vault):
    vault.client.seal(people(0, 5))
    retoken(vault)
    path = vault.home / "keys" / "token.2.key"
    good = path.read_bytes()
    path.write_bytes(b"w" * 32)
    refused(again(vault), "was set up with the token key 2", "does not start", "Put the right key back")
    path.unlink()
    refused(again(vault), str(path), "found none", "backup")
    assert not path.exists()
    path.write_bytes(good)
    path.chmod(0o600)
    retoken(vault)  # and on to the third: files of the second stay readable by it
    path.unlink()
    refused(again(vault), str(path), "found none", "backup")
    path.write_bytes(good)
    path.chmod(0o600)
    (vault.home / "keys" / "token.key").unlink()
    refused(again(vault), "token.key", "found none", "backup")


@pytest.mark.prove
def test_who_looked_finds_readings_under_every_key_and_dossiers_stay_their_agencys(server, tmp_path):
    vault = start_vault(server.new_database(), tmp_path, VAULT_OFFICERS=str(tmp_path / "officers.yml"))
    try:
        (tmp_path / "officers.yml").write_text(yaml.safe_dump({"H58.14-0042": OFFICER}, allow_unicode=True))
        vault.client.seal(batch(PERSON | {"responsible_agency_code": MINE}, OTHER))
        for _ in range(2):
            assert read(vault) == {"applicant_phone": PERSON["applicant_phone"]}
            retoken(vault)
        assert read(vault) == {"applicant_phone": PERSON["applicant_phone"]}
        with pytest.raises(VaultRefused, match="knows no dossier of agency"):
            read(vault, OTHER["dossier_id"])
        looked = vault.auditor.who_looked(PERSON["applicant_id_number"], "me")
        assert [(e["action"], e["outcome"]) for e in looked] == [("reveal", "disclosed")] * 3
        assert [e["action"] for e in vault.auditor.who_looked(PERSON["applicant_id_number"], "me")][3:] == [
            "who_looked"
        ]
        assert vault.auditor.verify_audit("me")["trouble"] is None
        subjects = rows(
            vault, "select subject from audit where action = 'reveal' and outcome = 'disclosed' order by 1"
        )
        assert [s[:4] for (s,) in subjects] == ["id1_", "id2_", "id3_"]
    finally:
        stop(vault.process)


def read(vault: Any, dossier: str = PERSON["dossier_id"]) -> dict[str, str]:
    client = VaultClient(vault.client.socket, SECRET, patience=5)
    return client.reveal(
        "settle_dossier",
        PERSON["source_code"],
        dossier,
        "Gọi người nộp về giấy tờ còn thiếu",
        ["applicant_phone"],
    )


@pytest.mark.parametrize("entry_stays", [True, False])
def test_whoever_has_the_key_of_before_cannot_forge_the_audit(vault, entry_stays):
    store = store_of(vault)
    store.audit.record(*(Entry("reveal", f"H58-{n}", "disclosed", reason=f"because {n}") for n in range(3)))
    first_key = Path(vault.home / "keys" / "token.key").read_bytes()
    retoken(vault)
    store = store_of(vault)
    store.audit.record(Entry("reveal", "H58-9", "disclosed", reason="after"))
    assert store.audit.verify() == Verdict(5, None, None)
    actions = rows(vault, "select action, note from audit order by number")
    assert actions[3] == ("token_key", "version 2")
    kept = [store.audit.reason(r) for r in store.audit._rows_from(1)]
    assert kept == ["because 0", "because 1", "because 2", "", "after"]
    assert vault.auditor.verify_audit("me")["trouble"] is None  # by the vault that ran on

    with unguarded(vault.database_url) as connection:
        if not entry_stays:
            connection.execute("update audit set action = 'reveal', note = '' where action = 'token_key'")
        connection.execute("update audit set who = 'H58-none' where number = 1")
    # With the key of before the whole chain is made anew, and the note of its end.
    forger = Audit(store._do, first_key)
    previous = ""
    for row in forger._rows_from(1):
        if entry_stays and row["action"] == "token_key":
            break
        row["previous"] = previous
        row["hash"] = previous = forger._hash(row)
        with unguarded(vault.database_url) as connection:
            connection.execute(
                "update audit set previous = %(previous)s, hash = %(hash)s where number = %(number)s", row
            )
    if not entry_stays:
        note = f"{row['number']} {previous} {forger._note(row['number'], previous)}"
        with psycopg.connect(vault.database_url) as connection:
            connection.execute("update meta set value = %s where name = 'audit_head'", (note,))
    told = str(store_of(vault).audit.verify().trouble)
    assert (
        ("entry 4 does not continue entry 3" in told) if entry_stays else ("token key 2 is gone" in told)
    ), told


@pytest.mark.prove
def test_a_database_put_back_takes_the_changed_chain_from_the_copy(database, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()

    def setup(**more: Any) -> Setup:
        return Setup(database, FileKeys(tmp_path / "keys", create=True), audit_copy=copy, **more)

    def note(store: Store, number: int) -> None:
        store.audit.record(Entry("reveal", f"H58-{number}", "disclosed", reason=f"because {number}"))

    store = Store(setup())
    note(store, 1)
    with psycopg.connect(database) as connection:
        meta = connection.execute("select * from meta").fetchall()
    store.retoken()
    note(store, 2)
    with unguarded(database) as connection, connection.cursor() as cursor:
        cursor.execute("delete from audit where number > 1")
        cursor.execute("delete from meta")
        cursor.executemany("insert into meta values (%s, %s)", meta)
    with pytest.raises(KeyTrouble, match="older backup of the database was put back"):
        Store(setup())
    store = Store(setup(finishing=True))
    assert store.retoken().version == 2
    note(store, 3)
    store = Store(setup())
    assert store.audit.verify() == Verdict(5, 5, None)
    with psycopg.connect(database) as connection:
        actions = [a for (a,) in connection.execute("select action from audit order by number").fetchall()]
    assert actions == ["reveal", "token_key", "reveal", "recover", "reveal"]
    assert [store.audit.reason(r) for r in store.audit._rows_from(1)] == [
        "because 1", "", "because 2", "", "because 3"
    ]  # fmt: skip


@pytest.mark.prove
def test_a_row_that_was_forged_before_the_change_is_not_proved_by_it(vault):
    vault.client.seal(batch(PERSON, OTHER))
    with psycopg.connect(vault.database_url) as connection:
        connection.execute(
            "update sealed_dossier set agency = 'H58.99' where dossier_id = %s", (OTHER["dossier_id"],)
        )
    retoken(vault)
    store, keys = store_of(vault), [PERSON["dossier_id"], OTHER["dossier_id"]]
    found = store.persons_of(
        "source_code,dossier_id", pa.array([f"{PERSON['source_code']}\x1f{d}" for d in keys])
    )
    assert [t is None for t in found.to_pylist()] == [False, True]


@pytest.mark.prove
def test_the_two_keys_change_in_any_order(vault):
    first = vault.client.seal(people(0, 40))
    for act in ("rotate", "retoken", "retoken", "rotate"):
        assert run(vault, act).returncode == 0
    assert (vault.home / "keys" / "encryption.3.key").exists()
    for name in ("encryption.key", "encryption.2.key"):
        Path(vault.home / "keys" / name).unlink()
    same_but_for_handles(first, vault.client.seal(people(0, 40)), 3)
    store = store_of(vault)
    wanted = store.sealer.handles.current_of(str(h) for h in first.column("applicant_name").to_pylist())
    assert len(store.reveal(wanted)) == 40
