"""Extra specs and the guard, in a real nova-api."""

from __future__ import annotations

import datetime
import json
from typing import Any, Optional

import pytest

from nova_cloud import Cloud, admin, set_last_seen  # isort: skip

from nova import objects
from nova.tests.functional.api import client

from nova_ext import _load, _lookup


class ExtraSpecs(Cloud):
    """What flavors may say."""

    def said(self, version: str = "2.86", **words: str) -> str:
        self.api.microversion = version
        flavor = self.api.get_flavors()[0]["id"]
        specs = {f"instance_ha:{key}": value for key, value in words.items()}
        try:
            self.api.post_extra_spec(flavor, {"extra_specs": specs})
        except client.OpenStackApiException as error:
            assert error.response.status_code == 400
            return str(json.loads(error.response.content)["badRequest"]["message"])
        return "ok"

    def test_what_is_right_is_taken(self) -> None:
        assert self.said(evacuate="yes", priority="-7", group="databases") == "ok"
        assert self.said(evacuate="True") == "ok"

    def test_what_is_wrong_is_refused_in_clear_words(self) -> None:
        for words, why in (
            ({"evacuate": "perhaps"}, 'instance_ha:evacuate = "perhaps" is neither yes nor no'),
            ({"priority": "1001"}, 'instance_ha:priority = "1001" is no whole number from -1000 to 1000'),
            ({"group": " "}, 'instance_ha:group = " " is no name of 1 to 64 bytes'),
            ({"evacuat": "yes"}, 'there is no key "instance_ha:evacuat": did you mean instance_ha:evacuate?'),
            ({"reserved": "yes"}, "instance_ha:reserved is for aggregates of hosts: nobody looks for it here"),
        ):
            assert self.said(**words) == f"Validation failed; {why}."

    def test_old_microversions_take_anything(self) -> None:
        assert self.said("2.85", evacuate="perhaps", evacuat="yes") == "ok"

    def test_without_the_native_part_novas_own_checks_are_left(self) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_load, "_why", "ImportError: no such file")
            assert self.said(evacuate="yes") == "ok"
            assert "not a valid boolean-like value" in self.said(evacuate="perhaps")

    def test_a_bug_leaves_novas_own_checks(self) -> None:
        from nova_ext import _native

        self.addCleanup(_native.inject_panic, None)
        _native.inject_panic("check_key")
        assert self.said(evacuate="yes") == "ok"
        assert "not a valid boolean-like value" in self.said(evacuate="perhaps")

    def test_checks_that_cannot_be_made_end_nothing(self) -> None:
        from nova.api.validation.extra_specs import base

        from nova_ext import extra_specs

        with pytest.MonkeyPatch.context() as patch:
            # As another Nova may have it.
            patch.delattr(base, "ExtraSpecValidator")
            with self.assertLogs("nova_ext.extra_specs", "ERROR"):
                assert extra_specs.register() == []

    def test_other_specs_are_left_alone(self) -> None:
        flavor = self.api.get_flavors()[0]["id"]
        self.api.post_extra_spec(flavor, {"extra_specs": {"hw:cpu_policy": "dedicated", "site:tier": "gold"}})
        with pytest.raises(client.OpenStackApiException):
            self.api.post_extra_spec(flavor, {"extra_specs": {"hw:cpu_policy": "often"}})


class Asked(Cloud):
    """A server of a host, and what is asked about both."""

    settings: dict[str, Any] = {"guard": "enforce"}

    def setUp(self) -> None:
        super().setUp()
        self.hosts("c1", "c2")
        self.server = self.boot("c1")

    def evacuate(self, headers: Optional[dict[str, str]] = None, api: Any = None) -> tuple[int, str]:
        return self.ask("post", f"/servers/{self.server['id']}/action", {"evacuate": {}}, headers=headers, api=api)

    def ask(
        self, method: str, path: str, body: dict[str, Any], headers: Optional[dict[str, str]] = None, api: Any = None
    ) -> tuple[int, str]:
        """The status, and the message of an error."""
        response = (api or self.api).api_request(
            path,
            method=method.upper(),
            body=json.dumps(body),
            headers={"Content-Type": "application/json", **(headers or {})},
            strip_version=False,
        )
        self.answer = response
        if response.status_code < 400:
            return response.status_code, ""
        ((kind, fault),) = json.loads(response.content).items()
        assert fault["code"] == response.status_code, kind
        return response.status_code, fault["message"]

    def service_is(self, **change: Any) -> tuple[int, str]:
        return self.ask("put", f"/os-services/{self.service('c1')['id']}", change)


