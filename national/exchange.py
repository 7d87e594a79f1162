"""The national portal's server-to-server side, as those who send see it: one session, one address, careful answers.

What it offers: the services of the platform facts, 1.3, through the adapter of the province's security server. How it
misbehaves: error_code is a number in some services and a text in others; success may only be readable in a Vietnamese
sentence, which also stands where a part was refused; a session ends without notice; HTML pages in place of answers; an
answer may be lost or late although what was asked was done. So nothing that writes is ever repeated here: the caller
looks up what the portal holds first. Whom to call: Văn phòng Chính phủ (dstcode G22).

[guess] is kept in one place: `GUESSED` and the functions that name it.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import requests

from connectors.base import BudgetSpent, SourceChanged, SourceRefused, SourceUnavailable

Item = dict[str, Any]
DSTCODE = "VN:GOV:000.00.00.G22:vpcpdvcprovider"
#: Facts that no source shows; each is read from here alone.
GUESSED: dict[str, Any] = {
    "data_path": "/mapi/g",
    "adapter": "/XrdAdapter/RestService/forward",
    #: TraCuuHoSo gives the item with the fields it was sent with, and under these keys its progress and its doubles.
    "progress_key": "TienDoXuLy",
    "doubles_key": "TrungMa",
    #: What is told of each item that was refused.
    "item_code": "MaHoSo",
    #: By these words an answer tells of a session that ended, of an item that stands there, of one that does not.
    "session": re.compile(r"session|phiên (làm việc|đăng nhập)", re.I),
    "exists": re.compile(r"đã tồn tại", re.I),
    "unknown": re.compile(r"không tồn tại|không tìm thấy", re.I),
    "busy": re.compile(r"thử lại|đang bận|quá tải|hệ thống bận", re.I),
}
_PATIENCE = (10.0, 60.0)  # to connect, to be answered, in seconds
#: New sessions in a row with which no call is let in before we give up.
_SESSIONS = 4


#: An item, its progress (None: the portal does not tell) and how often else it stands there; None where it does not.
Found = tuple[Item, list[Item] | None, int] | None


class Uncertain(Exception):
    """Whether the portal did what was asked is not known; `kind` is ours and holds nothing of the answer."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


@dataclass(frozen=True)
class Answer:
    """What the portal said to a call that writes.

    `refused`: words by code of the item; `told` whether it said of each item what came of it (False: how many alone).
    """

    ok: bool
    words: str
    refused: Mapping[str, str] = field(default_factory=dict)
    told: bool = True


