"""From untidy values to typed columns: the forms that are met, and the ones that must be refused."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import math
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from connectors import typing
from connectors.contract import Column, contract
from connectors.typing import (
    MISSING,
    VIETNAM,
    MissingColumn,
    first_repeated,
    parse_boolean,
    parse_date,
    parse_timestamp,
    typed_batch,
    typed_column,
)

SECONDS = st.datetimes(dt.datetime(1990, 1, 2), dt.datetime(2099, 12, 30)).map(
    lambda m: m.replace(microsecond=0, tzinfo=VIETNAM)
)
SECRET = "NguyenVanA-003099012345"

#: Each form a source was seen to use: how it writes a moment, to which unit it is exact.
FORMS = {
    "yyyyMMddHHmmss": ("%Y%m%d%H%M%S", "second"),
    "yyyyMMdd": ("%Y%m%d", "day"),
    "dd/MM/yyyy HH:mm:ss": ("%d/%m/%Y %H:%M:%S", "second"),
    "dd/MM/yyyy HH:mm": ("%d/%m/%Y %H:%M", "minute"),
    "dd/MM/yyyy": ("%d/%m/%Y", "day"),
    "yyyy/MM/dd": ("%Y/%m/%d", "day"),
    "yyyy/MM/dd HH:mm:ss": ("%Y/%m/%d %H:%M:%S", "second"),
    "yyyy-MM-dd HH:mm:ss": ("%Y-%m-%d %H:%M:%S", "second"),
    "yyyy-MM-dd": ("%Y-%m-%d", "day"),
    "ISO +0700": ("%Y-%m-%dT%H:%M:%S.000+0700", "second"),
    "ISO without zone": ("%Y-%m-%dT%H:%M:%S", "second"),
}


def column(physical: str, clear: pa.DataType, **more: Any) -> Column:
    plain = Column("c", clear, clear, physical, False, "none", None, "", None, None, True)
    return dataclasses.replace(plain, **more)


TEXT = column("text", pa.string())
MOMENT = column("timestamptz", pa.timestamp("us", "UTC"))
DAY = column("smallint", pa.date32())
TRUTH = column("boolean", pa.bool_())
SMALL = column("smallint", pa.int16())
WHOLE = column("integer", pa.int32())
BIG = column("bigint", pa.int64())
MONEY = column("numeric(18,0)", pa.decimal128(18, 0))
RATIO = column("numeric(9,4)", pa.decimal128(9, 4))
COLUMNS = [TEXT, MOMENT, DAY, TRUTH, SMALL, WHOLE, BIG, MONEY, RATIO]


def year_is_padded(moment: dt.datetime, form: str) -> str:
    return moment.strftime(form.replace("%Y", f"{moment.year:04d}"))


@pytest.mark.parametrize("form", FORMS)
@given(moment=SECONDS)
@settings(max_examples=30, deadline=None)
def test_every_form_met_gives_the_moment_back(form: str, moment: dt.datetime) -> None:
    pattern, exact = FORMS[form]
    if exact in ("day", "minute"):
        moment = moment.replace(second=0)
    if exact == "day":
        moment = moment.replace(hour=0, minute=0)
    found = parse_timestamp(year_is_padded(moment, pattern))
    assert found == moment
    assert found.tzinfo is dt.UTC


@given(moment=SECONDS)
@settings(max_examples=30, deadline=None)
def test_utc_with_z_and_epoch_milliseconds_are_moments(moment: dt.datetime) -> None:
    utc = moment.astimezone(dt.UTC)
    assert parse_timestamp(utc.strftime("%Y-%m-%dT%H:%M:%S.000Z")) == moment
    milliseconds = round(moment.timestamp() * 1000)
    if milliseconds > 10**11:
        assert parse_timestamp(milliseconds) == moment
    if len(str(milliseconds)) == 13:
        assert parse_timestamp(str(milliseconds)) == moment


@pytest.mark.parametrize(
    "value",
    [
        "31/02/2025", "29/02/2023", "2025-02-30T00:00:00Z", "20251301", "20250616250000", "32/01/2025 08:00",
        "16/06/0204 08:00:00", "2925-06-16", "0001-01-01T00:00:00+07:00", "9999-12-31T23:59:59-07:00",
        "1750000000", 1750000000, 0, -1, math.nan, math.inf, True, "hôm nay", "16/06", "/", "16//2025", "٣" * 9,
        "2025-06-16T08:12:33+99:00", {}, [], "16/06/2025 08:00:00:00", "²" * 13, "\ud800", "16/06/2025\x00",
    ],
)  # fmt: skip
def test_what_is_no_moment_is_refused_without_being_quoted(value: Any) -> None:
    with pytest.raises(ValueError) as refused:
        parse_timestamp(value)
    array, wrong = typed_column([value, "2025-06-16T08:00:00.000+0700"], MOMENT)
    assert (array.null_count, list(wrong)) == (1, [0])
    if isinstance(value, str) and len(value) > 3:
        assert value not in str(refused.value) + wrong[0]


@given(day=st.dates(dt.date(1880, 1, 1), dt.date(2099, 12, 31)))
@settings(max_examples=30, deadline=None)
def test_a_day_is_the_same_in_every_form(day: dt.date) -> None:
    for form in ("%d/%m/%Y", "%Y-%m-%d", "%Y%m%d", "%Y/%m/%d", "%d/%m/%Y 00:00:00", "%Y-%m-%dT23:59:59"):
        text = day.strftime(form)
        assert parse_date(text) == day
        array, wrong = typed_column([text, None], DAY)
        assert (array.to_pylist(), wrong) == ([day, None], {})


def test_a_birth_date_sent_as_the_utc_of_vietnamese_midnight_keeps_its_day() -> None:
    assert parse_date("1990-05-03T17:00:00.000Z") == dt.date(1990, 5, 4)


@pytest.mark.parametrize(
    "value",
    ["31/02/1990", "29/02/2023", "00/01/1990", "01/01/1879", "01/01/2100", "01/06/20251", "2025-06-16rác",
     "0001-01-01T00:00:00+07:01", "1990", ""],
)  # fmt: skip
def test_what_is_no_day_is_refused(value: str) -> None:
    array, wrong = typed_column([value, "01/06/1990"], DAY)
    assert array.to_pylist() == [None, dt.date(1990, 6, 1)]
    assert bool(wrong) is bool(value)


def test_booleans_in_all_their_spellings() -> None:
    for value in (True, 1, 1.0, "1", "true", "True", "TRUE", " true "):
        assert parse_boolean(value) is True
    for value in (False, 0, 0.0, "0", "false", "False", "FALSE"):
        assert parse_boolean(value) is False
    nonsense: tuple[Any, ...] = (2, "2", -1, 0.5, math.nan, "có", "yes", "t", "", None, [], {})
    for wrong in nonsense:
        with pytest.raises(ValueError):
            parse_boolean(wrong)


@pytest.mark.parametrize(
    ("of", "good", "bad"),
    [
        (WHOLE, [1, "1", " 1 ", "+1", "001", 1.0], [1.5, "1.5", "1,5", "0x10", "1_0", "٣", True, math.nan, math.inf,
                                                    2**31, "2147483648", 1e300, [], {}, "9" * 5000, "một"]),
        (SMALL, [1, "1"], [2**15, -(2**15) - 1, "32768"]),
        (BIG, [1, "1"], [2**63, "9223372036854775808"]),
        (MONEY, [1, "1", 1.0, "1e0"], [True, "1,000", "1.000.000", "NaN", "Infinity", math.nan, "1_0", 10**18,
                                       "9" * 40, "1e99", "1e999999999999999999999", "", "đ", [], {}]),
        (RATIO, [1, 1.00004], [10**5, "99999.99999"]),
    ],
)  # fmt: skip
def test_numbers(of: Column, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        array, wrong = typed_column([value], of)
        assert ([int(v) for v in array.to_pylist()], wrong) == ([1], {}), value
    for value in bad:
        array, wrong = typed_column([value, 1], of)
        assert array.null_count == 1, value
        assert list(wrong) == ([0] if value != "" else []), value


def test_a_fraction_is_rounded_to_the_scale_half_up() -> None:
    array, _ = typed_column([0.12345, "2.00005", 97.3], RATIO)
    assert array.to_pylist() == [decimal.Decimal(t) for t in ("0.1235", "2.0001", "97.3000")]


def test_text_is_trimmed_composed_and_never_made_of_something_else() -> None:
    array, wrong = typed_column(["  Đồng Tháp ", "Đồng Tháp", "--", "", "null", 7, None], TEXT)
    assert array.to_pylist() == ["Đồng Tháp", "Đồng Tháp", None, None, None, "7", None]
    assert wrong == {}
    array, wrong = typed_column(["tốt", True, 1.5, {}, [], "a\x00b", "\udc80"], TEXT)
    assert array.to_pylist() == ["tốt"] + [None] * 6
    assert sorted(wrong) == [1, 2, 3, 4, 5, 6]


# --- the fast path agrees with the slow one ---------------------------------------------------------

# Unicode 14 is what Python 3.11 knows; Arrow's newer tables may compose a letter Python does not.
TEXTS = st.text(st.characters(exclude_categories=["Cn", "Cs"]), max_size=6)
VALUES = st.one_of(
    st.none(),
    st.just(MISSING),
    st.sampled_from(["", "--", " ", "null", "NULL", "a\x00", "\ud800", "0x1F", "1_0", "٣", " 12 ", "+5", "-0"]),
    st.sampled_from(["31/02/2025", "01/06/1990", "1/6/1990", "2025-06-16", "2025-06-16T08:00:00.000+0700",
                     "2025-06-16T01:00:00Z", "20250616080000", "16/06/2025 08:00:00", "2025-06-16T08:00:00+07",
                     "2025-06-16T08:00:00.1234567Z", "2025-06-16 08:00", "1789-07-14T00:00:00Z"]),
    st.sampled_from(["true", "True", "false", "1", "0", "2"]),
    st.booleans(),
    st.integers(-10, 10),
    st.integers(-(2**70), 2**70),
    st.integers(10**11, 10**13),
    st.floats(),
    st.integers(-5, 5).map(float),
    TEXTS,
    st.just([]),
    st.just({}),
)  # fmt: skip
COLUMN_VALUES = st.one_of(
    st.lists(VALUES, max_size=6),
    # Columns of one kind, so that the fast path is taken too.
    st.lists(st.one_of(st.none(), TEXTS), max_size=6),
    st.lists(st.one_of(st.none(), st.integers(-(2**16), 2**16)), max_size=6),
    st.lists(st.sampled_from([None, True, False, 1, 0, 1.0, "true", "1"]), max_size=6),
    st.lists(st.dates().map(lambda d: f"{d:%d/%m/}{d.year:04d}"), max_size=6),
    st.lists(st.builds("{:02d}/{:02d}/{}".format, st.integers(0, 32), st.integers(0, 13),
                       st.integers(1989, 2026)), max_size=6),
    st.lists(SECONDS.map(lambda m: m.isoformat()), max_size=6),
)  # fmt: skip


def slow(values: list[Any], of: Column) -> tuple[list[Any], set[int]]:
    saved, typing._fast = typing._fast, lambda *_: None  # type: ignore[assignment]
    try:
        array, wrong = typed_column(values, of)
    finally:
        typing._fast = saved
    return array.to_pylist(), set(wrong)


@pytest.mark.parametrize("of", COLUMNS, ids=lambda c: f"{c.physical_type} {c.clear_type}")
@given(values=COLUMN_VALUES)
@example(values=["31/02/2025"])
@example(values=["0x10"])
@example(values=[1.5])
@example(values=[1.0, True, "1"])
@settings(max_examples=90, deadline=None)
def test_the_fast_path_says_what_the_slow_one_says(of: Column, values: list[Any]) -> None:
    given_values = [None if v is MISSING else v for v in values]
    array, wrong = typed_column(given_values, of)
    assert (array.to_pylist(), set(wrong)) == slow(values, of)
    assert array.type == of.clear_type


@pytest.mark.parametrize("of", COLUMNS, ids=lambda c: f"{c.physical_type} {c.clear_type}")
@given(before=st.sampled_from(["", " "]), tail=st.sampled_from(["", "\x00", "\ud800", "-"]))
@settings(max_examples=20, deadline=None)
def test_a_reason_never_holds_the_value(of: Column, before: str, tail: str) -> None:
    for value in (before + SECRET + tail, {SECRET: SECRET}, [SECRET]):
        _, wrong = typed_column([value], of)
        assert SECRET not in str(wrong)
        assert wrong or of is TEXT


# --- batches ----------------------------------------------------------------------------------------


def fees(**changed: list[Any]) -> dict[str, list[Any]]:
    given_columns: dict[str, list[Any]] = {
        "source_code": ["igate"] * 3,
        "dossier_id": ["a", "b", "c"],
        "fee_no": [1, 1, 1],
        "fee_kind": [1, 2, None],
        "fee_name": ["phí", "lệ phí", None],
        "amount_vnd": [8000, 0, 20],
        "payment_method": ["online", None, "cash"],
        "paid_at": ["2025-06-16T08:00:00.000+0700", None, "--"],
    }
    return given_columns | changed


def test_a_good_batch_has_the_schema_of_its_contract() -> None:
    result = typed_batch(contract("dossier_fee"), fees())
    assert result.rejects == []
    assert result.batch.schema.equals(contract("dossier_fee").clear_schema, check_metadata=True)
    assert result.batch.num_rows == 3


def test_a_missing_required_column_stops_the_batch_by_name() -> None:
    with pytest.raises(MissingColumn) as stopped:
        typed_batch(
            contract("dossier_fee"), fees(amount_vnd=[MISSING] * 3), {"amount_vnd": "dossierFee[].amount"}
        )
    assert "dossier_fee.amount_vnd" in str(stopped.value)
    assert "dossierFee[].amount" in str(stopped.value)
    absent = fees()
    del absent["amount_vnd"]
    with pytest.raises(MissingColumn, match="amount_vnd"):
        typed_batch(contract("dossier_fee"), absent)


def test_a_required_value_absent_from_some_records_rejects_only_them() -> None:
    for values in ([8000, MISSING, 20], [8000, None, 20], [8000, "", 20]):
        result = typed_batch(contract("dossier_fee"), fees(amount_vnd=values))
        assert [(r.position, r.field, r.reason) for r in result.rejects] == [
            (1, "amount_vnd", "required, but empty")
        ]
        assert result.batch.column("dossier_id").to_pylist() == ["a", "c"]
    assert len(typed_batch(contract("dossier_fee"), fees(amount_vnd=[None] * 3)).rejects) == 3


def test_a_null_key_is_a_reject_whose_key_says_so() -> None:
    (reject,) = typed_batch(contract("dossier_fee"), fees(fee_no=[1, None, 1])).rejects
    assert reject.key == {"source_code": "igate", "dossier_id": "b", "fee_no": None}


def test_an_optional_column_never_sent_is_null() -> None:
    result = typed_batch(contract("dossier_fee"), fees(paid_at=[MISSING] * 3))
    assert result.batch.column("paid_at").null_count == 3
    assert not result.rejects


def test_values_outside_the_allowed_ones_and_below_the_minimum_are_rejects() -> None:
    result = typed_batch(
        contract("dossier_fee"),
        fees(payment_method=["online", SECRET, None], fee_kind=[1, 1, 3], amount_vnd=[-1, 0, 0]),
    )
    assert [(r.position, r.field) for r in result.rejects] == [
        (0, "amount_vnd"), (1, "payment_method"), (2, "fee_kind"),
    ]  # fmt: skip
    reasons = [r.reason for r in result.rejects]
    assert reasons[0] == "below the minimum 0"
    assert reasons[1] == "not one of the allowed values online, cash, transfer"
    assert SECRET not in str(result.rejects)
    assert result.batch.num_rows == 0


def test_refused_records_are_rejected_and_say_nothing_of_the_sources_shape() -> None:
    gone = {0: "gone", 1: "gone"}
    result = typed_batch(contract("dossier_fee"), fees(amount_vnd=[MISSING, MISSING, 5]), refused=gone)
    assert [(r.position, r.reason) for r in result.rejects] == [(0, "gone"), (1, "gone")]
    everything = typed_batch(
        contract("dossier_fee"), fees(amount_vnd=[MISSING] * 3), refused={**gone, 2: "gone"}
    )
    assert len(everything.rejects) == 3
    with pytest.raises(MissingColumn):
        typed_batch(contract("dossier_fee"), fees(amount_vnd=[MISSING] * 3), refused=gone)


def test_an_empty_batch_is_empty_and_not_missing() -> None:
    result = typed_batch(contract("dossier_fee"), {c.name: [] for c in contract("dossier_fee").columns})
    assert result.batch.num_rows == 0


@given(keys=st.lists(st.tuples(st.integers(0, 3), st.sampled_from("ab"))))
@settings(deadline=None)
def test_the_first_of_equal_keys_is_kept(keys: list[tuple[int, str]]) -> None:
    repeated = first_repeated(keys)
    kept = [k for p, k in enumerate(keys) if p not in repeated]
    assert len(kept) == len(set(kept)) == len(set(keys))
    assert all(keys.index(k) not in repeated for k in keys)


@pytest.mark.parametrize("given_value", ["1985", " 1985 ", "7-1985", "07/1985", "01/02/1985", "19850201"])
def test_a_birth_date_of_which_only_the_year_is_known_gives_its_year(given_value: str) -> None:
    values, wrong = typed_column([given_value, None], contract("dossier").column("applicant_birth_year"))
    assert not wrong
    assert [v and v.year for v in values.to_pylist()] == [1985, None]


@pytest.mark.parametrize("given_value", ["85", "13/1985", "0000", "31/02/1985"])
def test_a_birth_date_that_names_no_year_is_a_reject(given_value: str) -> None:
    _, wrong = typed_column([given_value], contract("dossier").column("applicant_birth_year"))
    assert list(wrong) == [0]


def test_a_text_whose_point_may_be_thousands_is_a_reject_and_a_number_is_what_it_says() -> None:
    amounts = contract("dossier_fee").column("amount_vnd")
    values, wrong = typed_column(["1.000", "1.000.000", "50000", 8000, 12.5], amounts)
    assert list(wrong) == [0, 1]
    assert "thousands" in wrong[0]
    assert [str(v) for v in values.to_pylist()[2:4]] == ["50000", "8000"]
