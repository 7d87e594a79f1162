"""What nobody here needs and no source's sending makes ours: religion, ethnicity, data of relatives.

It is dropped on receipt: before anything is quarantined, sealed or written, also inside a rejected record and inside
JSON that a source packs into a text. Only the names of what was dropped are counted. This is the one list; a key is
told by its name, in whichever language, capitals, accents or separators a source writes it (``motherName``,
``ho_ten_me``, ``Dân tộc``).

Where the names come from:

- national population database, answer CongDan: DanToc, TonGiao, and the persons Cha, Me, VoChong, NguoiDaiDien
  {HoVaTen, QuocTich, SoDinhDanh, SoCMND} and ChuHo {QuanHe, SoDinhDanh, SoCMND, HoVaTen};
- national portal: catalogues LayDanhMucDanToc, LayDanhMucTonGiao, whose names forms use for their fields; operations
  XacMinhThongTinNguoiGiamHo, CungCapThongTinHoGiaDinh;
- iGate (applicant.data, eForm.data) and OpenCPS: free forms, whose designers give the names; Vietnamese without accents
  and English were seen, so each kind stands here in both.

Luật 91/2025/QH15, article 3: data are collected for a stated purpose, and no more of them.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections import Counter
from typing import Any

import orjson

#: Belief and origin: the word, with or without "code" or "name" around it.
_BELIEF = re.compile(
    r"(?:ma|ten|id|so)?(?:dantoc|tongiao)(?:id|ma|ten|code|name|khac|label)?"
    r"|ethnic(?:ity|group|minority)?(?:id|code|name)?|religion(?:id|code|name)?"
)
_RELATIVE = (
    "cha|chame|me|mede|vo|chong|vochong|vohoacchong|bome|nguoidaidien|daidienphapluat|nguoigiamho|giamho|chuho|"
    "nguoithan|thannhan|nguoiphuthuoc|hogiadinh|thanhvienhogiadinh|ongba|anhchiem|"
    "mother|father|spouse|wife|husband|guardian|householder|headofhousehold|relatives?|nextofkin|siblings?|dependants?"
)
#: What is said of a person, in front of the word for the relative or behind it.
_SAID = (
    "hovaten|hoten|hovachudem|chudem|ho|ten|socccd|socmnd|socmt|sodinhdanh|madinhdanh|dinhdanh|cccd|cmnd|giayto|"
    "sogiayto|ngaythangnamsinh|ngaysinh|namsinh|quoctich|diachi|noio|thuongtru|quequan|dienthoai|sodienthoai|sdt|email|"
    "dantoc|tongiao|nghenghiep|thongtin|danhsach|ds|cua|nguoi|"
    "full|first|last|name|names|identity|id|number|no|card|birth|birthday|date|of|day|year|yob|dob|phone|phonenumber|"
    "address|nationality|occupation|info|information|data|list"
)
_OF_A_RELATIVE = re.compile(f"(?:{_SAID})*(?:{_RELATIVE})(?:{_SAID})*")
#: Words that are a relative only behind what is said of a person: `bo` alone is a ministry, `con` a part of many words.
_WITH_MORE = re.compile(
    "(?:hovaten|hoten|hotenkhaisinh|socccd|socmnd|sodinhdanh|ngaysinh|namsinh)(?:cua)?(?:bo|con)"
)
#: The relation itself, as beside the head of a household.
_RELATION = re.compile(r"(?:moi)?quanhe(?:voichuho|nhanthan)?|relationship")
#: Keys under which a form gives the name of a field beside its value: {"label": "Dân tộc", "value": "..."}.
_LABELS = ("label", "key", "title", "field", "fieldName", "tenTruong", "maTruong")


def folded(name: str) -> str:
    """A name in lower case without accents and separators."""
    plain = unicodedata.normalize("NFD", name.replace("đ", "d").replace("Đ", "D")).lower()
    return "".join(c for c in plain if c.isascii() and c.isalnum())


@functools.lru_cache(4096)
def is_unwanted(name: str) -> bool:
    """Whether a key or heading, or one part of a path, names what is dropped on receipt."""
    return any(
        _named(folded(part)) for part in re.split(r"[.\[\]]", re.sub(r"\([A-Z]+\)$", "", name.strip()))
    )


def _named(word: str) -> bool:
    # Longer than any name of a field: the alternatives above would be tried in too many ways.
    return len(word) <= 60 and any(
        p.fullmatch(word) for p in (_BELIEF, _OF_A_RELATIVE, _WITH_MORE, _RELATION)
    )


def without(value: Any, dropped: Counter[str], also: frozenset[str] = frozenset(), path: str = "") -> Any:
    """`value` (decoded JSON) without what is unwanted, nor the keys `also`; `dropped` counts each by its path."""
    if isinstance(value, dict):
        kept = {}
        for key, below in value.items():
            here = f"{path}.{key}" if path else str(key)
            if str(key) in also or is_unwanted(str(key)):
                dropped[here] += 1
            elif (entry := without(below, dropped, also, here)) is not _GONE:
                kept[key] = entry
        labels = (kept[n] for n in _LABELS if isinstance(kept.get(n), str))
        if unwanted := [n for n in labels if is_unwanted(n)]:
            dropped[f"{path}.{unwanted[0]}" if path else unwanted[0]] += 1
            return _GONE if path else {}
        return kept
    if isinstance(value, list):
        entries = (without(v, dropped, also, f"{path}[]") for v in value)
        return [e for e in entries if e is not _GONE]
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            inner = orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
        found: Counter[str] = Counter()
        cleaned = without(inner, found, also, path)
        if not found:
            return value
        dropped.update(found)
        return _GONE if cleaned is _GONE else orjson.dumps(cleaned).decode()
    return value


#: An entry of a form that went as a whole.
_GONE: Any = object()