class Budget:
    """How many calls may still be made; shared by all workers of a run."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.calls: Counter[str] = Counter()
        self._lock = threading.Lock()

    @property
    def left(self) -> int:
        """Calls that may still be made."""
        return self.most - sum(self.calls.values())

    def spend(self, service: str) -> None:
        """Take one call; BudgetSpent where none is left."""
        with self._lock:
            if self.left < 1:
                raise BudgetSpent(
                    f"the {self.most:,} calls of this run (KHOCHUNG_NATIONAL_CALLS) are used up; the rest waits "
                    "for the next run"
                )
            self.calls[service] += 1


class Exchange:
    """One signed-in caller; may be used by several threads."""

    def __init__(
        self,
        base_url: str,
        username: str,
        password: str,
        unit: str,
        budget: Budget,
        *,
        dstcode: str = DSTCODE,
        patience: tuple[float, float] = _PATIENCE,
        pause: float = 0.2,
        at_once: int = 4,
        tell: Callable[[str, str], None] | None = None,
        post: Callable[[str, Mapping[str, Any]], Any] | None = None,
    ) -> None:
        """`unit` is the code we sign in for (madonvi); `post` (path, body -> decoded answer) replaces HTTP.

        `at_once`: calls that may be under way at the same time [guess: what is agreed on]. `patience`: seconds to
        connect and to be answered; `pause`: seconds before a reading is tried again, growing. `tell` is told of each
        fault met, (service, kind), before anything is done about it; also of each item the portal was too busy for.
        """
        self.base_url = base_url.rstrip("/")
        self.unit = unit
        self.budget = budget
        self.pause = pause
        self.at_once = at_once
        self._slots = threading.BoundedSemaphore(at_once)
        self._login = {"username": username, "password": password}
        self._dstcode = dstcode
        self._patience = patience
        self._post = post or self._over_http
        #: What calls of this run met with, by (service, kind).
        self.met: Counter[tuple[str, str]] = Counter()
        self._also_tell = tell
        self._session: str | None = None
        #: The last session with which a call was let in, and those since that were refused from their first call on.
        self._let_in: str | None = None
        self._never_let_in: set[str] = set()
        self._lock, self._lock_of_met = threading.Lock(), threading.Lock()
        self._local = threading.local()
        self._sandbox: bool | None = None

    # --- services ----------------------------------------------------------------------------------------

    def send_dossiers(self, items: Sequence[Item], updating: bool) -> Answer:
        """Insert or update; Uncertain where the answer was lost."""
        return self._write("DongBoHoSoMC", items, isUpdating="True" if updating else "False")

    def send_progress(self, items: Sequence[Item]) -> Answer:
        """Add rows of progress; Uncertain where the answer was lost."""
        return self._write("CapNhatTienDoHoSoMC", items)

    def send_ratings(self, items: Sequence[Item]) -> Answer:
        """Tell a month's satisfaction; Uncertain where the answer was lost."""
        return self._write("DongBoDanhGia", items)

    def look_up(self, code: str) -> Found:
        """What the portal holds under a code."""
        answer = self._read("TraCuuHoSo", mahoso=code)
        if not _fine(answer):
            if GUESSED["unknown"].search(_words(answer)):
                return None
            raise SourceChanged(
                self._say("TraCuuHoSo", "refused in words that are none of 'not found'")
                + " Compare with GUESSED in national/exchange.py."
            )
        found = answer.get("result")
        if not isinstance(found, list) or not all(isinstance(i, dict) for i in found):
            raise SourceChanged(self._say("TraCuuHoSo", "its result is no list of items"))
        if not found:
            return None
        item = dict(found[-1])
        progress = item.pop(GUESSED["progress_key"], None)
        doubles = int(item.pop(GUESSED["doubles_key"], 0) or 0) + len(found) - 1
        return item, progress, doubles

    def account(self, number: str) -> str | None:
        """The portal's id (TechID) of the account of a number; None where it has none."""
        answer = self._read("TraCuuTechID", provider="wso2is", SoDinhDanh=number)
        if not _fine(answer) and not GUESSED["unknown"].search(_words(answer)):
            raise SourceRefused(self._say("TraCuuTechID", "refused"))
        found = answer.get("result") or []
        return str(found[0]["TECHNICALID"]) if found else None

    def catalogue(self, service: str, **parameters: str) -> Any:
        """The result of a catalogue service, also where it comes as JSON in the text `message` [seen]."""
        answer = self._read(service, **parameters)
        if not _fine(answer):
            raise SourceRefused(self._say(service, "refused"))
        if "result" in answer:
            return answer["result"]
        try:
            return json.loads(str(answer.get("message")))["result"]
        except (ValueError, KeyError, TypeError):
            raise SourceChanged(self._say(service, "neither `result` nor JSON in `message`")) from None

    def is_sandbox(self) -> bool:
        """Whether the sandbox answers at this address: to it alone goes what is simulated, and nothing else does."""
        if self._sandbox is None:
            try:
                answer = self._http().get(f"{self.base_url}/__sandbox__/health", timeout=self._patience)
                self._sandbox = answer.status_code == 200 and answer.json() == {"status": "ok"}
            except (requests.RequestException, ValueError):
                self._sandbox = False
        return self._sandbox

    # --- calls -------------------------------------------------------------------------------------------

    def _write(self, service: str, items: Sequence[Item], **parameters: str) -> Answer:
        # The session is made before: only then is an answer that is lost the answer to this.
        answer = self._signed(service, {**parameters, "data": list(items)})
        refused: dict[str, str] = {}
        for one in answer.get("result") or ():
            if isinstance(one, dict) and one.get(GUESSED["item_code"]):
                self._tell(service, "busy" if GUESSED["busy"].search(_words(one)) else "item refused")
                refused[str(one[GUESSED["item_code"]])] = _words(one)
        if _fine(answer):
            return Answer(True, _words(answer), refused)
        if not refused and len(items) == 1:
            refused = {str(items[0].get("MaHoSo", "")): _words(answer)}
        return Answer(False, _words(answer), refused, told=bool(refused))

    def _read(self, service: str, **parameters: str) -> Item:
        """A call that changes nothing, repeated where it may pass."""
        why = ""
        for attempt in range(5):
            if attempt:
                time.sleep(min(self.pause * 2**attempt, 5.0))
            try:
                answer = self._signed(service, parameters)
            except Uncertain as e:
                why = str(e)
                continue
            if not _fine(answer) and GUESSED["busy"].search(_words(answer)):
                self._tell(service, "busy")
                why = "the portal says it is busy"
                continue
            return answer
        raise SourceUnavailable(
            self._say(service, f"{why}, 5 times in a row") + " What was sent is kept; the next run goes on."
        )

    def _signed(self, service: str, parameters: Mapping[str, Any]) -> Item:
        while True:
            session = self._session or self._sign_in(None)
            self.budget.spend(service)
            body = {"session": session, "madonvi": self.unit, "service": service, **parameters}
            answer = self._told(service, GUESSED["data_path"], body)
            if not isinstance(answer, dict) or "error_code" not in answer:
                self._tell(service, "no error_code")
                raise Uncertain("an answer without error_code")
            if _fine(answer) or not GUESSED["session"].search(_words(answer)):
                self._let_in, self._never_let_in = session, set()
                return answer
            # Refused before anything was done, so the same call may be made again.
            self._tell(service, "session ended")
            if session != self._let_in:
                self._never_let_in = {*self._never_let_in, session}
                if len(self._never_let_in) > _SESSIONS:
                    raise SourceRefused(
                        self._say(service, "the session is refused, also after signing in again")
                    )
            self._sign_in(session)

    def _tell(self, service: str, kind: str) -> None:
        with self._lock_of_met:
            self.met[service, kind] += 1
        if self._also_tell:
            self._also_tell(service, kind)

    def _told(self, service: str, path: str, body: Mapping[str, Any]) -> Any:
        try:
            return self._post(path, body)
        except Uncertain as e:
            self._tell(service, e.kind)
            raise

    def _sign_in(self, stale: str | None) -> str:
        with self._lock:
            if self._session is not None and self._session != stale:
                return self._session
            why = ""
            for attempt in range(5):
                if attempt:
                    time.sleep(min(self.pause * 2**attempt, 5.0))
                self.budget.spend("login")
                try:
                    answer = self._told("login", "/mapi/login", self._login)
                except Uncertain as e:
                    why = str(e)
                    continue
                if isinstance(answer, dict) and answer.get("session") and _fine(answer):
                    self._session = str(answer["session"])
                    return self._session
                raise SourceRefused(
                    self._say("login", "refused")
                    + " Check user and password of the Airflow connection national_exchange."
                )
            raise SourceUnavailable(self._say("login", f"{why}, 5 times in a row"))

    def _over_http(self, path: str, body: Mapping[str, Any]) -> Any:
        url = f"{self.base_url}{GUESSED['adapter']}{path}"
        # Written before a place is taken: the places are for waiting alone.
        written = json.dumps(body, ensure_ascii=False).encode()
        try:
            with self._slots:
                answer = self._http().post(
                url, params={"dstcode": self._dstcode}, data=written, timeout=self._patience, allow_redirects=False,
                headers={"dstcode": self._dstcode, "Accept": "application/json", "Content-Type": "application/json"},
            )  # fmt: skip
        except requests.exceptions.SSLError:
            raise SourceRefused(
                self._say(path, "the TLS certificate could not be verified")
                + " Ask the owner of the security server to renew it, or name its authority in REQUESTS_CA_BUNDLE."
            ) from None
        except requests.exceptions.Timeout:
            raise Uncertain("no answer in time") from None
        except requests.exceptions.ChunkedEncodingError:
            raise Uncertain("connection ended within the answer") from None
        except requests.exceptions.RequestException as e:
            raise Uncertain(f"no answer ({type(e).__name__})") from None
        if answer.status_code == 404:
            raise SourceRefused(
                self._say(path, "HTTP 404")
                + " Check address and dstcode of the Airflow connection national_exchange."
            )
        if answer.status_code != 200:
            raise Uncertain(f"HTTP {answer.status_code}")
        try:
            return answer.json()
        except ValueError:
            page = answer.content.lstrip()[:1] == b"<"
            raise Uncertain("HTTP 200 with a page" if page else "HTTP 200 with a part of an answer") from None

    def _http(self) -> requests.Session:
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
            self._local.session.trust_env = False
        return self._local.session

    def _say(self, service: str, what: str) -> str:
        return f"national portal, {service} at {self.base_url.rpartition('@')[2]}: {what}."


def _fine(answer: Mapping[str, Any]) -> bool:
    return str(answer.get("error_code")) == "0"


def _words(answer: Mapping[str, Any]) -> str:
    return str(answer.get("message") or "")