class Guarded(Asked):
    """The guard, enforcing."""

    def test_without_proof_nothing_happens(self) -> None:
        self.lose("c1")
        status, said = self.evacuate()
        assert status == 403 and said.startswith("host c1 is not proven off: its servers may still run"), said
        # As Nova's own errors are.
        assert set(json.loads(self.answer.content)) == {"forbidden"}
        assert self.answer.headers["Content-Type"] == "application/json; charset=UTF-8"
        other = self.api.api_request("/servers").headers
        assert self.answer.headers["OpenStack-API-Version"] == other["OpenStack-API-Version"]
        assert self.answer.headers["x-openstack-request-id"].startswith("req-")
        server = self.api.get_server(self.server["id"])
        assert (server["OS-EXT-STS:task_state"], server["status"]) == (None, "ACTIVE")
        assert _lookup.open_evacuations(admin(), "c1") == (0, 0)

    def test_with_a_proof_it_is_evacuated(self) -> None:
        self.lose("c1", self.proof("c1"))
        self._evacuate_server(self.server, expected_host="c2")

    def test_a_proof_that_comes_with_the_request(self) -> None:
        # Somebody had disabled it before, and that is what the record says.
        self.lose("c1", "new disks")
        assert self.evacuate()[0] == 403
        assert self.evacuate({"X-Instance-HA-Proof": self.proof("c1")})[0] == 200
        self._wait_for_migration_status(self.server, ["done"])

    def test_one_that_has_expired(self) -> None:
        self.lose("c1", self.proof("c1"))
        set_last_seen("c1", datetime.datetime.utcnow() + datetime.timedelta(seconds=60))
        status, said = self.evacuate()
        assert status == 403 and "has expired" in said, said

    def test_one_of_another_host_or_key(self) -> None:
        self.lose("c1", self.proof("c2"))
        assert "signature is wrong" in self.evacuate()[1]
        line = self.proof("c1")
        self.key.write_text("f" * 40)
        self.service_is(status="disabled", disabled_reason=line)
        assert "signature is wrong" in self.evacuate()[1]

    def test_an_administrator_overrides_it_and_others_do_not(self) -> None:
        self.lose("c1")
        override = {"X-Instance-HA-Override": "seen with my own eyes"}
        with self.assertLogs("nova_ext.guard", "WARNING") as logs:
            assert self.evacuate(override)[0] == 200
        self._wait_for_migration_status(self.server, ["done"])
        assert "overrides the guard for evacuate of c1 ('seen with my own eyes')" in logs.output[0]

    def test_whoever_may_not_evacuate_hears_so_from_nova(self) -> None:
        self.lose("c1")
        reader = self.api_fixture.reader_api
        reader.microversion = self.api.microversion
        status, said = self.evacuate(api=reader)
        assert status == 403 and "Policy doesn't allow" in said, said

    def test_a_policy_about_whose_server_it_is(self) -> None:
        """As a site has it that lets projects evacuate their own servers."""
        self.policy.set_rules({"os_compute_api:os-evacuate": "project_id:%(project_id)s"}, overwrite=False)
        self.lose("c1")
        member = self.api_fixture.reader_api
        member.microversion = self.api.microversion
        status, said = self.evacuate(api=member)
        assert status == 403 and said.startswith("host c1 is not proven off"), said
        assert _lookup.open_evacuations(admin(), "c1") == (0, 0)
        member.project_id = "6f70656e-7374-6163-6b20-342065766573"
        status, said = self.evacuate(api=member)
        assert status in (403, 404) and "proven" not in said, said

    def test_a_body_that_is_long_is_guarded(self) -> None:
        self.lose("c1")
        self.flags(max_request_body_size=10_000_000, group="oslo_middleware")
        padded = '{"evacuate": {}' + " " * 200_000 + "}"

        def ask() -> Any:
            path = f"/servers/{self.server['id']}/action"
            headers = {"Content-Type": "application/json"}
            return self.api.api_request(path, method="POST", body=padded, headers=headers, strip_version=False)

        answer = ask()
        assert answer.status_code == 403 and b"is not proven off" in answer.content, answer.content
        # What is too long for Nova is refused before it comes to us.
        self.flags(max_request_body_size=100_000, group="oslo_middleware")
        assert ask().status_code == 413

    def test_a_server_that_is_not_there(self) -> None:
        self.server = {"id": "6f70656e-7374-6163-6b20-342065766572"}
        assert self.evacuate()[0] == 404

    def migration(self, status: str) -> None:
        with _lookup.in_cell(admin(), "c1") as cell:
            objects.Migration(
                cell,
                source_compute="c1",
                source_node="c1",
                instance_uuid=self.server["id"],
                status=status,
                migration_type="evacuation",
            ).create()

    def test_a_host_returns_in_order(self) -> None:
        self.lose("c1", self.proof("c1"))
        status, said = self.service_is(status="enabled")
        assert status == 409 and "First force it up" in said, said
        self.migration("accepted")
        status, said = self.service_is(forced_down=False)
        assert status == 409 and "1 evacuations from it are under way" in said, said
        assert self.service("c1")["forced_down"]
        self.api.microversion = "2.11"
        up = {"host": "c1", "binary": "nova-compute", "forced_down": False}
        status, said = self.ask("put", "/os-services/force-down", up)
        assert status == 409, said

    def test_what_its_nova_compute_has_not_cleaned_up(self) -> None:
        self.lose("c1", self.proof("c1"))
        self._evacuate_server(self.server, expected_host="c2")
        status, said = self.service_is(forced_down=False, status="enabled")
        assert status == 409 and "Start nova-compute there while it is forced down" in said, said
        # Started, it does so, and then the host returns, in one call.
        self.computes["c1"].start()
        self._wait_for_migration_status(self.server, ["completed"])
        assert self.service_is(forced_down=False, status="enabled")[0] == 200
        assert not self.service("c1")["forced_down"]

    def test_what_is_not_guarded_is_not_touched(self) -> None:
        assert self.ask("post", f"/servers/{self.server['id']}/action", {"os-stop": None})[0] == 202
        assert self.service_is(status="disabled", disabled_reason="new disks")[0] == 200
        assert self.service_is(status="enabled")[0] == 200
        assert self.ask("put", "/os-services/6f70656e-7374-6163-6b20-342065766572", {"status": "enabled"})[0] == 404
        assert self.ask("post", "/servers/x/action", {})[0] == 400


