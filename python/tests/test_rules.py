"""Who is evacuated, and what keys may say."""

from __future__ import annotations

from typing import Any

import pytest

import nova_ext
from nova_ext import Decision, Policy, errors


def test_every_source_is_asked_and_the_nearest_counts() -> None:
    rules = Policy.parse('mode = "opt-in"\n[[group]]\nname = "db"\npriority = 5\n')
    assert rules.opted_in() == Decision(False, 0, None, "nobody says anything")
    yes = {"instance_ha:evacuate": "yes"}
    for by, words in {
        "flavor extra spec": {"flavor": yes},
        "image property": {"image": yes},
        "server metadata": {"metadata": yes},
        "server tag": {"tags": ["instance_ha:evacuate"]},
        "aggregate metadata": {"aggregate": yes},
    }.items():
        decision = rules.opted_in(**words)  # type: ignore[arg-type]
        assert decision == Decision(True, 0, None, f"{by} instance_ha:evacuate")
    decision = rules.opted_in(
        flavor=yes, metadata={"instance_ha:evacuate": False, "instance_ha:group": "db"}, tags=["HA_Enabled"]
    )
    assert decision == Decision(False, 5, "db", "server metadata instance_ha:evacuate")


def test_of_several_aggregates_the_cautious_one_counts() -> None:
    rules = Policy.parse('mode = "opt-out"\n')
    assert not rules.opted_in(aggregate=[{"evacuable": "true"}, {"evacuable": "false"}]).evacuate


def test_what_is_not_understood_is_noted() -> None:
    decision = Policy.parse('mode = "opt-out"\n').opted_in(flavor={"instance_ha:priority": "high"})
    assert decision.evacuate
    assert decision.notes == (
        'flavor extra spec instance_ha:priority = "high" is no whole number from -1000 to 1000: ignored',
    )


def test_a_policy_says_what_is_wrong_with_it(site: Any) -> None:
    with pytest.raises(errors.ConfigError, match="mode must be stated") as caught:
        Policy.parse("")
    assert not caught.value.retryable
    assert Policy.load(site.config).opted_in(flavor={"evacuable": "1"}).evacuate
    assert nova_ext.opted_in(flavor={"evacuable": "1"}, config=site.config).evacuate
    (site.folder / "policy.toml").unlink()
    with pytest.raises(errors.ConfigError, match="policy.toml is missing"):
        Policy.load(site.config)


def test_keys_are_those_that_flavors_may_have(native: Any) -> None:
    from nova_ext.extra_specs import FLAVOR_KEYS, wrong

    of_guests = {name: about for name, _, on_hosts, about in native.keys() if not on_hosts}
    assert of_guests == {f"instance_ha:{key}": about for key, (_, about) in FLAVOR_KEYS.items()} | {
        "instance_ha:group": of_guests["instance_ha:group"]
    }
    assert wrong("instance_ha:priority", "7") is None
    assert wrong("instance_ha:evacuat", "yes") == (
        'there is no key "instance_ha:evacuat": did you mean instance_ha:evacuate?'
    )
