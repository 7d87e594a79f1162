"""What may be wrong with one dossier or one list of agencies: each irregularity changes decoded JSON in place.

Numbers in brackets are those of the platform notes' section of irregularities. Keys are each dialect's own.
"""

from calendar import timegm
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Dialect:
    """Where things stand in the JSON of one dossier system; paths are keys joined by dots."""

    detail: tuple[str, str]
    agencies: str
    rows: str
    key: str
    received: str
    dates: frozenset[str]
    flags: frozenset[str]
    name: str
    number: str
    optional: str
    due: str
    codes: tuple[str, str]
    papers: tuple[str, str]
    fees: tuple[str, str]
    agency_code: str
    agency_name: Callable[[dict[str, Any]], tuple[dict[str, Any], str]]

    def dossier(self, path: str) -> str | None:
        """Return the identifier in the path of a detail, None for any other path."""
        before, after = self.detail
        if path.startswith(before) and path.endswith(after):
            return path[len(before) : len(path) - len(after)]
        return None


IGATE = Dialect(
    detail=("/pa/dossier/", "/--online"), agencies="/ba/agency/name+code", rows="content", key="id",
    received="acceptedDate",
    dates=frozenset(("acceptedDate", "appointmentDate", "appliedDate", "completedDate", "returnedDate", "startDate",
                     "dueDate", "paidDate")),
    flags=frozenset(("vneidVerified", "digitised", "reused", "fromPersonalStorage", "isResult")),
    name="applicant.data.ownerFullname", number="supplementCount", optional="applicant.data.phoneNumber",
    due="appointmentDate", codes=("code", "nationCode"), papers=("dossierFormFile", "fromPersonalStorage"),
    fees=("dossierFee", "paidDate"), agency_code="code",
    agency_name=lambda row: (row["name"][0], "name"),
)  # fmt: skip
OPENCPS = Dialect(
    detail=("/o/rest/v2/dossiers/", ""), agencies="/o/rest/v2/dictcollections/GOVERNMENT_AGENCY/dictitems",
    rows="data", key="dossierId", received="receiveDate",
    dates=frozenset(("submitDate", "receiveDate", "dueDate", "releaseDate", "finishDate", "startDate", "endDate",
                     "confirmDatetime")),
    flags=frozenset(("vneidVerified", "digitised", "reused", "fromStorage", "online")),
    name="applicantName", number="correctingCount", optional="contactTelNo",
    due="dueDate", codes=("dossierNo", "dossierIdCTN"), papers=("files", "fromStorage"),
    fees=("payments", "confirmDatetime"), agency_code="itemCode",
    agency_name=lambda row: (row, "itemName"),
)  # fmt: skip


def read_date(value: Any) -> datetime | None:
    """Return a date of either dialect as local time; None for what is none."""
    if not isinstance(value, str) or len(value) < 19:
        return None
    try:
        if value[2] == "/":
            return datetime.strptime(value, "%d/%m/%Y %H:%M:%S")
        return datetime.fromisoformat(value).replace(tzinfo=None)
    except ValueError:
        return None


def received(record: dict[str, Any], dialect: Dialect) -> int:
    """Return the local seconds at which a dossier was received, 0 if that cannot be read."""
    moment = read_date(record.get(dialect.received))
    return timegm(moment.timetuple()) if moment else 0


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for below in list(value.values()):
            yield from _objects(below)
    elif isinstance(value, list):
        for below in value:
            yield from _objects(below)


def _place(record: dict[str, Any], path: str) -> tuple[dict[str, Any], str]:
    *above, key = path.split(".")
    for step in above:
        record = record[step]
    return record, key


def date_forms(record: dict[str, Any], dialect: Dialect, options: dict[str, Any]) -> None:
    """Write dates in the forms met in the field, one after another, and "--" for none [3]."""
    turn = timegm((read_date(record.get(dialect.received)) or datetime(2025, 1, 1)).timetuple())
    for holder in _objects(record):
        for key in holder.keys() & dialect.dates:
            turn += 1
            moment = read_date(holder[key])
            if moment is None:
                holder[key] = holder[key] if turn % 2 else "--"
                continue
            if (moment.hour, moment.minute, moment.second) == (0, 0, 0) and turn % 2:
                holder[key] = moment.strftime("%Y/%m/%d")  # a form without a time
                continue
            holder[key] = (
                moment.strftime("%Y%m%d%H%M%S"),
                moment.strftime("%Y-%m-%dT%H:%M:%S.000+0700"),
                moment.strftime("%d/%m/%Y %H:%M:%S"),
                (timegm(moment.timetuple()) - 7 * 3600) * 1000,
                moment.strftime("%Y-%m-%d %H:%M:%S"),
            )[turn % 5]


def boolean_forms(record: dict[str, Any], dialect: Dialect, options: dict[str, Any]) -> None:
    """Write flags as "True", "1", 1 or true, and their opposites [4]."""
    turn = len(str(record))
    for holder in _objects(record):
        for key in sorted(holder.keys() & dialect.flags):
            said = str(holder[key]).lower()
            if said in ("true", "false", "0", "1"):
                turn += 1
                yes = said in ("true", "1")
                holder[key] = (str(yes), str(int(yes)), str(yes).lower(), yes)[turn % 4]


def key_case(record: dict[str, Any], dialect: Dialect, options: dict[str, Any]) -> None:
    """Write a key in other capitals, as formalityId and formalityID were seen [6]."""
    holder, key = _place(record, dialect.name)
    holder[key[0].upper() + key[1:]] = holder.pop(key)


