"""Counter-based randomness: every value is a pure function of a key and the name of a field.

No state is kept, so any row of any month can be drawn alone, in any order, always with the same result;
this is what lets the servers encode only the rows somebody asks for.
"""

from functools import lru_cache
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

U64 = NDArray[np.uint64]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


@lru_cache(maxsize=4096)
def salt(name: str) -> np.uint64:
    """Return a 64-bit constant for a name."""
    return np.uint64(int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big"))


def mix(x: U64) -> U64:
    """Return the SplitMix64 finaliser of each element (Steele, Lea, Flood 2014)."""
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def bits(keys: U64, field: str) -> U64:
    """Return 64 random bits for each key and the named field."""
    return mix(keys ^ salt(field))


def uniform(keys: U64, field: str) -> F64:
    """Return numbers in [0, 1) for each key and the named field."""
    return (bits(keys, field) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def integer(keys: U64, field: str, below: int) -> I64:
    """Return integers in [0, below) for each key and the named field."""
    return (bits(keys, field) % np.uint64(below)).astype(np.int64)


def exponential(keys: U64, field: str, mean: float) -> F64:
    """Return exponentially distributed numbers with the given mean."""
    return -mean * np.log1p(-uniform(keys, field))


def keys_for(name: str, count: int, start: int = 0) -> U64:
    """Return `count` keys of a named stream, from position `start`."""
    return mix(salt(name) ^ mix(np.arange(start, start + count, dtype=np.uint64)))