class Warned(Asked):
    """The guard, warning."""

    settings = {"guard": "warn"}

    def test_it_says_what_it_would_do(self) -> None:
        self.lose("c1")
        with self.assertLogs("nova_ext.guard", "WARNING") as logs:
            assert self.evacuate()[0] == 200
        self._wait_for_migration_status(self.server, ["done"])
        assert "would be refused: host c1 is not proven off" in logs.output[0]


class Fails(Asked):
    """The guard cannot judge."""

    settings = {"guard": "enforce", "guard_failure": "closed"}

    def test_closed(self) -> None:
        self.lose("c1", self.proof("c1"))
        self.key.unlink()
        status, said = self.evacuate()
        assert status == 503 and "It cannot be told whether this may be done now" in said, said

    def test_closed_by_a_bug(self) -> None:
        from nova_ext import _native

        self.addCleanup(_native.inject_panic, None)
        self.lose("c1", self.proof("c1"))
        _native.inject_panic("Gate.judge")
        assert self.evacuate()[0] == 503
        # What is not guarded goes on.
        assert self.ask("post", f"/servers/{self.server['id']}/action", {"os-stop": None})[0] == 202


class FailsOpen(Asked):
    """The guard cannot judge, and lets through."""

    def test_open(self) -> None:
        self.lose("c1")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_load, "_why", "ImportError: no such file")
            with self.assertLogs("nova_ext.guard", "ERROR"):
                assert self.evacuate()[0] == 200
            self._wait_for_migration_status(self.server, ["done"])
