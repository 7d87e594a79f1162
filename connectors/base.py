"""What every connector does alike: careful HTTP, counted paging, typed chunks.

Class attributes are the policy; a subclass that must relax one overrides one line, and the diff shows it.
Nothing here keeps a value longer than a chunk, and no message holds a query string or a body, because both
can name a person.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import email.utils
import pathlib
import random
import re
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import Any, ClassVar
from urllib.parse import urljoin, urlsplit

import orjson
import pyarrow as pa
import requests
import requests.adapters

from connectors.contract import Contract, contract
from connectors.mapping import Path, declared_keys, flatten, undeclared
from connectors.typing import VIETNAM, MissingColumn, Reject, Typed, repeated_rows, typed_batch
from connectors.unwanted import without


class SourceError(Exception):
    """A source could not be read; the message says what was asked, of whom, and what to do next."""


class SourceUnavailable(SourceError):
    """The source did not answer properly in spite of retries; trying later may help."""


class SourceRefused(SourceError):
    """The source refused the credentials or the request; trying again will not help."""


class SourceChanged(SourceError):
    """The source answered in a shape this connector does not know."""


class PagingError(SourceError):
    """A page was lost or repeated: what was received is not what was announced."""


class ClockWrong(SourceError):
    """The clocks of this machine and of the source differ too far for either to be believed."""


class NotReplayable(SourceError):
    """Rejects of this connector, or of this table, cannot be read again from what was quarantined."""


class BudgetSpent(SourceError):
    """The agreed number of calls is used up."""


@dataclass(frozen=True)
class Endpoint:
    """Where a source is and how to sign in. `secret` never appears in a representation."""

    base_url: str
    login: str = ""
    secret: str = dataclasses.field(default="", repr=False)
    options: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class Interval:
    """Half-open span of time ``[start, end)``; both ends carry a time zone."""

    start: dt.datetime
    end: dt.datetime

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise ValueError("an interval needs times with a zone")
        if not self.start < self.end:
            raise ValueError(f"an interval needs start before end, got {self.start} and {self.end}")


@dataclass(frozen=True)
class Quarantined:
    """A payload that may not be written in clear: a rejected record, or values of undeclared columns."""

    table: str
    key: dict[str, str | None]
    field: str
    kind: str
    payload: bytes = dataclasses.field(repr=False)


@dataclass
class Chunk:
    """Some records of a pull: typed clear batches by table, rejects, and what goes to quarantine."""

    tables: dict[str, pa.RecordBatch] = dataclasses.field(default_factory=dict)
    rejects: list[Reject] = dataclasses.field(default_factory=list)
    quarantine: list[Quarantined] = dataclasses.field(default_factory=list)
    #: Tables of which at least one record was read: their columns are known to be sent.
    shown: set[str] = dataclasses.field(default_factory=set)


@dataclass
class TableCount:
    """Balance of one table: announced = landed + rejected + duplicates, or announced unknown (None)."""

    announced: int | None = None
    rejected: int = 0
    #: Of `rejected`, what says nothing of the interval: records held as open that the source has purged, and those
    #: that were refused before and are read once more.
    aside: int = 0
    duplicates: int = 0
    undeclared: Counter[str] = dataclasses.field(default_factory=Counter)
    #: What was dropped on receipt, by path (`connectors.unwanted`); it stands in no other count of values.
    dropped: Counter[str] = dataclasses.field(default_factory=Counter)


@dataclass
class PullReport:
    """What a pull met, for the manifest."""

    counts: dict[str, TableCount] = dataclasses.field(default_factory=dict)
    windows: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    calls: int = 0
    retries: int = 0
    notes: list[str] = dataclasses.field(default_factory=list)


@dataclass(frozen=True)
class Request:
    """What to pull: a half-open interval, and beside it records by their keys.

    `still_open` are those the warehouse holds as open, `not_held` those the source was found to list and it lacks.
    """

    interval: Interval
    still_open: Callable[[], Iterable[str]] = tuple
    on_progress: Callable[[str], None] = lambda _: None
    not_held: Callable[[], Iterable[str]] = tuple


class Connector:
    """One external system. Subclasses give `dialect`, `tables` and `chunks`."""

    dialect: ClassVar[str]
    tables: ClassVar[tuple[str, ...]]
    #: Those of `tables` whose rejects `again` can read by themselves.
    replayable: ClassVar[tuple[str, ...]] = ()
    #: Statuses of records that may still change; the warehouse's records in them are read again each run.
    open_statuses: ClassVar[tuple[str, ...]] = ()

    connect_timeout: ClassVar[float] = 10.0
    read_timeout: ClassVar[float] = 60.0
    attempts: ClassVar[int] = 5
    backoff: ClassVar[float] = 0.5
    backoff_limit: ClassVar[float] = 30.0
    retry_after_limit: ClassVar[float] = 300.0
    retry_statuses: ClassVar[frozenset[int]] = frozenset({429, 500, 502, 503, 504})
    success_statuses: ClassVar[frozenset[int]] = frozenset({200})
    redirects: ClassVar[int] = 3
    page_size: ClassVar[int] = 200
    chunk_size: ClassVar[int] = 2_000
    #: Seconds between two calls of one connector; a public site that is not ours gets at least one.
    min_delay: ClassVar[float] = 0.0
    concurrency: ClassVar[int] = 4
    max_calls: ClassVar[int] = 2_000_000
    #: So many records without a key say that the source has stopped sending it; fewer may just lack it.
    enough: ClassVar[int] = 20
    #: How far this machine's clock may be from the source's before it is noted, and before nothing is landed.
    clock_noted: ClassVar[dt.timedelta] = dt.timedelta(minutes=5)
    clock_limit: ClassVar[dt.timedelta] = dt.timedelta(hours=1)
    #: Words that `options` of a source may hold: those of every connector, and those of this one.
    common_options: ClassVar[tuple[str, ...]] = (
        "min_delay", "concurrency", "max_calls", "page_size", "chunk_size", "margin_days", "ca_file",
    )  # fmt: skip
    own_options: ClassVar[tuple[str, ...]] = ()
    #: How far a run looks back before its interval for rows that reached the source late.
    margin: ClassVar[dt.timedelta] = dt.timedelta(days=7)

    def __init__(self, source_code: str, endpoint: Endpoint) -> None:
        self.source_code = source_code
        self.endpoint = endpoint
        self.report = PullReport(counts={t: TableCount() for t in self.tables})
        for option in ("min_delay", "concurrency", "max_calls", "page_size", "chunk_size"):
            if option in endpoint.options:
                setattr(self, option, type(getattr(self, option))(endpoint.options[option]))
        if "margin_days" in endpoint.options:
            self.margin = dt.timedelta(days=float(endpoint.options["margin_days"]))  # type: ignore[misc]
        #: Mends the columns of a table, in place, before they are typed; set where rejects are replayed.
        self.repair: Callable[[str, dict[str, list[Any]]], None] | None = None
        ca_file = endpoint.options.get("ca_file")
        if ca_file is not None and not pathlib.Path(ca_file).is_file():
            raise SourceRefused(
                f"{source_code}: looked for the certificates of its authority at {ca_file} (ca_file in this source's "
                "options) and found no file. Put the authority's certificate there, in PEM form."
            )
        self._ca_file: str | bool = True if ca_file is None else str(ca_file)
        self._clock_seen = False
        self._tallies: Counter[str] = Counter()
        self._local = threading.local()
        self._lock = threading.Lock()
        # Apart from the budget's lock: signing in is itself a call that spends.
        self._login_lock = threading.Lock()
        self._token: str | None = None
        self._last_call = 0.0

    def chunks(self, request: Request) -> Iterator[Chunk]:
        """Everything the source holds for `request`, typed; raises SourceError or MissingColumn."""
        raise NotImplementedError

    def landed(self) -> None:
        """Called once the batch of `chunks` stands; a source that must be told so (a folder) overrides this."""

    def again(self, table: str, keys: Sequence[Mapping[str, str | None]], payloads: Sequence[bytes]) -> Chunk:
        """Rejects of `table`, as they were quarantined under `keys`, read and typed anew in their order.

        Raises NotReplayable where a payload alone does not say what it was.
        """
        raise NotReplayable(
            f"{self.source_code}: rejects of {table} are not replayed ({self.dialect}). Mend the source or the "
            "contract and read the interval again."
        )

    # --- calls ---------------------------------------------------------------------------------------

    def login(self) -> str | None:
        """A fresh token for the Authorization header, or None where the source needs none."""
        return None

    def call(
        self,
        method: str,
        path: str,
        *,
        params: dict[str, Any] | None = None,
        body: Any = None,
        form: dict[str, str] | None = None,
        signed: bool = True,
        absent: frozenset[int] = frozenset(),
        read: Callable[[bytes], Any] = orjson.loads,
    ) -> Any:
        """One answer of the source as decoded JSON, or as `read` decodes it; None for a status in `absent`.

        Retries what may pass (connection, 429, 5xx, cut JSON, an HTML page in place of JSON) with growing,
        jittered pauses, honouring Retry-After; signs in again once when the token has expired. Raises a
        SourceError that names the path without its query.
        """
        url = self.endpoint.base_url.rstrip("/") + path
        trouble = ""
        signed_again = False
        attempt = 0
        while attempt < self.attempts:
            attempt += 1
            if attempt > 1:
                self.report.retries += 1
            # Before this call spends and keeps its pace: signing in is a call of its own.
            token = (self._token or self._sign_in(stale="")) if signed else None
            self._spend(method, path)
            try:
                response = self._send(method, url, params, body, form, token)
            except requests.exceptions.SSLError as e:
                clock = dt.datetime.now(VIETNAM)
                raise SourceRefused(
                    self._say(method, path, f"its TLS certificate could not be verified{_tls_reason(e)}")
                    + f" This machine's clock says {clock:%d/%m/%Y %H:%M}. If that is right, ask the source's owner to "
                    "renew the certificate; if an authority of the province's own issued it, name that authority's "
                    "certificate as ca_file in this source's options. Verification is never switched off. Nothing was "
                    "landed; then clear the task."
                ) from None
            except (
                requests.exceptions.ConnectionError,
                requests.exceptions.Timeout,
                # A body cut off on its way.
                requests.exceptions.ChunkedEncodingError,
                requests.exceptions.ContentDecodingError,
            ) as e:
                trouble = f"no answer ({type(e).__name__})"
                self._pause(attempt, None)
                continue
            except (requests.exceptions.RequestException, ValueError) as e:
                # ValueError: an address, here or in a redirect, that is none; its message would quote it.
                raise SourceRefused(
                    self._say(method, path, f"the call could not be made ({type(e).__name__})")
                    + " Check the address in this source's Airflow connection."
                ) from None
            self._compare_clocks(method, path, response)
            status = response.status_code
            if status in absent:
                return None
            if status == 401 and signed and not signed_again:
                signed_again = True
                attempt -= 1
                self._sign_in(stale=response.request.headers.get("Authorization", ""))
                continue
            if status in (401, 403) and not _is_html(response):
                raise SourceRefused(
                    self._say(method, path, f"HTTP {status}, also after signing in again")
                    + " Check the user and secret of this source's Airflow connection."
                )
            if status in self.retry_statuses or _is_html(response):
                trouble = f"HTTP {status}" + (" with an HTML page instead of JSON" * _is_html(response))
                self._pause(attempt, response.headers.get("Retry-After"))
                continue
            if status not in self.success_statuses:
                raise SourceRefused(self._say(method, path, f"HTTP {status}"))
            try:
                return read(response.content)
            except orjson.JSONDecodeError:
                trouble = f"HTTP {status} with {len(response.content)} bytes that are not whole JSON"
                self._pause(attempt, None)
        raise SourceUnavailable(
            self._say(method, path, f"{trouble}, {self.attempts} times in a row")
            + " Nothing was landed; the task will try again, or clear it once the source answers."
        )

    def _send(
        self,
        method: str,
        url: str,
        params: dict[str, Any] | None,
        body: Any,
        form: dict[str, str] | None,
        token: str | None,
    ) -> requests.Response:
        headers = {"Accept": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if body is not None:
            headers["Content-Type"] = "application/json; charset=utf-8"
        for _ in range(self.redirects + 1):
            response = self._one(method, url, params, body, form, headers)
            if not response.is_redirect:
                return response
            target = urljoin(url, response.headers["Location"])
            here, there = urlsplit(url), urlsplit(target)
            if (here.scheme, here.netloc) != (there.scheme, there.netloc):
                raise SourceRefused(
                    self._say(method, here.path, f"it redirects to another host, {there.hostname}")
                    + " Redirects to other hosts are refused, because they would carry the token away; if the "
                    "source has moved, change the address in its Airflow connection."
                )
            url, params = target, None
        raise SourceRefused(self._say(method, urlsplit(url).path, "it redirects in a circle"))

    def _one(
        self,
        method: str,
        url: str,
        params: dict[str, Any] | None,
        body: Any,
        form: dict[str, str] | None,
        headers: dict[str, str],
    ) -> requests.Response:
        session = self._session()
        words: dict[str, Any] = {
            "timeout": (self.connect_timeout, self.read_timeout),
            "allow_redirects": False,
        }
        if method == "GET" and not params and body is None and not session.cookies and url.isascii():
            # Thousands of details differ in their path alone. Preparing each request anew takes as long as sending it.
            kept = getattr(self._local, "prepared", None)
            if kept is None or kept[0] != headers:
                kept = headers, session.prepare_request(requests.Request(method, url, headers=headers))
                self._local.prepared = kept
            prepared = kept[1].copy()
            prepared.url = url
            return session.send(prepared, proxies={}, **words)
        data = orjson.dumps(body) if body is not None else form
        return session.request(method, url, params=params, data=data, headers=headers, **words)

    def _compare_clocks(self, method: str, path: str, response: requests.Response) -> None:
        """A wrong clock asks for the wrong days, and makes an older answer look newer; the first answer tells."""
        if self._clock_seen:
            return
        told = _moment_of(response.headers.get("Date"))
        if told is None:
            return
        self._clock_seen = True
        age = response.headers.get("Age", "")  # a cache on the way gives the Date of the original answer
        told += dt.timedelta(seconds=min(int(age), 10**8) if age.isdecimal() else 0)
        here = dt.datetime.now(dt.UTC)
        if abs(here - told) < self.clock_noted:
            return
        said = (
            f"this machine's clock says {here.astimezone(VIETNAM):%d/%m/%Y %H:%M}, the source's "
            f"{told.astimezone(VIETNAM):%d/%m/%Y %H:%M}"
        )
        if abs(here - told) < self.clock_limit:
            self.report.notes.append(f"clocks: {said}")
            return
        raise ClockWrong(
            self._say(method, path, said)
            + " Nothing was landed: with a wrong clock a run asks for the wrong days, and older answers would pass "
            "for newer ones. Compare both with a third (timedatectl; chronyc tracking). If this machine's is wrong, "
            "mend it and clear the task; if the source's is, tell its owner."
        )

    def _session(self) -> requests.Session:
        session = getattr(self._local, "session", None)
        if session is None:
            session = requests.Session()
            # A proxy or .netrc of the environment must not redirect credentials unasked.
            session.trust_env = False
            session.verify = self._ca_file
            session.headers["User-Agent"] = "kho-chung (kho du lieu dung chung)"
            self._local.session = session
        return session

    def _sign_in(self, stale: str) -> str | None:
        with self._login_lock:
            if self._token is None or stale == f"Bearer {self._token}":
                self._token = self.login()
            return self._token

    def _spend(self, method: str, path: str) -> None:
        with self._lock:
            if self.report.calls >= self.max_calls:
                raise BudgetSpent(
                    self._say(method, path, f"the budget of {self.max_calls} calls for one run is used up")
                    + " Run a shorter interval, or raise max_calls for this source in ops/sources.yml once "
                    "its owner agrees."
                )
            self.report.calls += 1
            wait = self._last_call + self.min_delay - time.monotonic() if self.min_delay else 0.0
            wait = max(wait, 0.0) * (1 + random.random() / 2)  # noqa: S311 - jitter, not secrecy
            # The next call keeps its distance from this one's real moment, jitter included.
            self._last_call = time.monotonic() + wait
        if wait > 0:
            time.sleep(wait)

    def _pause(self, attempt: int, retry_after: str | None) -> None:
        if attempt >= self.attempts:
            return
        pause = min(self.backoff_limit, self.backoff * 2 ** (attempt - 1))
        pause *= 0.5 + random.random()  # noqa: S311
        asked = _retry_after_seconds(retry_after)
        if asked is not None:
            if asked > self.retry_after_limit:
                raise SourceUnavailable(
                    f"{self.source_code}: the source asks for a pause of {asked:.0f} s, more than the "
                    f"{self.retry_after_limit:.0f} s a task may wait. Run the task again after that."
                )
            pause = max(pause, asked)
        time.sleep(pause)

    def _say(self, method: str, path: str, what: str) -> str:
        return f"{self.source_code}: {method} {path} at {_place(self.endpoint.base_url)}: {what}."

    def map_calls(self, function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        """`function` of every item, in order, with at most `concurrency` calls under way at once."""
        if self.concurrency == 1 or len(items) < 2:
            return [function(i) for i in items]
        with ThreadPoolExecutor(self.concurrency) as pool:
            return list(pool.map(function, items))

    def calls_ahead(
        self, function: Callable[[Any], Any], parts: Iterable[Sequence[Any]]
    ) -> Iterator[tuple[Sequence[Any], list[Any]]]:
        """Each part with `function` of its items, the next part's calls under way while the caller works on it."""
        if self.concurrency == 1:
            yield from ((part, [function(i) for i in part]) for part in parts)
            return
        with ThreadPoolExecutor(self.concurrency) as pool:
            try:
                part: Sequence[Any] = ()
                ahead: list[Future[Any]] = []
                for following in chain(parts, [()]):
                    done, ahead = ahead, [pool.submit(function, i) for i in following]
                    if part:
                        yield part, [f.result() for f in done]
                    part = following
            finally:
                pool.shutdown(cancel_futures=True)

    # --- paging --------------------------------------------------------------------------------------

    def read_pages(
        self, read: Callable[[int], tuple[list[Any], int | None]]
    ) -> tuple[int | None, list[Any], int | None]:
        """(announced by the first page, rows of all pages, announced by the last); pages count from 0.

        `read` gives one page's rows and the number announced beside them. Goes on to an empty page, whatever
        was announced: a source that announces too few loses nothing.
        """
        found, first = read(0)
        rows, total, page = list(found), first, 0
        while found:
            page += 1
            last, (found, total) = found, read(page)
            if found and found == last:
                raise PagingError(
                    f"{self.source_code}: page {page} of a list is page {page - 1} again, so its end would never "
                    "come. The source does not know the page number as it is sent; compare its documentation "
                    "with the connector."
                )
            rows += found
        return first, rows, total

    def keys_of(self, method: str, path: str, rows: Sequence[Any], key: str = "id") -> list[str]:
        """Identifier of each row of a list; SourceChanged where a row is no object or has none."""
        keys = [row.get(key) if isinstance(row, dict) else None for row in rows]
        if not all(isinstance(k, str) and k for k in keys):
            raise SourceChanged(
                self._say(method, path, f"a row of the list holds no {key!r}")
                + " The source has probably renamed it; compare its answer with the connector's mapping."
            )
        return keys  # type: ignore[return-value]

    def counted_window(self, name: str, read: Callable[[], tuple[int | None, list[str], int | None]]) -> list:
        """Keys of one window; `read` gives (announced before, keys, announced after).

        A window whose keys repeat, or whose number differs from what is announced, is read once more,
        because rows may move between two pages while they are read; a second time it is an error.
        """
        for attempt in (1, 2):
            before, keys, after = read()
            distinct = len(set(keys))
            fine = distinct == len(keys) and (after is None or distinct == after)
            if fine:
                self.report.windows.append(
                    {
                        "window": name,
                        "announced_before": before,
                        "announced_after": after,
                        "received": len(keys),
                    }
                )
                return keys
            self.report.notes.append(
                f"{name}: attempt {attempt}: announced {before} before and {after} after, received "
                f"{len(keys)}, distinct {distinct}"
            )
        raise PagingError(
            f"{self.source_code}: {name}: announced {after}, received {len(keys)} rows of which {distinct} are "
            "distinct, in two readings. A page was lost or repeated, so nothing was landed. Run the task "
            "again when the source is quieter; if it repeats, its paging has changed."
        )

    # --- typing --------------------------------------------------------------------------------------

    def take(
        self,
        chunk: Chunk,
        table: str,
        records: Sequence[Any],
        mapping: Mapping[str, str | Path],
        ignored: Sequence[str] = (),
    ) -> Typed:
        """Nested records of one table into `chunk`: mapped, typed, undeclared values to quarantine.

        Keys of `ignored` are known and not wanted; any other key that no column takes is undeclared.
        """
        columns, paths = flatten(records, mapping)
        result = self.typed(chunk, table, columns, records, paths)
        rejected = {r.position for r in result.rejects}
        for position, extra in undeclared(records, declared_keys(mapping, ignored), Counter()):
            values = {k: columns[k][position] for k in contract(table).key}
            key = {k: str(v) if isinstance(v, str | int) else None for k, v in values.items()}
            self.quarantine_undeclared(chunk, table, key, extra, position in rejected)
        return result

    def apart(self, table: str) -> Collection[str]:
        """Keys of a record of `table` whose entries are rows of another table: rejected and counted there."""
        return ()

    def quarantine_undeclared(
        self,
        chunk: Chunk,
        table: str,
        key: dict[str, str | None],
        extra: Mapping[str, Any],
        is_rejected: bool = False,
    ) -> None:
        """Count values that no column takes, {path: value} of one record, and set them aside but for the unwanted.

        The unwanted of a rejected record were counted when the whole of it was set aside (`typed`).
        """
        count = self.report.counts[table]
        kept = without(dict(extra), Counter() if is_rejected else count.dropped)
        count.undeclared.update(dict.fromkeys(kept, 1))
        if kept:
            payload = orjson.dumps(kept, default=str)
            chunk.quarantine.append(Quarantined(table, key, ", ".join(kept), "undeclared", payload))

    def _rejected_payload(self, table: str, record: Any, where: Mapping[str, str]) -> bytes:
        """A rejected record as JSON, without what is dropped on receipt."""
        sealed_by_drop = (c.name for c in contract(table).columns if c.seal == "drop")
        also = frozenset(where.get(name, name).rpartition(".")[2] for name in sealed_by_drop)
        found: Counter[str] = Counter()
        kept = without(orjson.loads(orjson.dumps(record, default=str)), found, also)
        apart = self.apart(table)
        self.report.counts[table].dropped.update(
            {p: n for p, n in found.items() if p in apart or re.split(r"[.\[]", p)[0] not in apart}
        )
        return orjson.dumps(kept)

    def typed(
        self,
        chunk: Chunk,
        table: str,
        columns: dict[str, list[Any]],
        records: Sequence[Any],
        paths: dict[str, str] | None = None,
        refused: dict[int, str] | None = None,
    ) -> Typed:
        """Type one table into `chunk`, behind what it holds of it: rejects are counted, and go to quarantine.

        `columns` are lists of values, or Arrow arrays where they were decoded so.
        """
        known: Contract = contract(table)
        count = self.report.counts[table]
        columns["source_code"] = pa.repeat(self.source_code, len(records))
        if self.repair is not None:
            self.repair(table, columns)
        before = chunk.tables.get(table)
        result = typed_batch(known, columns, paths, refused, seen=table in chunk.shown)
        if len(records):
            chunk.shown.add(table)
        where = paths or {}
        for name in result.unsent if len(records) >= self.enough else ():
            self._tally(
                f"{table}.{name}: records without any {where.get(name, name)!r}, empty here", len(records)
            )
        for name, number in result.restored.items():
            self._tally(f"{table}.{name}: texts restored that were UTF-8 read as windows-1252", number)
        if before is not None:
            both = pa.Table.from_batches([before, result.batch]).combine_chunks()
            result.batch = (both.to_batches() or [before])[0]
        repeated = repeated_rows(result.batch, known.key)
        if repeated:
            count.duplicates += len(repeated)
            keep = pa.array([p not in repeated for p in range(result.batch.num_rows)], pa.bool_())
            result.batch = result.batch.filter(keep)
        count.rejected += len(result.rejects)
        chunk.tables[table] = result.batch
        chunk.rejects += result.rejects
        chunk.quarantine += [
            Quarantined(
                table, r.key, r.field, "reject", self._rejected_payload(table, records[r.position], where)
            )
            for r in result.rejects
        ]
        return result

    def _tally(self, what: str, number: int) -> None:
        """A note of the report whose number grows."""
        if what in self._tallies:
            self.report.notes.remove(f"{what}: {self._tallies[what]:,}")
        self._tallies[what] += number
        self.report.notes.append(f"{what}: {self._tallies[what]:,}")