def new_column(record: dict[str, Any], dialect: Dialect, options: dict[str, Any]) -> None:
    """Send a key that nobody announced."""
    record[options.get("column", "digitalIdentityLevel")] = options.get("value", 2)


def renamed_column(record: dict[str, Any], dialect: Dialect, options: dict[str, Any]) -> None:
    """Send a value under another key."""
    holder, key = _place(record, options.get("column", dialect.received))
    holder[options.get("to", f"{key}New")] = holder.pop(key)


def removed_column(record: dict[str, Any], dialect: Dialect, options: dict[str, Any]) -> None:
    """Leave a key out."""
    holder, key = _place(record, options.get("column", dialect.received))
    holder.pop(key, None)


def wrong_type(record: dict[str, Any], dialect: Dialect, options: dict[str, Any]) -> None:
    """Send an object where a number was."""
    holder, key = _place(record, options.get("column", dialect.number))
    holder[key] = {"value": holder[key]}


def impossible_date(record: dict[str, Any], dialect: Dialect, options: dict[str, Any]) -> None:
    """Send 31 February."""
    old = record[dialect.received]
    record[dialect.received] = (
        f"{old[:5]}02-31{old[10:]}" if isinstance(old, str) and old[4:5] == "-" else "31/02/2025 08:00:00"
    )


def mojibake(record: dict[str, Any], dialect: Dialect, options: dict[str, Any]) -> None:
    """Send the applicant's name as UTF-8 read as windows-1252; `lossy`: what that lacks became a question mark."""
    holder, key = _place(record, options.get("column", dialect.name))
    out = []
    for byte in str(holder[key]).encode():
        try:
            out.append(bytes([byte]).decode("cp1252"))
        except UnicodeDecodeError:
            out.append("?" if options.get("lossy") else chr(byte))
    holder[key] = "".join(out)


def null_key(record: dict[str, Any], dialect: Dialect, options: dict[str, Any]) -> None:
    """Send the dossier without its identifier."""
    record[dialect.key] = None


def no_channel(record: dict[str, Any], dialect: Dialect, options: dict[str, Any]) -> None:
    """Leave the way of filing out, which then counts as filed in person [9]; `direct`: only where it was that."""
    method = record.get("applyMethod", {"id": 0})["id"]
    is_direct = method == 0 and record.get("online", "false") == "false" and not record.get("fromViaPostal")
    if options.get("direct") and not is_direct:
        return
    if "applyMethod" in record:
        record["applyMethod"] = {"id": None, "name": None}
    record.pop("online", None)


def no_due_date(record: dict[str, Any], dialect: Dialect, options: dict[str, Any]) -> None:
    """Leave out when the result is promised [9]."""
    if record[dialect.due]:
        record[dialect.due] = "" if "/" in record[dialect.due] else None


def storage_default(record: dict[str, Any], dialect: Dialect, options: dict[str, Any]) -> None:
    """Say of every paper that it was taken from the citizen's own storage, as one client does by default [8]."""
    key, flag = dialect.papers
    for paper in record[key]:
        paper[flag] = "1"


def twelve_hour_times(record: dict[str, Any], dialect: Dialect, options: dict[str, Any]) -> None:
    """Write when a fee was paid by a clock of twelve hours, without saying which half of the day [15]."""
    key, paid = dialect.fees
    for fee in record[key]:
        moment = read_date(fee[paid])
        if moment is not None:
            # The hour stands at the same place in both dialects.
            fee[paid] = f"{fee[paid][:11]}{moment.hour % 12 or 12:02d}{fee[paid][13:]}"


def own_code(record: dict[str, Any], dialect: Dialect, options: dict[str, Any]) -> None:
    """Give a dossier the same code at the national portal [not 7]."""
    own, national = dialect.codes
    record[national] = record[own]


def applicant_numbers(record: dict[str, Any], dialect: Dialect, options: dict[str, Any]) -> None:
    """Say who applies by the national portal's numbers [not 12]."""
    if "applicantIdType" in record:
        record["applicantIdType"] = {"citizen": "1", "business": "2"}[record["applicantIdType"]]


def unit_names(row: dict[str, Any], dialect: Dialect) -> None:
    """Name an agency with its province behind it; codes stay [16]."""
    holder, key = dialect.agency_name(row)
    province = "Tiền Giang" if row[dialect.agency_code].endswith("H58") else "Đồng Tháp"
    holder[key] = f"{holder[key]} - tỉnh {province}"


Change = Callable[[dict[str, Any], Dialect, dict[str, Any]], None]
#: In the order in which they are made: what has been renamed or removed cannot be found any more.
CHANGES: dict[str, Change] = {
    "no_due_date": no_due_date, "storage_default": storage_default, "twelve_hour_times": twelve_hour_times,
    "date_forms": date_forms, "boolean_forms": boolean_forms, "no_channel": no_channel,
    "new_column": new_column, "wrong_type": wrong_type,
    "impossible_date": impossible_date, "mojibake": mojibake, "null_key": null_key, "key_case": key_case,
    "renamed_column": renamed_column, "removed_column": removed_column,
}  # fmt: skip
#: Habits of a system, and what a dossier is without them.
WITHOUT: dict[str, Change] = {"other_national_code": own_code, "applicant_words": applicant_numbers}
