"""Rows of a block as JSON text of the iGate dialect: the list item and the detail.

Fragments that many dossiers share (procedures, agencies, officers, states) are encoded once; a row is then one
formatted string, so that the servers cost little beside what they measure. [guess] shapes are marked in README.
"""

from hashlib import blake2b

import numpy as np
import orjson

from sandbox.chance import I64, bits, integer, uniform
from sandbox.generator import (
    MERGER,
    NONE,
    NOT_ARRIVED,
    WORLDS,
    Block,
    agencies,
    blocks,
    codes,
    world_salt,
)
from sandbox.people import DUMMY, Applicants, officers
from sandbox.reference import calendar, communes, procedures

STATES = {
    0: "Chờ tiếp nhận", 1: "Chờ bổ sung", 2: "Đang xử lý", 3: "Tạm dừng", 4: "Có kết quả",
    5: "Đã trả kết quả", 6: "Đã hủy/rút hồ sơ", 8: "Dừng xử lý", 9: "Từ chối tiếp nhận",
}  # fmt: skip
STEPS = {
    3: ("Tiếp nhận hồ sơ", "Thẩm định, giải quyết hồ sơ", "Trả kết quả"),
    4: ("Tiếp nhận hồ sơ", "Thẩm định, giải quyết hồ sơ", "Ký duyệt kết quả", "Trả kết quả"),
    5: ("Tiếp nhận hồ sơ", "Phân công xử lý", "Thẩm định, giải quyết hồ sơ", "Ký duyệt kết quả",
        "Trả kết quả"),
}  # fmt: skip
# Share of the processing time at which each step begins.
BEGINS = {3: (0.0, 0.1, 1.0), 4: (0.0, 0.08, 0.8, 1.0), 5: (0.0, 0.06, 0.16, 0.84, 1.0)}
PAPERS = {
    "bo-tu-phap": ("Tờ khai theo mẫu", "Giấy tờ tùy thân của người yêu cầu", "Bản chính giấy tờ, văn bản",
                   "Giấy chứng sinh hoặc giấy tờ thay thế", "Giấy tờ chứng minh nơi cư trú"),
    "bo-tai-chinh": ("Giấy đề nghị đăng ký", "Điều lệ công ty", "Danh sách thành viên",
                     "Bản sao giấy tờ pháp lý của cá nhân", "Nghị quyết, quyết định của chủ sở hữu"),
    "bo-xay-dung": ("Đơn đề nghị theo mẫu", "Bản vẽ thiết kế", "Giấy tờ chứng minh quyền sử dụng đất",
                    "Giấy đăng ký phương tiện", "Bản kê khai năng lực"),
    "bo-nong-nghiep-mt": ("Đơn đăng ký biến động theo Mẫu số 18", "Bản gốc Giấy chứng nhận đã cấp",
                          "Hợp đồng chuyển nhượng, tặng cho", "Mảnh trích đo bản đồ địa chính",
                          "Tờ khai lệ phí trước bạ"),
}  # fmt: skip
MINISTRY_CODE = {"bo-tu-phap": "G15", "bo-tai-chinh": "G12", "bo-xay-dung": "G17", "bo-nong-nghiep-mt": "G10"}
#: Of fees to be paid at the end, those whose `pay` is above are never noted as paid: clerks forget, people stay away.
NEVER_NOTED = 0.98
METHODS = {
    1: '{"id":0,"name":"Trực tiếp"}', 2: '{"id":1,"name":"Trực tuyến"}',
    3: '{"id":2,"name":"Bưu chính công ích"}', 0: '{"id":null,"name":null}',
}  # fmt: skip


def dumps(value: object) -> str:
    """Return compact JSON text."""
    return orjson.dumps(value).decode()


def words(text: str) -> str:
    """Return the `[{"languageId":228,"name":...}]` list of the dialect."""
    return f'[{{"languageId":228,"name":{dumps(text)}}}]'


