"""Invented answers of the seven evaluation endpoints, in the shapes of the real ones [seen: captures, 7.3].

Switched on by SANDBOX_SIMULATED_EVALUATION=1 for tests of the connector only: the figures mean nothing. The
quirks are kept: no departmentCode in transparency and handling-satisfaction, `formalityID` against `formalityId`,
fromDate / toDate for handling-satisfaction, null where a denominator is 0, 18 and 18.0 both.

One answer is not invented: the progress of Đồng Tháp in the months of the world `dong_thap` is counted from its
dossiers. The portal counts its own copy of them: what has not arrived is missing there, and who waits for papers or for
tax, or was stopped, was called done before it was sent [seen: one client's 5, 6, 8 -> 9]. So it differs from what the
province counts, by construction.
"""

from collections import Counter
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import Any

import numpy as np

from sandbox.chance import integer, keys_for, uniform
from sandbox.generator import (
    DAY,
    NONE,
    NOT_ARRIVED,
    PAUSED,
    STOPPED,
    SUPPLEMENT,
    agencies,
    month_block,
    month_bounds,
    months,
)
from sandbox.reference import agencies_new, made_id, rows

ENDPOINTS = (
    "service-results", "transparency", "handling-satisfaction", "dossier-digitized", "dvc-progress-tree",
    "provide-online-tree", "formality-online-payment-tree",
)  # fmt: skip
GROUPS = {"CKMB": 18, "TDGQ": 20, "CLGQ": 12, "TTTT": 10, "MDHL": 18, "MDSH": 22}
METRICS = {
    "transparency": (("PUBLISH_ON_TIME", "Tỷ lệ TTHC công bố đúng hạn", 6),
                     ("PUBLIC_UPDATE_ON_TIME", "Tỷ lệ TTHC cập nhật, công khai đúng hạn", 4),
                     ("PUBLIC_CONTENT_FULL", "Tỷ lệ TTHC công khai đầy đủ nội dung", 2),
                     ("DOSSIER_SYNC", "Tỷ lệ hồ sơ đồng bộ lên Cổng DVCQG", 6)),
    "handling-satisfaction": (("DOSSIER_RECEIVING_SATISFACTION", "Mức độ hài lòng tiếp nhận, giải quyết", 6),
                              ("PETITION_PROCESSING_ON_TIME", "Tỷ lệ xử lý PAKN đúng hạn", 6),
                              ("PETITION_HANDLING_SATISFACTION", "Mức độ hài lòng xử lý PAKN", 6),
                              ("PETITION_CLASSIFICATION_TTHC", "PAKN về TTHC", 0),
                              ("PETITION_CLASSIFICATION_STAFF", "PAKN về cán bộ", 0)),
    "dossier-digitized": (("ORIGINAL_RESULT_AVAILABLE", "Tỷ lệ cấp kết quả điện tử", 6),
                          ("SO_HOA_GIAY_TO_GIAI_QUYET", "Tỷ lệ số hóa hồ sơ", 4),
                          ("REUSED_DIGITIZED_DATA", "Tỷ lệ tái sử dụng dữ liệu", 2),
                          ("SYNCED_WITH_DVCQG_PERSONAL_STORAGE", "Tỷ lệ kết nối kho cá nhân", 4),
                          ("CITIZEN_DATA_CONNECTED_DOSSIER", "Hồ sơ dùng dữ liệu dân cư", 2),
                          ("CITIZEN_DATA_CONNECTED_FORMALITY", "TTHC kết nối dân cư", 2),
                          ("ELECTRONIC_CERTIFIED_COPY", "Chứng thực bản sao điện tử", 2)),
}  # fmt: skip


def share(above: int, below: int) -> Fraction:
    """Return a part of a whole, exactly; 0 of nothing."""
    return Fraction(above, below) if below else Fraction(0)


def half_up(number: Fraction | int) -> float:
    """Return a number with 2 decimals, a tie away from 0, as the portal writes points [seen: 164 of 164 units]."""
    exact = Fraction(number)
    return float((Decimal(exact.numerator) / exact.denominator).quantize(Decimal("0.01"), ROUND_HALF_UP))


