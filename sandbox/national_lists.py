"""The catalogue services of the portal's server-to-server side: a whole list in one answer, its keys in capitals.

Names of the services: seen [platform facts, 1.3]. Keys of LayThuTuc, LayDanhSachTTHC, LayDVC, LayDanhMucCoQuan and
LayDanhMucLinhVuc: seen [1.8]; legal bases and fees have the keys they have inside LayThuTuc. Of all other lists no
answer is known: their keys are **guessed**, in `_named` alone. Procedures are real (the crawl); of short lists that say
nothing of procedures here stand the usual entries, not the whole.
"""

from collections.abc import Callable, Iterable
from typing import Any

from sandbox.portal import TIME_UNITS, Catalogue
from sandbox.reference import agencies_new, communes, made_id, rows

Item = dict[str, Any]
_CHANNELS = {"direct": "1", "online": "2", "postal": "3"}
#: Decision 121-TCTK/PPCĐ of 1979, by number from 01.
_PEOPLES = (
    "Kinh", "Tày", "Thái", "Hoa", "Khmer", "Mường", "Nùng", "Mông", "Dao", "Gia Rai", "Ngái", "Ê Đê", "Ba Na",
    "Xơ Đăng", "Sán Chay", "Cơ Ho", "Chăm", "Sán Dìu", "Hrê", "Mnông", "Raglay", "Xtiêng", "Bru - Vân Kiều", "Thổ",
    "Giáy", "Cơ Tu", "Giẻ - Triêng", "Mạ", "Khơ Mú", "Co", "Tà Ôi", "Chơ Ro", "Kháng", "Xinh Mun", "Hà Nhì", "Chu Ru",
    "Lào", "La Chí", "La Ha", "Phù Lá", "La Hủ", "Lự", "Lô Lô", "Chứt", "Mảng", "Pà Thẻn", "Cơ Lao", "Cống", "Bố Y",
    "Si La", "Pu Péo", "Brâu", "Ơ Đu", "Rơ Măm",
)  # fmt: skip
_COUNTRIES = {
    "VN": "Việt Nam", "LA": "Lào", "KH": "Campuchia", "CN": "Trung Quốc", "JP": "Nhật Bản", "KR": "Hàn Quốc",
    "TW": "Đài Loan", "US": "Hoa Kỳ", "FR": "Pháp", "AU": "Úc",
}  # fmt: skip
_RELIGIONS = ("Không", "Phật giáo", "Công giáo", "Tin lành", "Cao Đài", "Phật giáo Hòa Hảo", "Hồi giáo")
_LEGAL_BASES = {
    "118/2025/NĐ-CP": "Nghị định về thực hiện thủ tục hành chính theo cơ chế một cửa, một cửa liên thông",
    "42/2022/NĐ-CP": "Nghị định quy định về việc cung cấp thông tin và dịch vụ công trực tuyến",
    "766/QĐ-TTg": "Quyết định phê duyệt Bộ chỉ số chỉ đạo, điều hành và đánh giá chất lượng phục vụ người dân, "
    "doanh nghiệp trong thực hiện thủ tục hành chính, dịch vụ công theo thời gian thực",
}


def _named(what: str, entries: Iterable[tuple[str, str]], **more: str) -> list[Item]:
    """Return rows with MA..., TEN... and more. [guess]: the form of these keys, by those that are known."""
    return [{f"MA{what}": code, f"TEN{what}": name, **more} for code, name in entries]


def _counted(*names: str, width: int = 1) -> list[tuple[str, str]]:
    return [(f"{n:0{width}d}", name) for n, name in enumerate(names, 1)]


def _communes(_: Catalogue) -> list[Item]:
    c = communes()
    return _named("PHUONGXA", zip(c.new_codes, c.new_names, strict=True), MATINHTHANH="82")


def _districts(_: Catalogue) -> list[Item]:
    """The districts there were until 30/6/2025, by their old province. [guess]: that the service still gives them."""
    c = communes()
    told = {
        code: (name, province)
        for code, name, province in zip(c.districts, c.district_names, c.province, strict=True)
    }
    return [
        row
        for code, (name, province) in sorted(told.items())
        for row in _named("QUANHUYEN", [(code, name)], MATINHTHANH=str(province))
    ]


def _fee(row: dict[str, str]) -> Item | None:
    """Return what is charged for a way of submitting a procedure; None for nothing. Some fees are in USD."""
    amount, currency = row["fee_vnd"], "VND"
    if not amount and row["fee_raw"].endswith(" USD"):
        amount, currency = row["fee_raw"].removesuffix(" USD"), "USD"
    if not amount:
        return None
    return {"MAPHILEPHI": f"{row['code']}.PHI", "SOTIEN": amount, "DONVI": currency, "MOTA": row["fee_raw"]}


def _fees(catalogue: Catalogue) -> list[Item]:
    found = (_fee(row) for code in sorted(catalogue.terms) for row in catalogue.terms[code])
    return list({f["MAPHILEPHI"]: f for f in found if f}.values())


