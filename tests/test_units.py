from contextlib import suppress
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenproxy.units import format_duration, parse_duration, parse_size

MOST = 1 << 53
SECONDS = {
    "": Fraction(1),
    "ms": Fraction(1, 1000),
    "s": Fraction(1),
    "m": Fraction(60),
    "h": Fraction(3600),
    "d": Fraction(86400),
}
BYTES = {
    "": 1,
    "B": 1,
    "kB": 1000,
    "KB": 1000,
    "KiB": 1024,
    "MB": 1000**2,
    "MiB": 1024**2,
    "GB": 1000**3,
    "GiB": 1024**3,
}
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)
NUMBER_LIKE = st.from_regex(r"\s?-?[0-9]{0,45}(\.[0-9]{0,3})?\s?[A-Za-z]{0,3}\s?", fullmatch=True)


# -- durations -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("500ms", 0.5),
        ("30s", 30),
        ("5m", 300),
        ("24h", 86400),
        ("7d", 604800),
        ("1.5h", 5400),
        ("0.1s", 0.1),
        ("30", 30),
        ("0", 0),
        ("007s", 7),
        (" 30 s ", 30),
        (30, 30),
        (0.25, 0.25),
        (0, 0),
        (-0.0, 0),
        (MOST, MOST),
    ],
)
def test_a_duration_is_seconds(written: object, seconds: float) -> None:
    assert parse_duration(written) == seconds


@pytest.mark.parametrize(
    "written",
    [
        "",
        " ",
        "s",
        "soon",
        "-1s",
        "+1s",
        "1,5s",
        "1.s",
        ".5s",
        "1e3",
        "1_000",
        "0x10",
        "30S",
        "30M",
        "30sec",
        "1KiB",
        "1h30m",
        "٣s",
        "inf",
        "nan",
        "0" * 41,
        "9007199254740993",
        -1,
        -0.001,
        MOST + 1,
        pytest.param(10**400, id="a long number"),
        float("inf"),
        float("nan"),
        True,
        False,
        None,
        b"30s",
        ["30s"],
        {"s": 30},
    ],
)
def test_what_is_no_duration_is_told_what_one_looks_like(written: object) -> None:
    with pytest.raises(ValueError, match=r"^must be a duration such as 500ms, 30s, 5m or 24h$"):
        parse_duration(written)


@given(st.integers(0, 10**10), st.sampled_from(sorted(SECONDS)), st.sampled_from(["", " "]))
def test_every_number_of_every_unit_is_read_exactly(number: int, unit: str, space: str) -> None:
    assert parse_duration(f"{number}{space}{unit}") == float(number * SECONDS[unit])


@given(st.integers(0, MOST) | st.floats(0, MOST))
def test_a_plain_number_stays_as_it_is(seconds: float) -> None:
    assert parse_duration(seconds) == seconds


@given(ANYTHING | NUMBER_LIKE)
def test_whatever_is_read_as_a_duration_is_finite_and_not_negative(value: object) -> None:
    with suppress(ValueError):
        seconds = parse_duration(value)
        assert type(seconds) is float
        assert 0 <= seconds <= MOST


# -- sizes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("64KiB", 65536),
        ("10MiB", 10485760),
        ("2GiB", 2147483648),
        ("1.5KiB", 1536),
        ("1kB", 1000),
        ("1KB", 1000),
        ("3MB", 3_000_000),
        ("1GB", 1_000_000_000),
        ("512B", 512),
        ("512", 512),
        ("64 KiB", 65536),
        (512, 512),
        (512.0, 512),
        (0, 0),
    ],
)
def test_a_size_is_bytes(written: object, size: int) -> None:
    assert parse_size(written) == size


@pytest.mark.parametrize(
    "written",
    [
        "",
        "KiB",
        "much",
        "-1KiB",
        "64kib",
        "64K",
        "64Mb",
        "1TiB",
        "30s",
        "1.2.3MiB",
        "1" * 41,
        "9000000GiB",
        -1,
        float("inf"),
        float("nan"),
        True,
        None,
        [64],
    ],
)
def test_what_is_no_size_is_told_what_one_looks_like(written: object) -> None:
    with pytest.raises(ValueError, match=r"^must be a size such as 512, 64KiB or 10MiB$"):
        parse_size(written)


@given(st.integers(0, 10**6), st.sampled_from(sorted(BYTES)), st.sampled_from(["", " "]))
def test_every_number_of_every_size_is_read_exactly(number: int, unit: str, space: str) -> None:
    assert parse_size(f"{number}{space}{unit}") == number * BYTES[unit]


@given(ANYTHING | NUMBER_LIKE)
def test_whatever_is_read_as_a_size_is_whole_and_not_negative(value: object) -> None:
    with suppress(ValueError):
        size = parse_size(value)
        assert type(size) is int
        assert 0 <= size <= MOST


# -- for people ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0ms"),
        (0.25, "250ms"),
        (0.0004, "0ms"),
        (1, "1s"),
        (42, "42s"),
        (90, "90s"),
        (119, "119s"),
        (120, "2m"),
        (300, "5m"),
        (3600, "60m"),
        (7200, "2h"),
        (10800, "3h"),
        (86400, "24h"),
        (172800, "2d"),
        (2592000, "30d"),
    ],
)
def test_a_duration_is_shown_in_the_unit_that_reads_best(seconds: float, shown: str) -> None:
    assert format_duration(seconds) == shown


@given(st.floats(0, 1e9))
def test_what_is_shown_is_near_and_can_be_written_into_a_config(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, rel=0.34, abs=0.0005)


@given(st.floats(0, 1e9), st.floats(0, 1e9))
def test_a_longer_duration_is_never_shown_as_a_shorter_one(one: float, other: float) -> None:
    shorter, longer = sorted([one, other])

    assert parse_duration(format_duration(shorter)) <= parse_duration(format_duration(longer))
