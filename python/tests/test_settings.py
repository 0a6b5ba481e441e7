"""Settings that cannot be used keep nothing from starting."""

from __future__ import annotations

import pytest

from nova_ext import _settings


@pytest.mark.parametrize(
    ("name", "raw", "value", "wrong"),
    [
        ("guard", "enforce", "enforce", False),
        ("guard", " Enforce ", "enforce", False),
        ("guard", "on", "warn", True),
        ("guard", "", "warn", True),
        ("headroom", "5%", "warn", True),
        ("guard_failure", "close", "open", True),
        ("proof_lifetime", "3600", 3600, False),
        ("proof_lifetime", "59", 86400, True),
        ("proof_lifetime", "1d", 86400, True),
        ("proof_lifetime", "9" * 30, 86400, True),
        ("proof_lifetime", "9" * 400, 86400, True),
        ("spread_host", "0", 0.0, False),
        ("spread_host", "-0.1", 1.0, True),
        ("spread_domain", "nan", 2.0, True),
        ("spread_domain", "inf", 2.0, True),
        ("spread_weight_multiplier", "-3", -3.0, False),
        ("spread_weight_multiplier", "", 10.0, True),
        ("spread_weight_multiplier", "9" * 400, 10.0, True),
        ("events_waiting", "100001", 1000, True),
    ],
)
def test_what_counts(name: str, raw: str, value: object, wrong: bool) -> None:
    assert _settings.read(name, raw)[0] == value
    said = _settings.wrong(name, raw)
    assert (said is not None) == wrong
    assert said is None or said.startswith(f"{name} = {raw} cannot be used (it is ") and said.endswith(f"): {value} counts")


def test_defaults_can_be_used() -> None:
    for name, rule in _settings.RULES.items():
        assert _settings.read(name, rule.default) == (rule.default, None)
        assert _settings.read(name, rule.instead) == (rule.instead, None)