def _sectors(catalogue: Catalogue) -> list[Item]:
    return [
        {"MALINHVUC": _sector(name, ministry), "TENLINHVUC": name, "MANGANH": ministry}
        for name, ministry in sorted({(r["sector"], r["ministry_dir"]) for r in catalogue.rows})
    ]


def _services(catalogue: Catalogue) -> Item:
    return {"data": [
        {"MADVC": f"{r['code']}.DVC", "TENDVC": r["name"], "MATTHC": r["code"], "TENTTHC": r["name"],
         "TENCOQUANBANHANH": r["ministry_dir"], "TENLINHVUC": r["sector"], "APDUNGDVC": []}
        for r in catalogue.rows if "online" in r["channels"]
    ]}  # fmt: skip


#: Each service that gives a list, of the procedures it is about.
LISTS: dict[str, Callable[[Catalogue], Any]] = {
    "LayDanhSachTTHC": lambda c: [{"MATTHC": r["code"], "TENTTHC": r["name"]} for r in c.rows],
    "LayDVC": _services,
    "LayDanhMucCoQuan": lambda _: [
        {"MADONVI": a.code, "TENDONVI": a.name, "CAPDONVI": a.level} for a in agencies_new()
    ],
    "LayDanhMucLinhVuc": _sectors,
    "LayDanhMucLePhi": _fees,
    "LayDanhMucCanCuPhapLy": lambda _: [
        {"SOVANBAN": number, "TENVANBAN": name} for number, name in _LEGAL_BASES.items()
    ],
    "LayDanhMucTinhThanh": lambda _: _named("TINHTHANH", (
        (r["province_code_gso"], f"{r['type_as_of_2026_10']} {r['province_short']}")
        for r in rows("ma_dinh_danh_34_ubnd_tinh.csv")
    )),
    "LayDanhMucQuanHuyen": _districts,
    "LayDanhMucPhuongXa": _communes,
    "LayDanhMucQuocGia": lambda _: _named("QUOCGIA", _COUNTRIES.items()),
    "LayDanhMucDanToc": lambda _: _named("DANTOC", _counted(*_PEOPLES, width=2)),
    "LayDanhMucTonGiao": lambda _: _named("TONGIAO", _counted(*_RELIGIONS, width=2)),
    "LayDanhMucTinhTrangHonNhan": lambda _: _named(
        "TINHTRANGHONNHAN", _counted("Chưa kết hôn", "Đã kết hôn", "Đã ly hôn", "Góa")
    ),
    "LayDanhMucGioiTinh": lambda _: _named("GIOITINH", _counted("Nam", "Nữ", "Khác")),
    "LayDanhMucDoiTuong": lambda _: _named(
        "DOITUONG", _counted("Công dân Việt Nam", "Doanh nghiệp", "Cơ quan nhà nước", "Tổ chức khác")
    ),
    "LayDanhMucCapThucHien": lambda _: _named("CAPTHUCHIEN", _counted("Cấp Bộ", "Cấp Tỉnh", "Cấp Xã")),
}  # fmt: skip


def procedure(catalogue: Catalogue, code: str) -> Item | None:
    """Return what LayThuTuc gives of a procedure; None for a code that is not in the catalogue."""
    row = next((r for r in catalogue.rows if r["code"] == code), None)
    if row is None:
        return None
    ways: list[Item] = []
    for r in catalogue.terms.get(code, []):
        fee = _fee(r)
        ways.append({
            "KENH": _CHANNELS[r["channel"]],
            "THOIGIAN": [{"THOIGIANGIAIQUYET": r["duration"], "DONVITINH": TIME_UNITS[r["unit"]], "MOTA": "",
                          "PHILEPHI": [fee] if fee else []}],
        })  # fmt: skip
    return {
        "MATTHC": code, "TENTTHC": row["name"], "MACOQUANCONGBO": row["ministry_dir"], "TRANGTHAI": 1,
        "LINHVUCTHUCHIEN": [
            {"MALINHVUC": _sector(row["sector"], row["ministry_dir"]), "TENLINHVUC": row["sector"]}
        ],
        "TRINHTUTHUCHIEN": [], "CACHTHUCTHUCHIEN": ways, "YEUCAU": "", "DOITUONGTHUCHIEN":
        [{"TENDOITUONG": s.strip()} for s in row["subjects"].split(",") if s.strip()],
        "MOTADOITUONGTHUCHIEN": "", "KETQUATHUCHIEN": [{"MAKETQUA": "", "TENKETQUA": row["result"]}],
        "CANCUPHAPLY": [], "COQUANTHUCHIEN": [{"MADONVI": "", "TENDONVI": row["executing_agency"]}],
        "THANHPHANHOSO": [],
    }  # fmt: skip


def _sector(name: str, ministry: str) -> str:
    """Return the made-up code of a ministry's sector: two ministries have sectors of one name."""
    return made_id(f"{ministry}/{name}")[:8].upper()
