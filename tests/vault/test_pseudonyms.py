"""What agencies see in a person's place: nothing joins two of them, one agency's stay, an erased person has none."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import psycopg
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import start_vault, stop
from tests.vault.test_erasure import erase
from tests.vault.test_rotation import run
from tests.vault.test_sealing import tokens
from vault import streams
from vault.audit import COPY, AuditCut, Entry
from vault.client import VaultRefused
from vault.keys import FileKeys
from vault.pseudonyms import MOST_AT_ONCE, PseudonymError
from vault.store import Setup, Store

FORM = re.compile(r"ps1_[0-9a-f]{32}")


@pytest.fixture(scope="module")
def vault(server: Any) -> Iterator[Any]:
    """One vault for this module."""
    with tempfile.TemporaryDirectory() as folder:
        running = start_vault(server.new_database(), Path(folder))
        yield running
        stop(running.process)


def people(vault: Any, first: int, number: int) -> list[str]:
    """Tokens of invented persons."""
    return [str(t) for t in tokens(vault.client, *(f"0030{n:08d}" for n in range(first, first + number)))]


def entries(vault: Any, action: str = "pseudonyms") -> list[tuple[Any, ...]]:
    with psycopg.connect(vault.database_url) as connection:
        return connection.execute(
            "select who, outcome, subject, agency, asked, note from audit where action = %s order by number",
            (action,),
        ).fetchall()


def ask(store: Store, *pairs: tuple[str, str]) -> list[str | None]:
    asked = pa.table({"token": [t for t, _ in pairs], "agency": [a for _, a in pairs]})
    return store.pseudonyms.give(asked)[0].to_pylist()


def test_two_agencies_have_no_pseudonym_in_common_and_one_has_one_for_each_person(vault):
    persons = people(vault, 100, 500)
    lists = [
        vault.client.pseudonyms([(p, agency) for p in persons])[0]
        for agency in ("H58.14", "H58.15", "H58.14 ", "h58.14", "000.00.14.H58", "")
    ]
    assert all(FORM.fullmatch(str(p)) for made in lists for p in made)
    assert len({p for made in lists for p in made}) == len(lists) * len(persons)
    # Asked again, in another order and beside other agencies, they are the same.
    mixed = [(p, agency) for p in reversed(persons) for agency in ("H58.15", "H58.14")]
    again, _ = vault.client.pseudonyms(mixed)
    assert again[1::2] == lists[0][::-1]
    assert again[::2] == lists[1][::-1]


def test_no_part_of_a_pseudonym_follows_the_person_from_agency_to_agency(vault):
    """Each byte agrees as often as chance has it: one time in 256."""
    persons = people(vault, 1_000, 2_000)
    first, second = (
        [bytes.fromhex(str(p)[4:]) for p in vault.client.pseudonyms([(p, agency) for p in persons])[0]]
        for agency in ("H58.14", "H58.15")
    )
    for place in range(16):
        equal = sum(a[place] == b[place] for a, b in zip(first, second, strict=True))
        assert equal < 30, "about 8 are to be expected"
    tails = {p[4:] for p in persons}
    assert not tails & {p.hex() for p in (*first, *second)}, "nor is it the token"


def test_vaults_with_one_token_key_make_the_same_and_others_do_not(server, tmp_path):
    def made(keys: FileKeys) -> list[str | None]:
        return ask(Store(Setup(server.new_database(), keys)), ("id1_" + "0" * 32, "H58.14"))

    keys = FileKeys(tmp_path / "keys", create=True)
    assert made(keys) == made(keys)
    assert made(keys) != made(FileKeys(tmp_path / "others", create=True))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"token": ["003099000001"], "agency": ["H58"]}, "a value of the column token is none"),
        ({"token": ["id1_" + "0" * 32 + "\n"], "agency": ["H58"]}, "a value of the column token is none"),
        ({"token": ["id1_" + "0" * 32, None], "agency": ["H58", "H58"]}, "lacking"),
        ({"token": ["id1_" + "0" * 32], "agency": pa.array([None], pa.string())}, "lacking"),
        ({"agency": ["H58"], "token": ["id1_" + "0" * 32]}, "expected the text columns"),
        ({"token": [1], "agency": ["H58"]}, "expected the text columns"),
        (
            {"token": ["id1_" + "0" * 32] * (MOST_AT_ONCE + 1), "agency": ["H58"] * (MOST_AT_ONCE + 1)},
            f"at most {MOST_AT_ONCE} are given",
        ),
    ],
)
def test_what_is_no_question_is_refused_recorded_and_not_repeated(vault, asked, said):
    before = entries(vault)
    body = streams.written([pa.table(asked)]).to_pybytes()
    with pytest.raises(VaultRefused, match=said) as refused:
        vault.client._call("POST", "/v1/pseudonyms", body)
    assert "003099000001" not in str(refused.value)
    assert entries(vault)[len(before) :] == [("service", "refused", "", "", "", "malformed")]


@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer wrong"}])
def test_without_the_bearer_nothing_is_given(vault, header):
    body = streams.written([pa.table({"token": ["id1_" + "0" * 32], "agency": ["H58"]})]).to_pybytes()
    transport = httpx.HTTPTransport(uds=str(vault.client.socket))
    with httpx.Client(transport=transport, base_url="http://vault") as http:
        answer = http.post("/v1/pseudonyms", content=body, headers=header)
    assert answer.status_code == 401
    assert "ps1_" not in answer.text
    assert entries(vault)[-1][5] == "no valid bearer token"


def test_a_call_is_one_entry_and_the_state_alone_is_none(vault):
    persons = people(vault, 5_000, 30)
    before = entries(vault)
    vault.client.pseudonyms([(p, agency) for p in persons for agency in ("H58.14", "H58.15", "H58.16")])
    vault.client.pseudonyms()
    said = "90 pseudonyms of 30 persons for 3 agencies"
    assert entries(vault)[len(before) :] == [("service", "answered", "", "", said, "")]
    assert vault.auditor.verify_audit("tester")["trouble"] is None


def test_an_erased_person_has_none_and_earlier_answers_become_void(vault):
    number = "003099000042"
    (gone,) = tokens(vault.client, number)
    persons = [str(gone), *people(vault, 6_000, 3)]
    pairs = [(p, agency) for p in persons for agency in ("H58.14", "H58.15")]
    first, state = vault.client.pseudonyms(pairs)
    assert None not in first
    assert vault.client.pseudonyms()[1] == state, "nothing changed"
    done = erase(vault, number, "YC-restrict", decision="restrict")
    assert done.returncode == 0, done.stderr
    assert vault.client.pseudonyms(pairs) == (first, state), "restricted, a person keeps them"
    assert erase(vault, number, "YC-erase").returncode == 0
    later, after = vault.client.pseudonyms(pairs)
    assert after != state
    assert later == [None, None, *first[2:]]
    assert entries(vault)[-1][5] == "2 of erased persons, not given"
    # Nor does a re-pull bring them back.
    assert tokens(vault.client, number) == [None]
    assert vault.client.pseudonyms(pairs) == (later, after)


def test_changing_the_master_key_changes_no_pseudonym(vault):
    pairs = [(p, "H58.14") for p in people(vault, 7_000, 5)]
    before = vault.client.pseudonyms(pairs)
    assert run(vault, "rotate").returncode == 0
    assert vault.client.pseudonyms(pairs) == before


@pytest.fixture(scope="module")
def store(server: Any) -> Iterator[SimpleNamespace]:
    """A store with a copy of its audit."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        copy.mkdir()
        url = server.new_database()
        made = Store(Setup(url, FileKeys(Path(folder) / "keys", create=True), audit_copy=copy))
        yield SimpleNamespace(store=made, copy=copy, url=url)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 9).map(lambda n: f"id1_{n:032x}"),
            st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
        ),
        min_size=1, max_size=20,
    )
)  # fmt: skip
def test_whatever_agencies_are_called_a_pseudonym_means_one_person_of_one_agency(store, pairs):
    given_ = ask(store.store, *pairs)
    assert len(set(given_)) == len(set(pairs))
    assert dict(zip(pairs, given_, strict=True)) == {p: ask(store.store, p)[0] for p in set(pairs)}


def test_they_are_given_while_the_copy_is_away_and_not_where_it_was_cut(store):
    """A pseudonym is no clear value, so a build goes on; the copy catches up."""
    pair = ("id1_" + "7" * 32, "H58.14")
    aside = store.copy.with_name("aside")
    ask(store.store, pair)
    store.copy.rename(aside)
    assert ask(store.store, pair) != [None]
    aside.rename(store.copy)
    store.store.audit.record(Entry("verify", "operator:tester", "whole"))
    assert store.store.audit.verify().trouble is None
    held = (store.copy / COPY).read_text()
    with psycopg.connect(store.url) as connection:
        ((number,),) = connection.execute("select count(*) from audit").fetchall()
    assert len(held.splitlines()) == number
    (store.copy / COPY).write_text(held.replace(f'"number":{number},', f'"number":{number + 5},'))
    with pytest.raises(AuditCut):
        ask(store.store, pair)
    (store.copy / COPY).write_text(held)


def test_a_question_of_the_store_itself_is_checked_as_well(store):
    with pytest.raises(PseudonymError):
        ask(store.store, ("0030990000", "H58"))