def hex_id(name: str) -> str:
    """Return a stable 24-digit hexadecimal identifier for a name."""
    return blake2b(name.encode(), digest_size=12).hexdigest()


def moments(values: I64, now: int | None = None) -> list[str]:
    """Return JSON date texts `"2025-06-16T08:12:33.000+0700"`; null for none and for what is after `now`."""
    hidden = values == NONE
    if now is not None:
        hidden = hidden | (values > now)
    texts = np.datetime_as_string(values.astype("datetime64[s]")).tolist()
    return ["null" if h else f'"{t}.000+0700"' for t, h in zip(texts, hidden.tolist(), strict=True)]


class Encoder:
    """Encodes rows of one world; `now` is the server's clock in local seconds."""

    def __init__(self, world: str) -> None:
        self.world = world
        #: Whether clerks type 000000001 for some citizens.
        self.dummies = True
        self.blocks = blocks(world)
        self.agencies = agencies(world)
        self.procedures = p = procedures(WORLDS[world].suffix)
        self.officers = officers(world)
        self.agency_ids = [hex_id(f"{world}:{a.code}") for a in self.agencies]
        self.procedure_ids = [hex_id(f"{world}:procedure:{c}") for c in p.codes]
        self.sector_ids = {c: hex_id(f"{world}:sector:{c}") for c in set(p.sector_codes)}
        self._check = world_salt(world)
        self._agency = [self._agency_text(i) for i in range(len(self.agencies))]
        self._short = [
            f'{{"id":"{self.agency_ids[i]}","code":"{a.code}"}}' for i, a in enumerate(self.agencies)
        ]
        self._named = [
            f'{{"id":"{self.agency_ids[i]}","code":"{a.code}","name":{words(a.name)}}}'
            for i, a in enumerate(self.agencies)
        ]
        self._officer = [[f'{{"id":"{i}","fullname":{dumps(n)}}}' for i, n in desk] for desk in self.officers]
        self._procedure = [
            f'{{"id":"{self.procedure_ids[k]}","code":"{p.codes[k]}","translate":{words(p.names[k])},'
            f'"sector":{{"id":"{self.sector_ids[p.sector_codes[k]]}","code":"{p.sector_codes[k]}",'
            f'"name":{words(p.sectors[k])}}}}}'
            for k in range(len(p.codes))
        ]
        self._title = [dumps(n)[1:-1] for n in p.names]
        self._level = {
            4: f'{{"id":"{hex_id("level4")}","code":"4","name":{words("Dịch vụ công trực tuyến toàn trình")}}}',
            3: f'{{"id":"{hex_id("level3")}","code":"3","name":{words("Dịch vụ công trực tuyến một phần")}}}',
            2: f'{{"id":"{hex_id("level2")}","code":"2","name":{words("Dịch vụ cung cấp thông tin trực tuyến")}}}',
        }  # fmt: skip
        self._state = {k: f'{{"id":{k},"name":{words(v)}}}' for k, v in STATES.items()}
        self._task_state = {
            k: f'{{"id":"{hex_id(f"state{k}")}","name":{words(v)}}}' for k, v in STATES.items()
        }
        self._task = {n: [hex_id(f"{world}:task:{n}:{j}") for j in range(n)] for n in STEPS}
        self._step_name = {n: [dumps(t) for t in names] for n, names in STEPS.items()}
        self._papers = {}
        for ministry, titles in PAPERS.items():
            self._papers[ministry] = [dumps(t) for t in titles]
        self._result = [(dumps(n), c) for n, c in p.results]
        c = communes()
        self._village_old = [
            f'{{"code":"{k}","name":{dumps(n)}}}' for k, n in zip(c.codes, c.names, strict=True)
        ]
        new = [f'{{"code":"{k}","name":{dumps(n)}}}' for k, n in zip(c.new_codes, c.new_names, strict=True)]
        self._village_new = [new[s] for s in c.successor]

    def _agency_text(self, i: int) -> str:
        a = self.agencies[i]
        chain = []
        at = a.parent
        while at >= 0:
            chain.append({"id": self.agency_ids[at], "code": self.agencies[at].code})
            at = self.agencies[at].parent
        return dumps({
            "id": self.agency_ids[i], "code": a.code, "name": [{"languageId": 228, "name": a.name}],
            "parent": chain[0] if chain else None, "ancestors": chain,
        })  # fmt: skip

    def descends(self, agency_id: str) -> np.ndarray:
        """Return for each agency whether it is, or stands under, the agency with this identifier."""
        out = np.zeros(len(self.agencies), bool)
        for i in range(len(self.agencies)):
            at = i
            while at >= 0 and not out[i]:
                out[i] = self.agency_ids[at] == agency_id
                at = self.agencies[at].parent
        return out

    # Identifiers of dossiers: 8 hex of time, 2 of block, 6 of row, 8 of check; decoded without any index.
    def ids(self, number: int, block: Block, rows: I64) -> list[str]:
        """Return the 24-hex identifiers of rows of a block."""
        at = self.blocks.index(number)
        check = (bits(block.key[rows], "id") ^ np.uint64(self._check)) & np.uint64(0xFFFFFFFF)
        seconds = block.accepted[rows] - 7 * 3600
        return [f"{s:08x}{at:02x}{r:06x}{c:08x}" for s, r, c in zip(
            seconds.tolist(), rows.tolist(), check.tolist(), strict=True)]  # fmt: skip

    def locate(self, identifier: str) -> tuple[int, int] | None:
        """Return (block number, row) an identifier may stand for, without checking the block's content."""
        try:
            at, row = int(identifier[8:10], 16), int(identifier[10:16], 16)
        except ValueError:
            return None
        return (self.blocks[at], row) if len(identifier) == 24 and at < len(self.blocks) else None

    def encode(self, number: int, block: Block, rows: I64, now: int) -> list[tuple[str, bytes, bytes]]:
        """Return (identifier, list item, detail) of rows of a block as seen at `now`."""
        b = block.take(rows)
        ids = self.ids(number, block, rows)
        code = codes(self.world, b)
        state = b.state(now).tolist()
        who = Applicants(b.person, b.applicant, b.key, self.dummies)
        accepted = moments(b.accepted)
        due = moments(b.due(now))
        applied = moments(b.applied)
        done = moments(b.done, now)
        returned = moments(b.returned, now)
        clerk = integer(b.key, "clerk", len(self.officers[0])).tolist()
        expert = integer(b.key, "expert", len(self.officers[0])).tolist()
        national = uniform(b.key, "national").tolist()
        suffix = integer(b.key, "national suffix", 10_000).tolist()
        pages = (1 + 19 * uniform(b.key, "pages") ** 2).astype(np.int64)
        fee = self.procedures.fee[b.procedure, np.maximum(b.channel, 1) - 1]
        fee = np.where(self.procedures.per_page[b.procedure], fee * pages, fee).tolist()
        pay = uniform(b.key, "pay").tolist()
        pay_how = uniform(b.key, "pay how").tolist()
        vneid = (uniform(b.key, "vneid") < 0.85).tolist()
        waits = np.where((b.wait_from != NONE) & (b.wait_from <= now), b.waits, 0).tolist()
        started, ended, limits = self._step_times(b, now)
        note = integer(b.key, "note", 12).tolist()
        paper_bits = bits(b.key, "paper").tolist()
        shares = WORLDS[self.world].digitised_share
        years = b.accepted.astype("datetime64[s]").astype("datetime64[Y]").astype(np.int64) + 1970
        digitised = uniform(b.key, "digitised").tolist()
        out = []
        for i, (k, channel, receiving, responsible, commune, kind, st, yr, when, resp_done) in enumerate(zip(
            b.procedure.tolist(), b.channel.tolist(), b.receiving.tolist(), b.responsible.tolist(),
            b.commune.tolist(), b.applicant.tolist(), state, years.tolist(), b.accepted.tolist(),
            done, strict=True,
        )):  # fmt: skip
            n = int(self.procedures.steps[k])
            p = self.procedures
            number_text = who.number[i]
            subject = f"{self._title[k]} của {'ông/bà ' if kind == 1 else ''}{who.name[i]}"
            if note[i] == 7 and number_text != DUMMY:
                subject += f", số giấy tờ {number_text}"
            if note[i] == 8 and who.phone[i]:
                subject += f", liên hệ {who.phone[i]}"
            # [seen] the same dossier may go under another code at the national portal, or not have arrived yet.
            known = (
                "null" if national[i] < NOT_ARRIVED
                else f'"{code[i]}-{suffix[i]:04d}"' if national[i] < 0.14 else f'"{code[i]}"'
            )  # fmt: skip
            current = self._current(n, started[i], ended[i], st)
            task = (
                "[]" if current < 0
                else f'[{{"id":"{self._task[n][current]}","name":{self._step_name[n][current]}}}]'
            )  # fmt: skip
            head = (
                f'{{"id":"{ids[i]}","code":"{code[i]}","nationCode":{known},"procedure":{self._procedure[k]},'
            )
            tail = (
                f'"accepter":{self._officer[receiving][clerk[i]]},"acceptedDate":{accepted[i]},'
                f'"appointmentDate":{due[i]},"currentTask":{task},"agency":{self._agency[receiving]},'
                f'"dossierStatus":{self._state[st]},"dossierTaskStatus":{self._task_state[st]},'
                f'"procedureLevel":{self._level[int(p.level[k])]}'
            )
            item = (
                f'{head}"applicant":{{"data":{{"ownerFullname":"{who.name[i]}","identityNumber":"{number_text}",'
                f'"noidungyeucaugiaiquyet":"{subject}"}}}},{tail}}}'
            )
            village = self._village_old if when < MERGER else self._village_new
            birthday, phone, email = who.birthday[i], who.phone[i], who.email[i]
            person = (
                f'"applicant":{{"type":{kind},"data":{{"ownerFullname":"{who.name[i]}",'
                f'"identityNumber":"{number_text}","birthday":{_text(birthday)},"phoneNumber":{_text(phone)},'
                f'"email":{_text(email)},"address":"{who.address[i]}","village":{village[commune]},'
                f'"noidungyeucaugiaiquyet":"{subject}"}}}}'
            )
            steps = self._steps(i, n, receiving, responsible, clerk[i], expert[i], started[i], ended[i],
                                limits[i], st, who, note[i])  # fmt: skip
            online_code, fees = self._fees(k, channel, fee[i], pay[i], pay_how[i], accepted[i], resp_done, st)
            papers = self._paper_list(ids[i], k, channel, st, digitised[i] < shares.get(yr, 0.7), paper_bits[i],
                                      who.slug[i])  # fmt: skip
            previous = f'"previousCode":"{b.previous[i]}",' if b.previous else ""
            detail = (
                f'{head}{person},{tail},"appliedDate":{applied[i]},"completedDate":{resp_done},'
                f'"returnedDate":{returned[i] if st == 5 else "null"},"applyMethod":{METHODS[channel]},'
                f'"processingAgency":{self._named[responsible]},{previous}"supplementCount":{waits[i]},'
                f'"vneidVerified":"{"true" if vneid[i] and kind == 1 else "false"}","onlinePayment":"{online_code}",'
                f'"task":[{steps}],"dossierFormFile":[{papers}],"dossierFee":[{fees}]}}'
            )
            out.append((ids[i], item.encode(), detail.encode()))
        return out

    def _step_times(self, b: Block, now: int) -> tuple[list[list[str]], list[list[str]], list[list[str]]]:
        """Return JSON texts of when the (up to five) steps began, ended and were due."""
        cal, n = calendar(), len(b)
        count = self.procedures.steps[b.procedure]
        table = np.full((6, 5), 2.0)
        for k, begins in BEGINS.items():
            table[k, : len(begins)] = begins
        share = table[count]
        low, high = cal.to_work(b.accepted), cal.to_work(np.maximum(b.done, b.accepted))
        due = b.due(now)
        high_due = np.where(due == NONE, 0, cal.to_work(np.maximum(due, b.accepted)))
        starts = np.empty((n, 5), np.int64)
        dues = np.empty((n, 5), np.int64)
        for j in range(5):
            part = np.minimum(share[:, j], 1.0)
            at = cal.from_work(low + ((high - low) * part).astype(np.int64))
            starts[:, j] = np.where(share[:, j] == 0, b.accepted, np.where(share[:, j] == 1, b.done, at))
            following = np.minimum(share[:, j + 1], 1.0) if j < 4 else np.ones(n)
            limit = cal.from_work(low + ((high_due - low) * following).astype(np.int64))
            dues[:, j] = np.where(due == NONE, NONE, np.where(following >= 1, due, limit))
        last = (count - 1)[:, None]
        position = np.arange(5)[None, :]
        ends = np.concatenate([starts[:, 1:], starts[:, :1]], axis=1)
        ends = np.where(position == last, b.returned[:, None], ends)
        # Refused dossiers never leave the desk; withdrawn and stopped ones never reach the hand-over.
        ended_early = b.ending != 0
        refused = b.ending == 9
        gone = (
            (ended_early[:, None] & (position >= last))
            | (refused[:, None] & (position > 0))
            | (position > last)
        )
        ends = np.where(refused[:, None] & (position == 0), b.done[:, None], ends)
        starts = np.where(gone | (starts > now), NONE, starts)
        ends = np.where(gone | (ends > now), NONE, ends)
        flat = [moments(a.ravel()) for a in (starts, ends, dues)]
        return tuple([f[i * 5 : i * 5 + 5] for i in range(n)] for f in flat)  # type: ignore[return-value]

    @staticmethod
    def _current(n: int, started: list[str], ended: list[str], state: int) -> int:
        """Return the position of the step that runs, -1 when none does."""
        if state in (5, 6, 8, 9):
            return -1
        for j in range(n - 1, -1, -1):
            if started[j] != "null" and ended[j] == "null":
                return j
        return -1

    def _steps(self, i: int, n: int, receiving: int, responsible: int, clerk: int, expert: int,
               started: list[str], ended: list[str], due: list[str], state: int, who: Applicants,
               note: int) -> str:  # fmt: skip
        out = []
        for j in range(n):
            if started[j] == "null":
                break
            desk = j in (0, n - 1)
            agency = receiving if desk else responsible
            officer = self._officer[agency][clerk if desk else expert]
            running = ended[j] == "null"
            if j == n - 1:
                code = 4 if running else 5
            elif not running and state in (6, 8, 9) and (j == n - 2 or state == 9):
                code = state
            else:
                code = state if running and state in (1, 3) else 2
            opinion = _opinion(j, n, code, who, i, note)
            out.append(
                f'{{"order":{j + 1},"name":{self._step_name[n][j]},"agency":{self._short[agency]},'
                f'"assignee":{officer},"startDate":{started[j]},"dueDate":{due[j]},"completedDate":{ended[j]},'
                f'"statusId":{code},"opinion":{opinion}}}'
            )
        return ",".join(out)

    def _fees(self, k: int, channel: int, amount: int, pay: float, how: float, accepted: str, done: str,
              state: int) -> tuple[str, str]:  # fmt: skip
        """Return the online payment code and the fee list: "1" national portal, "2" local gateway."""
        if amount <= 0 or state == 9:
            return "0", ""
        method, paid, code = "null", "null", "0"
        if channel == 2:
            if pay < 0.86:
                method, paid, code = (
                    '"truc-tuyen"',
                    accepted,
                    "1" if how < 0.8 else "2" if how < 0.99 else "3",
                )
            elif done != "null" and pay < NEVER_NOTED:
                method, paid = ('"tien-mat"' if how < 0.7 else '"chuyen-khoan"'), done
        elif pay < 0.9 or (done != "null" and pay < NEVER_NOTED):
            method, paid = ('"tien-mat"' if how < 0.8 else '"chuyen-khoan"'), accepted if pay < 0.9 else done
        kind = 2 if k % 3 else 1
        return code, (
            f'{{"order":1,"type":{kind},"name":"{"Lệ phí" if kind == 2 else "Phí"} giải quyết thủ tục",'
            f'"amount":{amount},"method":{method},"paidDate":{paid}}}'
        )

    def _paper_list(self, identifier: str, k: int, channel: int, state: int, digitised: bool, chance: int,
                    slug: str) -> str:  # fmt: skip
        ministry = self.procedures.ministry[k]
        titles = self._papers.get(ministry, self._papers["bo-tu-phap"])
        body = MINISTRY_CODE.get(ministry, "G22")
        out = []
        count = 1 + (k + chance) % 3
        for j in range(count):
            piece = (chance >> (8 + 8 * j)) & 0xFF
            held = digitised if channel != 2 else piece < 250
            reused = "1" if piece < 34 else "2" if piece < 44 else "0"
            storage = "1" if 30 <= piece < 60 else "0"
            at = (k + j) % len(titles)
            file = (
                f'{{"filename":"{_FILES[at]}_{slug}.pdf","url":"/fi/file/{identifier}{j:02d}"}}'
                if held
                else "null"
            )
            out.append(
                f'{{"order":{j + 1},"code":"000.00.00.{body}-KQ{1000 + (k * 7 + j) % 9000}","name":{titles[at]},'
                f'"isResult":false,"digitised":"{1 if held else 0}","reused":"{reused}",'
                f'"fromPersonalStorage":"{storage}","file":{file}}}'
            )
        if state in (4, 5):
            title, code = self._result[k]
            held = (chance >> 40) & 0xFF < 226
            file = f'{{"filename":"ket_qua_{slug}.pdf","url":"/fi/file/{identifier}99"}}' if held else "null"
            out.append(
                f'{{"order":{count + 1},"code":{_text(code or None)},"name":{title},"isResult":true,'
                f'"digitised":"{1 if held else 0}","reused":"0","fromPersonalStorage":"0","file":{file}}}'
            )
        return ",".join(out)


_FILES = ("to_khai", "giay_to", "ban_chinh", "xac_nhan", "kem_theo")


def _text(value: str | None) -> str:
    return "null" if value is None else f'"{value}"'


def _opinion(j: int, n: int, code: int, who: Applicants, i: int, note: int) -> str:
    if code == 1:
        phone = who.phone[i] or "không có"
        return f'"Đề nghị ông/bà {who.name[i]} bổ sung giấy tờ, điện thoại {phone}"'
    if code == 3:
        return '"Chờ thực hiện nghĩa vụ tài chính"'
    if code == 9:
        return f'"Không đủ điều kiện tiếp nhận hồ sơ của {who.name[i]}"'
    if code == 6:
        return f'"{who.name[i]} xin rút hồ sơ"'
    if code == 8:
        return '"Dừng xử lý theo quy định"'
    if j == 0:
        return '"Hồ sơ đầy đủ, hợp lệ"' if note < 9 else '""'
    if j == n - 1:
        return f'"Đã trả kết quả cho {who.name[i]}"' if code == 5 and note < 4 else "null"
    return '"Đã kiểm tra, đủ điều kiện giải quyết"' if note < 6 else "null"