def cents(points: float) -> Fraction:
    """Return exactly what was written with 2 decimals."""
    return Fraction(str(points))


def total_of(metrics: list[dict[str, Any]], most: int) -> dict[str, Any]:
    """Return a group's points, the sum of the rounded points of its metrics, and their ratio to the most."""
    total = sum((cents(m["score"]) for m in metrics if m["score"] is not None), Fraction(0))
    return {"totalScore": half_up(total), "ratio": half_up(100 * total / most)}


def online_points(
    services: int, authority: int, used: int, online: int, received: int
) -> tuple[float, float]:
    """Return points and ratio of online provision: three terms, added, then rounded."""
    score = half_up(
        min(Fraction(2), 2 * share(services, authority) / Fraction(4, 5))
        + 4 * share(used, max(services, 1))
        + min(Fraction(6), 6 * share(online, received) / Fraction(1, 2))
    )
    return score, half_up(100 * cents(score) / 12)


def payment_points(paid: Fraction, used: Fraction, offered: Fraction) -> tuple[float, float]:
    """Return points and ratio of online payment: three terms, each rounded, then added."""
    terms = (6 * paid, min(Fraction(2), Fraction(5, 2) * used), Fraction(5, 2) * offered)
    score = sum((cents(half_up(t)) for t in terms), Fraction(0))
    return half_up(score), half_up(10 * score)


def provinces() -> dict[str, tuple[str, str]]:
    """Return department identifier -> (agency code, name) of the 34 provinces."""
    return {
        r["dvcqg_department_id"]: (
            r["agency_code"],
            f"UBND {r['type_as_of_2026_10'].lower()} {r['province_short']}",
        )
        for r in rows("ma_dinh_danh_34_ubnd_tinh.csv")
    }


def children(code: str) -> list[tuple[str, str, str]]:
    """Return (code, name, level PROVINCE or COMMUNE) of the units under a province; invented but for two."""
    if code == "H44":
        return [(r["agency_code"], r["agency_name"], r["level"])
                for r in rows("ma_dinh_danh_H44_phu_tho_2026.csv") if r["level"] != "ROOT"]  # fmt: skip
    if code == "H20":
        return [(a.code, a.name, "COMMUNE" if a.level == "COMMUNE" else "PROVINCE")
                for a in agencies_new() if a.code.count(".") == 1]  # fmt: skip
    return [(f"{code}.{nn:02d}", f"Sở số {nn}", "PROVINCE") for nn in range(1, 5)] + [
        (f"{code}.{100 + n}", f"UBND xã số {n + 1}", "COMMUNE") for n in range(12)
    ]


def period_of(body: dict[str, Any]) -> str:
    """Return a text for the period a body asks for."""
    if body.get("fromDate"):
        return f"{body['fromDate']}/{body.get('toDate')}"
    return f"{body.get('year')}-{body.get('quarter') or body.get('month') or ''}-{body.get('timeType')}"


class Draw:
    """Stable numbers for a unit, a period and an endpoint."""

    def __init__(self, *parts: str) -> None:
        self.name = "evaluation:" + ":".join(parts)

    def __call__(self, field: str, low: int, high: int) -> int:
        """Return a whole number from low to high for a field."""
        return low + int(integer(keys_for(self.name, 1), field, high - low + 1)[0])