def _place(url: str) -> str:
    """Host and port of `url`, without the user and password that may stand before them."""
    try:
        parts = urlsplit(url)
        return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
    except ValueError:
        return "an address that cannot be read"


def _is_html(response: requests.Response) -> bool:
    return "html" in response.headers.get("Content-Type", "") or response.content[:64].lstrip()[:1] == b"<"


def _retry_after_seconds(header: str | None) -> float | None:
    if not header:
        return None
    if header.strip().isdecimal():
        return float(header)
    moment = _moment_of(header)
    return None if moment is None else max(0.0, (moment - dt.datetime.now(dt.UTC)).total_seconds())


def _moment_of(header: str | None) -> dt.datetime | None:
    """The moment of an HTTP date; None for anything else."""
    try:
        moment = email.utils.parsedate_to_datetime(header or "")
    except (ValueError, TypeError, IndexError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)  # "-0000" says UTC without a place


def _tls_reason(error: BaseException) -> str:
    """What OpenSSL found wrong with a certificate, such as ": certificate has expired"."""
    seen: list[Any] = [error]
    for one in seen:
        if isinstance(one, ssl.SSLCertVerificationError):
            return f": {one.verify_message}" if one.verify_message else ""
        found = [*getattr(one, "args", ()), getattr(one, "reason", None), getattr(one, "__context__", None)]
        seen += [f for f in found if isinstance(f, BaseException) and not any(f is s for s in seen)]
    return ""


__all__ = [
    "BudgetSpent",
    "Chunk",
    "ClockWrong",
    "Connector",
    "Endpoint",
    "Interval",
    "MissingColumn",
    "NotReplayable",
    "PagingError",
    "PullReport",
    "Quarantined",
    "Request",
    "SourceChanged",
    "SourceError",
    "SourceRefused",
    "SourceUnavailable",
]
