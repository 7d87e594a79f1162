"""What the dossier systems of the provinces have in common: windows of dates, one detail a dossier, its lists.

A dialect gives its shape (`DossierSystem.shape`), its windows, and how to call; reading, typing, rejects and what is
undeclared are the same for all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, ClassVar

import msgspec
import numpy as np
import orjson
import pyarrow as pa

from connectors.base import Chunk, Connector, Endpoint, Interval, Request
from connectors.bulk import Layout, NotOfThisShape, Shape
from connectors.mapping import flatten, listed, undeclared
from connectors.typing import MISSING, MissingColumn


class Detail(msgspec.Struct, gc=False):
    """One dossier as received, and decoded where it is odd (see `connectors.bulk`)."""

    content: bytes
    record: dict[str, Any] | None = None

    @classmethod
    def read(cls, content: bytes, layout: Layout | None = None) -> Detail:
        """JSONDecodeError if the answer is cut. What is no dossier lacks everything."""
        if layout is not None and layout.accepts(content):
            return cls(content)
        answer = orjson.loads(content)
        return cls(content, answer if isinstance(answer, dict) else {})

    def entry(self, key: str, index: int) -> Any:
        """The record, or one entry of its list `key`: decoded once more, for the few that are rejected."""
        record = orjson.loads(self.content)
        return listed(record[key])[index] if key else record


@dataclass
class _Origin(Sequence[Any]):
    """The record that each row of a table came from."""

    ids: list[str]
    details: Sequence[Detail | None]
    key: str
    owners: np.ndarray

    def __len__(self) -> int:
        return len(self.owners)

    def __getitem__(self, position: Any) -> Any:
        owner = int(self.owners[position])
        detail = self.details[owner]
        if detail is None:
            return {"dossier_id": self.ids[owner]}
        return detail.entry(self.key, position - int(np.searchsorted(self.owners, owner)))


class DossierSystem(Connector):
    """Dossiers, their steps, papers and fees, and the agencies of one installation."""

    tables = ("agency", "dossier", "dossier_step", "dossier_paper", "dossier_fee")
    replayable = tables[1:]
    #: The date windows its list offers, the one by receipt first. A dossier may stand in several; it is read once.
    windows: ClassVar[tuple[str, ...]]
    #: Columns that are null, not missing, where the source leaves their key out.
    optional: ClassVar[tuple[str, ...]] = ()
    own_options: ClassVar[tuple[str, ...]] = ("absent_lists",)
    #: So many details show the form of each value; they are read one after another.
    learn_from: ClassVar[int] = 40
    #: Public clients of these systems read for up to three minutes.
    read_timeout: ClassVar[float] = 180.0
    _layout: Layout | None = None
    #: Asked for because the warehouse holds them as open, and in no window.
    _only_open: frozenset[str] = frozenset()
    _lacking: frozenset[str] = frozenset()

    def __init__(self, source_code: str, endpoint: Endpoint) -> None:
        super().__init__(source_code, endpoint)
        #: Keys that at least one dossier of this pull held, its lists among them; how many dossiers were read for it.
        self._lists: set[str] = set()
        self._read = 0

    @staticmethod
    def shape() -> Shape:
        """The shape of a detail with its lists; made once."""
        raise NotImplementedError

    def agencies(self) -> Chunk:
        """All agencies of the installation."""
        raise NotImplementedError

    def window(self, name: str, interval: Interval) -> tuple[int | None, list[str], int | None]:
        """(announced by the first page, identifiers of all pages, announced by the last) of one window."""
        raise NotImplementedError

    def detail(self, dossier_id: str) -> Detail | None:
        """One dossier, read by `self.read`; None if the source no longer has it."""
        raise NotImplementedError

    def derive(self, table: str, columns: dict[str, Any]) -> None:
        """Make columns that are no plain value of the source; lists, or Arrow arrays."""

    def apart(self, table: str) -> Collection[str]:
        """The lists of a dossier."""
        return self.shape().lists if table == "dossier" else ()

    def announces(self) -> bool:
        """Whether this installation says how many rows a window has."""
        return True

    # --- pulling -------------------------------------------------------------------------------------

    def chunks(self, request: Request) -> Iterator[Chunk]:
        """Agencies first, then every dossier of the windows, still open, or listed and not held, each once."""
        yield self.agencies()
        count = self.report.counts["dossier"]
        wanted: dict[str, None] = {}
        announced = 0
        interval = Interval(request.interval.start - self.margin, request.interval.end)
        for window in self.windows:
            # Identifiers only: a year's items would fill memory.
            keys = self.counted_window(
                f"{window} in the interval",
                lambda w=window: self.window(w, interval),  # type: ignore[misc]
            )
            announced += len(keys)
            wanted.update(dict.fromkeys(keys))
        for said, asked in (
            ("still open in the warehouse", list(request.still_open())),
            ("listed by the source and not held", list(request.not_held())),
        ):
            announced += len(asked)
            beside = frozenset(k for k in asked if k not in wanted)
            self._only_open, self._lacking = self._only_open | beside, beside
            wanted.update(dict.fromkeys(asked))
            if asked:
                self.report.windows.append({"window": said, "asked": len(asked)})
        count.announced = announced if self.announces() else None
        count.duplicates += announced - len(wanted)
        # As one array, or a year's identifiers would stay in memory beside every chunk.
        ids = pa.array(wanted, pa.string(), size=len(wanted))
        wanted.clear()
        # The first few are read leniently and show in which form this installation sends each value.
        first = ids[: self.learn_from].to_pylist()
        details = [self.detail(i) for i in first]
        self.learn(details)
        yield self.chunk(first, details)
        done = len(first)
        places = range(done, len(ids), self.chunk_size)
        parts = (ids[p : p + self.chunk_size].to_pylist() for p in places)
        for part, details in self.calls_ahead(self.detail, parts):
            done += len(part)
            yield self.chunk(list(part), details)
            request.on_progress(f"{self.source_code}: {done:,} of {len(ids):,} dossiers")
        self._need_lists()

    def _need_lists(self) -> None:
        """MissingColumn where no dossier held a list: an empty one is an answer, none at all would empty its table."""
        without = self.endpoint.options.get("absent_lists", ())
        for key, entry in self.shape().lists.items() if self._read >= self.enough else ():
            if key not in self._lists and key not in without:
                raise MissingColumn(
                    f"{self.source_code}: the list of {entry.table} is missing: looked for {key!r} in {self._read:,} "
                    "dossiers and found it in none. The source has probably renamed or removed it; compare its answer "
                    "with the connector's mapping. If this installation never sends it, name it in absent_lists of "
                    "this source's options. Nothing was landed."
                )

    def keys(self, interval: Interval) -> list[str]:
        """Every dossier received in the interval, by the list alone (`connectors.keys`)."""
        return self.counted_window(
            "keys of the dossiers received", lambda: self.window(self.windows[0], interval)
        )

    def gone(self, keys: Sequence[str]) -> list[str]:
        """Dossiers that the source says it does not have."""
        return [k for k, d in zip(keys, self.map_calls(self.detail, keys), strict=True) if d is None]

    def read(self, content: bytes) -> Detail:
        """One answer as a `Detail`; JSONDecodeError if it is cut."""
        return Detail.read(content, self._layout)

    def learn(self, details: Sequence[Detail | None]) -> None:
        """Take the forms of values from details that were read leniently."""
        records = [d.record for d in details if d is not None]
        self._lists.update(*(r or {} for r in records))
        self._layout = self.shape().learn(records)

    def again(self, table: str, keys: Sequence[Mapping[str, str | None]], payloads: Sequence[bytes]) -> Chunk:
        """Rejected dossiers with all that belongs to them, or rejected rows of their lists."""
        chunk = Chunk(shown=set(self.tables))  # a few rejects say nothing of the source's shape
        ids = [str(k.get("dossier_id")) for k in keys]
        if table == "dossier":
            self._odd(
                chunk, ids, [Detail(p, r if isinstance(r := orjson.loads(p), dict) else {}) for p in payloads]
            )
            return chunk
        for key, shape in self.shape().lists.items():
            if shape.table == table:
                records = [orjson.loads(p) for p in payloads]
                columns, paths = flatten(records, shape.mapping)
                columns["dossier_id"] = list(ids)
                self.derive(table, columns)
                self.typed(chunk, table, columns, records, {c: f"{key}[].{p}" for c, p in paths.items()})
                return chunk
        return super().again(table, keys, payloads)

    # --- typing --------------------------------------------------------------------------------------

    def chunk(self, ids: list[str], details: Sequence[Detail | None]) -> Chunk:
        """Dossiers asked for by `ids`, typed."""
        chunk = Chunk()
        self._read += len(details) - details.count(None)
        clean = [p for p, d in enumerate(details) if d is not None and d.record is None]
        if clean and self._layout is not None:
            try:
                found = self._layout.read([d.content for p in clean if (d := details[p])])
            except NotOfThisShape:
                details = [d and Detail.read(d.content) for d in details]
                clean = []
            else:
                part = [ids[p] for p in clean], [details[p] for p in clean]
                self._part(chunk, *part, {t: (r.columns, r.owners) for t, r in found.items()})
                self._lists.update(k for k, e in self.shape().lists.items() if len(found[e.table].owners))
        if len(clean) < len(ids):
            taken = set(clean)
            odd = [p for p in range(len(ids)) if p not in taken]
            self._odd(chunk, [ids[p] for p in odd], [details[p] for p in odd])
        return chunk

    def _odd(self, chunk: Chunk, ids: list[str], details: Sequence[Detail | None]) -> None:
        """Dossiers that do not keep to the shape, or that the source no longer has."""
        shape = self.shape()
        records = [{} if d is None else d.record or {} for d in details]
        self._lists.update(*records)
        columns, _ = flatten(records, shape.mapping)
        for name in self.optional:
            columns[name] = [None if v is MISSING else v for v in columns[name]]
        for position, detail in enumerate(details):
            if detail is None:
                columns["dossier_id"][position] = ids[position]
        found: dict[str, tuple[Any, np.ndarray]] = {"dossier": (columns, np.arange(len(ids)))}
        received: list[tuple[Shape, Sequence[str], Sequence[Any]]] = [(shape, ids, records)]
        for key, entry in shape.lists.items():
            lists = [listed(r.get(key)) for r in records]
            owners = np.repeat(np.arange(len(ids)), [len(entries) for entries in lists])
            flat = list(chain.from_iterable(lists))
            found[entry.table] = (flatten(flat, entry.mapping)[0], owners)
            received.append((entry, [ids[o] for o in owners], flat))
        rejected = self._part(chunk, ids, details, found)
        for each, keys, entries in received:
            for position, extra in undeclared(entries, each.known, Counter()):
                key_of: dict[str, str | None] = {"dossier_id": keys[position]}
                self.quarantine_undeclared(chunk, each.table, key_of, extra, position in rejected[each.table])

    def _part(
        self,
        chunk: Chunk,
        ids: list[str],
        details: Sequence[Detail | None],
        found: dict[str, tuple[dict[str, Any], np.ndarray]],
    ) -> dict[str, set[int]]:
        """Type dossiers and what belongs to them; positions of rejected rows by table.

        `found` is {table: (columns, position of each row's dossier)}.
        """
        shape = self.shape()
        columns, owners = found["dossier"]
        own_ids = columns["dossier_id"] = _as_text(columns["dossier_id"])
        # A dossier the source no longer has keeps its place, so that the balance stays honest.
        gone = {p: "the source no longer has this dossier" for p, d in enumerate(details) if d is None}
        purged = {p for p in gone if ids[p] in self._only_open}
        if purged:
            self._tally("dossiers held as open that the source no longer has", len(purged))
        answered = own_ids.to_pylist() if isinstance(own_ids, pa.Array) else own_ids
        gone |= {
            p: "the source answered with another dossier"
            for p, (asked, own) in enumerate(zip(ids, answered, strict=True))
            if isinstance(own, str) and own != asked
        }
        nameless = {
            p: "the source answered without the dossier's key"
            for p, own in enumerate(answered)
            if own is None
        }
        if nameless:
            # Under the key it was asked for, so that the reject can be found again.
            own_ids = [ids[p] if own is None else own for p, own in enumerate(answered)]
            columns["dossier_id"] = own_ids
            gone |= nameless
        self.derive("dossier", columns)
        origin = _Origin(ids, details, "", owners)
        bad = {r.position for r in self.typed(chunk, "dossier", columns, origin, shape.paths, gone).rejects}
        rejected = {"dossier": bad}
        again = {p for p in bad if ids[p] in self._lacking}
        self.report.counts["dossier"].aside += len(purged | again)
        for key, entry in shape.lists.items():
            columns, owners = found[entry.table]
            columns["dossier_id"] = (
                own_ids.take(pa.array(owners))
                if isinstance(own_ids, pa.Array)
                else [own_ids[o] for o in owners]
            )
            self.derive(entry.table, columns)
            refused = {p: "its dossier was rejected" for p, o in enumerate(owners) if o in bad} if bad else {}
            paths = {c: f"{key}[].{p}" for c, p in entry.paths.items()}
            typed = self.typed(
                chunk, entry.table, columns, _Origin(ids, details, key, owners), paths, refused
            )
            rejected[entry.table] = {r.position for r in typed.rejects}
            if self._lacking:
                of_these = sum(ids[owners[p]] in self._lacking for p in rejected[entry.table])
                self.report.counts[entry.table].aside += of_these
        return rejected


def _as_text(ids: Any) -> Any:
    """Identifiers as the warehouse keeps them; one dialect sends them as numbers."""
    if isinstance(ids, pa.Array):
        return ids.cast(pa.string()) if pa.types.is_integer(ids.type) else ids
    return [str(i) if type(i) is int else i for i in ids]