def metric(code: str, name: str, top: int, draw: Draw) -> dict[str, Any]:
    """Return one metric; a denominator of 0 gives nulls, but the full score for petitions."""
    if code.startswith("PETITION_CLASSIFICATION"):
        return {"code": code, "name": name, "numerator": draw(code, 0, 9), "denominator": draw(code + "d", 9, 20),
                "ratio": None, "score": None, "maxScore": 0}  # fmt: skip
    if code == "ELECTRONIC_CERTIFIED_COPY":
        return {"code": code, "name": name, "numerator": None, "denominator": None, "ratio": None, "score": 2,
                "maxScore": top}  # fmt: skip
    below = 0 if draw(code + "none", 1, 20) == 1 else draw(code + "d", 20, 4000)
    above = draw(code, 0, below) if below else 0
    if not below:
        if code.startswith("PETITION"):
            return {"code": code, "name": name, "numerator": 0, "denominator": 0, "ratio": 0, "score": 6,
                    "maxScore": top}  # fmt: skip
        if code == "DOSSIER_RECEIVING_SATISFACTION":
            return {"code": code, "name": name, "numerator": 0, "denominator": 0, "ratio": 0, "score": 0,
                    "maxScore": top}  # fmt: skip
        return {"code": code, "name": name, "numerator": 0, "denominator": 0, "ratio": None, "score": None,
                "maxScore": top, "dataQualityStatus": "NO_NATIONAL_REPORT_DATA",
                "dataQualityMessage": "Chưa có số liệu báo cáo quốc gia."}  # fmt: skip
    ratio = 100 * share(above, below)
    full = {"DOSSIER_RECEIVING_SATISFACTION": 90, "REUSED_DIGITIZED_DATA": 80}.get(code, 100)
    out = {"code": code, "name": name, "numerator": above, "denominator": below, "ratio": half_up(ratio),
           "score": half_up(min(Fraction(top), top * ratio / full)), "maxScore": top}  # fmt: skip
    if code == "DOSSIER_SYNC":
        out |= {
            "numerator": below,
            "ratio": 100,
            "score": top,
            "dataQualityStatus": "TEMP_NATIONAL_REPORT_DENOMINATOR",
            "dataQualityMessage": "Mẫu số BCQG/GRIS đang dùng số tạm, cần thay bằng dữ liệu crawl hệ thống cũ.",
        }
    return out


def counted(body: dict[str, Any], national: bool) -> tuple[Counter[str], Counter[str]]:
    """Return {unit: dossiers received in the period}, {unit: of them, done in time by its end} of the new Đồng Tháp.

    `national`: as the portal's copy has them. Empty for a period of which the world has no month.
    """
    year, quarter, month = (int(body.get(k) or 0) for k in ("year", "quarter", "month"))
    low = 3 * quarter - 2 if quarter else month or 1
    high = 3 * quarter if quarter else month or 12
    wanted = [m for m in months("dong_thap") if 100 * year + low <= m <= 100 * year + high]
    received: Counter[str] = Counter()
    on_time: Counter[str] = Counter()
    units = [".".join(a.code.split(".")[:2]) for a in agencies("dong_thap")]
    for number in wanted:
        block = month_block("dong_thap", number)
        end = month_bounds(wanted[-1])[1] * DAY - 1
        due = block.due(end)
        kept = block.accepted <= end
        good = (block.done <= end) & ((due == NONE) | (block.done // DAY <= due // DAY))
        if national:
            kept &= uniform(block.key, "national") >= NOT_ARRIVED
            good |= np.isin(block.state(end), (SUPPLEMENT, PAUSED, STOPPED))
        received.update(units[a] for a in block.responsible[kept].tolist())
        on_time.update(units[a] for a in block.responsible[kept & good].tolist())
    return received, on_time


def simulated(
    endpoint: str, body: dict[str, Any], national: bool = True, with_codes: bool = False
) -> dict[str, Any] | None:
    """Return `data` of an evaluation endpoint for a body; None where the body lacks its period or unit.

    `national`: progress is counted from the portal's copy; `with_codes`: every unit under its code.
    """
    known = provinces()
    if endpoint == "service-results":
        return _ranking(known, body)
    root = known.get(str(body.get("rootDepartmentId")))
    dated = (
        body.get("fromDate") and body.get("toDate")
        if endpoint == "handling-satisfaction"
        else body.get("year")
    )
    if not dated:
        return None
    period = period_of(body)
    formality = body.get("formalityID" if endpoint == "dossier-digitized" else "formalityId") or ""
    if root is None:  # [seen] the country instead of a province that was not accepted
        units = [("", "Cả nước", "PROVINCE")]
        identifier, under = "", []
    else:
        identifier = str(body["rootDepartmentId"])
        units, under = [(root[0], root[1], "PROVINCE")], children(root[0])
    draws = [Draw(endpoint, period, str(formality), code) for code, _, _ in [*units, *under]]
    if endpoint in METRICS:
        return _metrics(endpoint, body, identifier, units[0], under, draws, with_codes)
    parent = _tree(endpoint, identifier, units[0], draws[0], True)
    below = [_tree(endpoint, _child_id(c[0]), c, d, False) for c, d in zip(under, draws[1:], strict=True)]
    if endpoint == "dvc-progress-tree" and root and root[0] == "H20":
        received, on_time = counted(body, national)
        for unit, (code, _, _) in zip(below if received else (), under, strict=False):
            a, b = received[code], on_time[code]
            unit |= {
                "totalReceived": a, "totalOnTime": b, "totalOverdue": a - b,
                "ratio": half_up(100 * share(b, a)), "score": half_up(20 * share(b, a)),
            }  # fmt: skip
    if endpoint == "dvc-progress-tree" and below:
        for key in ("totalReceived", "totalOnTime"):
            parent[key] = sum(c[key] for c in below)
        total = parent["totalReceived"]
        parent["totalCompleted"] = int(total * 0.81)
        parent["ratio"] = half_up(100 * share(parent["totalOnTime"], total))
        parent["totalScore"] = half_up(20 * share(parent["totalOnTime"], total))
    out: dict[str, Any] = {"parent": parent, "children": below}
    if endpoint != "formality-online-payment-tree":
        out["monthlyChart"] = []
    return out


def _child_id(code: str) -> str:
    return made_id(f"department:{code}")


def _ranking(known: dict[str, tuple[str, str]], body: dict[str, Any]) -> dict[str, Any] | None:
    if not body.get("year"):
        return None
    listed: list[dict[str, Any]] = []
    for identifier, (code, name) in known.items():
        draw = Draw("service-results", period_of(body), code)
        scores = {g: draw(g, top * 30, top * 100) / 100 for g, top in GROUPS.items()}
        total = half_up(sum(map(cents, scores.values()), Fraction(0)))
        listed.append({"departmentId": identifier, "departmentName": name, "departmentCode": code,
                       "totalScore": total, "ratio": total, "scoreDelta": draw("delta", -500, 900) / 100,
                       "groupScores": scores})  # fmt: skip
    listed.sort(key=lambda r: -r["totalScore"])
    mean = half_up(sum((cents(r["totalScore"]) for r in listed), Fraction(0)) / len(listed) - 5)
    return {
        "overview": {"departmentName": "Cả nước", "departmentCode": None, "totalScore": mean,
                     "totalMaxScore": 100, "ratio": mean},
        "growthPercent": 0, "radar": [], "donuts": {"onlineDossier": [], "onlineProvision": []},
        "evaluation": listed, "monthlyChart": [], "dossierChart": [],
    }  # fmt: skip


def _metrics(endpoint: str, body: dict[str, Any], identifier: str, root: tuple[str, str, str],
             under: list[tuple[str, str, str]], draws: list[Draw], with_codes: bool) -> dict[str, Any]:  # fmt: skip
    def row(n: int, own: str, unit: tuple[str, str, str], draw: Draw, top: bool) -> dict[str, Any]:
        listed = [metric(c, name, m, draw) for c, name, m in METRICS[endpoint]]
        most = sum(m for _, _, m in METRICS[endpoint])
        out = {
            "stt": n, "departmentId": own, "departmentName": unit[1],
            "departmentType": "PROVINCE" if top else
                "COMMUNE_PEOPLE_COMMITTEE" if unit[2] == "COMMUNE" else "PROVINCIAL_DEPARTMENT",
            "departmentLevel": unit[2], "agencyLevel": "level_1" if top else "level_2", "totalScore": 0,
            "totalMaxScore": most, "ratio": 0, "scoreDelta": None, "metrics": listed,
        } | total_of(listed, most)  # fmt: skip
        if endpoint == "dossier-digitized" or with_codes:
            out["departmentCode"] = unit[0]
        if endpoint == "handling-satisfaction":
            out |= {"totalPetitions": draw("petitions", 0, 60), "classifiedPetitions": draw("classified", 0, 30),
                    "totalDossiers": draw("dossiers", 100, 9000)}  # fmt: skip
        return out

    below = [row(i + 1, _child_id(u[0]), u, d, False) for i, (u, d) in
             enumerate(zip(under, draws[1:], strict=True))]  # fmt: skip
    overview = row(1, identifier, root, draws[0], True)
    overview["averageScore"] = overview["totalScore"]
    size = int(body.get("pageSize") or 200)
    out: dict[str, Any] = {
        "overview": overview, "evaluation": below,
        "pagination": {"total": len(below), "currentPage": 1, "pageSize": size, "totalPages": 1},
        "source": "sandbox: invented figures",
    }  # fmt: skip
    if endpoint == "transparency":
        out["monthlyChart"] = []
    return out


def _tree(endpoint: str, own: str, unit: tuple[str, str, str], draw: Draw, top: bool) -> dict[str, Any]:
    head: dict[str, Any] = {"departmentId": own, "departmentName": unit[1], "departmentCode": unit[0] or None}
    if not top:
        head["level"] = unit[2]
    if endpoint == "dvc-progress-tree":
        received = 0 if draw("none", 1, 25) == 1 else draw("received", 50, 7000)
        on_time = received - draw("late", 0, received // 5) if received else 0
        ratio, score = half_up(100 * share(on_time, received)), half_up(20 * share(on_time, received))
        head |= {"totalReceived": received, "totalOnTime": on_time}
        if top:
            return head | {"totalCompleted": int(received * 0.81), "avgProcessingDays": draw("days", 90, 900) / 100,
                           "ratio": ratio, "totalScore": score, "totalMaxScore": 20}  # fmt: skip
        return head | {"totalOverdue": received - on_time, "avgProcessingDays": draw("days", 90, 900) / 100,
                       "ratio": ratio, "score": score, "maxScore": 20, "scoreDelta": None}  # fmt: skip
    if endpoint == "provide-online-tree":
        authority = draw("authority", 200, 1700)
        partial, full = authority * draw("partial", 20, 50) // 100, authority * draw("full", 10, 40) // 100
        online, direct, post = draw("online", 400, 9000), draw("direct", 0, 900), draw("post", 0, 90)
        total, used = partial + full, (partial + full) * draw("used", 30, 95) // 100
        score, ratio = online_points(total, authority, used, online, online + direct + post)
        if not top:
            return head | {
                "score": score,
                "maxScore": 12,
                "scoreDelta": None,
                "ratio": ratio,
            }
        return head | {
            "authorityCount": authority, "partialCount": partial, "fullCount": full, "onlineDossierCount": used,
            "onlineServiceTotal": total, "channelOnlineSum": online, "channelDirectSum": direct,
            "channelPostalSum": post, "channelTotalSum": online + direct + post, "onlineOnTimeSum": online,
            "onlineOverdueSum": 0, "ratio": ratio, "totalScore": score, "totalMaxScore": 12,
        }  # fmt: skip
    duty = 0 if draw("no duty", 1, 20) == 1 else draw("duty", 10, 3000)
    formalities = draw("formalities", 5, 400) if duty else 0
    paid = duty * draw("paid", 20, 95) // 100
    used, offered = formalities * draw("b", 20, 80) // 100, formalities * draw("c", 10, 80) // 100
    score, ratio = payment_points(share(paid, duty), share(used, formalities), share(offered, formalities))
    return head | {
        "totalDossierOnlinePaymentSuccess": paid, "totalDossierFinancialObligation": duty,
        "totalDossierOnlineFormalityPaymentSuccess": used, "totalFeeDossierFormalityDistinct": formalities,
        "totalFeeDossierFormality": offered, "totalFeeFormality": formalities, "ratio": ratio,
        "totalScore": score, "totalMaxScore": 10,
    }  # fmt: skip
