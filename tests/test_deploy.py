"""What ships for a deployment: the image, the proxies' configurations, the Kubernetes manifests."""

import re
import subprocess
import tomllib
from typing import Any

import kubernetes_validate
import pytest
import yaml

from config.stack import ROOT
from config.stack.site import DRAIN_SECONDS

NGINX = ROOT / "config" / "deploy" / "nginx.conf"
HAPROXY = ROOT / "config" / "deploy" / "haproxy.cfg"


def directives(text: str) -> list[str]:
    """Return the directives, without comments and white space."""
    lines = (re.sub(r"(^|\s)#.*", "", line) for line in text.splitlines())
    return [" ".join(line.split()) for line in lines if line.split()]


def of_http_block(text: str) -> list[str]:
    """Return the directives of nginx that stand in no block of the file, which is in the http block."""
    depth, outer = 0, []
    for line in directives(text):
        if depth == 0:
            outer.append(line)
        depth += line.count("{") - line.count("}")
    assert depth == 0
    return outer


class TestNames:
    """granian makes HTTP_X_USER_ID of X_User_Id and of X-User-Id, and the last value wins."""

    def test_with_underscores_are_dropped_by_nginx(self):
        outer = of_http_block(NGINX.read_text())

        assert "underscores_in_headers off;" in outer
        assert "ignore_invalid_headers on;" in outer
        assert NGINX.read_text().count("underscores_in_headers ") == 1
        assert NGINX.read_text().count("ignore_invalid_headers ") == 1

    def test_with_underscores_are_dropped_by_haproxy(self):
        lines = directives(HAPROXY.read_text())

        frontend = lines.index("frontend trilith")
        restriction = lines.index("option http-restrict-req-hdr-names delete")
        assert frontend < restriction < lines.index("backend trilith")
        assert HAPROXY.read_text().count("http-restrict-req-hdr-names") == 1


@pytest.mark.parametrize(
    ("path", "lines"),
    [
        (
            NGINX,
            {
                "proxy_set_header X-User-Id $user_id;",
                "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;",
                "proxy_set_header X-Forwarded-Proto $scheme;",
                "proxy_set_header Host $host;",
            },
        ),
        (
            HAPROXY,
            {
                "http-request set-header X-User-Id %[ssl_c_s_dn(cn)]",
                "http-request set-header X-Forwarded-Proto https",
                "option forwardfor",
            },
        ),
    ],
    ids=["nginx", "haproxy"],
)
def test_what_the_site_believes_is_the_proxy_s_word(path, lines):
    assert lines <= set(directives(path.read_text()))


DOCKERFILE = (ROOT / "Dockerfile").read_text()


class TestImage:
    def test_asks_the_site_by_its_own_command(self):
        [command] = re.findall(r"^HEALTHCHECK.*\\\n +CMD (.*)$", DOCKERFILE, re.M)
        assert command == 'python manage.py health_check ready "127.0.0.1:${PORT:-8000}"'

    @pytest.mark.parametrize(("variables", "port"), [({}, "8000"), ({"PORT": "9000"}, "9000")])
    def test_asks_it_on_the_port_on_which_it_serves(self, tmp_path, variables, port):
        [command] = re.findall(r"^HEALTHCHECK.*\\\n +CMD (.*)$", DOCKERFILE, re.M)
        (tmp_path / "python").write_text('#!/bin/sh\necho "$@"\n')
        (tmp_path / "python").chmod(0o755)

        checked = subprocess.run(
            ["/bin/sh", "-c", command],
            env={"PATH": str(tmp_path), **variables},
            capture_output=True,
            text=True,
            check=True,
        )

        assert checked.stdout == f"manage.py health_check ready 127.0.0.1:{port}\n"

    def test_runs_as_a_user_of_its_own_by_number(self):
        assert re.findall(r"^USER (.*)$", DOCKERFILE, re.M) == ["10001:10001"]

    def test_each_folder_that_it_names_for_the_site_is_its_own(self):
        folders = set(re.findall(r"_DIR=(/\w+)", DOCKERFILE))

        assert folders == {"/spool", "/metrics", "/slots"}  # elsewhere it cannot write
        assert (
            f"--mode=0700 {' '.join(sorted(folders, key='/spool /metrics /slots'.find))}\n"
            in DOCKERFILE
        )

    def test_has_the_version_of_python_that_the_gate_runs(self):
        version = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"][
            "python_version"
        ]

        assert set(re.findall(r"^FROM python:(\S+)-slim", DOCKERFILE, re.M)) == {version}

    def test_copies_nothing_that_dockerignore_keeps_out(self):
        copied = re.findall(r"^COPY (?!--from)(\S+)", DOCKERFILE, re.M)
        allowed = re.findall(r"^!(\S+)", (ROOT / ".dockerignore").read_text(), re.M)

        assert {name.rstrip("/") for name in copied} == set(allowed)

    def test_each_package_of_the_site_is_in_it(self):
        packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}

        assert packages - {"tests", "loadtests"} <= set(re.findall(r"COPY (\w+) \./", DOCKERFILE))


KUBERNETES = ROOT / "config" / "deploy" / "kubernetes"
KUSTOMIZATION = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())


def manifests() -> list[dict[str, Any]]:
    """Return every manifest that the kustomization lists."""
    return [
        manifest
        for name in KUSTOMIZATION["resources"]
        for manifest in yaml.safe_load_all((KUBERNETES / name).read_text())
    ]


def pods() -> dict[str, dict[str, Any]]:
    """Return the specification of each pod, by the name of what makes it."""
    return {
        manifest["metadata"]["name"]: manifest["spec"]["template"]["spec"]
        for manifest in manifests()
        if "template" in manifest["spec"]
    }


class TestKubernetes:
    @pytest.mark.parametrize(
        "manifest",
        manifests(),
        ids=lambda manifest: f"{manifest['kind']} {manifest['metadata']['name']}",
    )
    def test_each_manifest_fits_its_schema(self, manifest):
        kubernetes_validate.validate(manifest, "1.30", strict=True)

    def test_a_field_that_does_not_exist_is_refused(self):
        service = next(manifest for manifest in manifests() if manifest["kind"] == "Service")
        service["spec"]["prots"] = []

        with pytest.raises(kubernetes_validate.ValidationError, match="prots"):
            kubernetes_validate.validate(service, "1.30", strict=True)

    def test_each_file_is_listed(self):
        files = {path.name for path in KUBERNETES.glob("*.yaml")} - {"kustomization.yaml"}

        assert files == set(KUSTOMIZATION["resources"])

    @pytest.mark.parametrize("name", pods())
    def test_no_pod_runs_as_root_or_may_become_it(self, name):
        pod = pods()[name]

        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["requests"]
            assert container["resources"]["limits"]["memory"]

    def test_no_file_of_others_takes_the_space_of_the_metrics(self):
        """The store into a mapped file for which there is no space ends the process (SIGBUS)."""
        pod = pods()["trilith"]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        [site] = pod["containers"]
        mounts = [mount for mount in site["volumeMounts"] if mount["mountPath"] == "/metrics"]

        assert [mount["name"] for mount in mounts] == ["metrics"]
        assert volumes["metrics"]["emptyDir"]["medium"] == "Memory"

    def test_no_secret_is_in_the_manifests(self):
        text = "".join(path.read_text() for path in KUBERNETES.glob("*.yaml"))

        assert not [manifest for manifest in manifests() if manifest["kind"] == "Secret"]
        assert not re.search(r"://[^.\s]*:[^.\s]*@", text)

    def test_every_setting_is_one_that_the_settings_read(self):
        settings = (ROOT / "config" / "settings.py").read_text()
        literals = KUSTOMIZATION["configMapGenerator"][0]["literals"]

        for literal in literals:
            assert f'"{literal.partition("=")[0]}"' in settings

    def test_it_does_not_believe_whatever_a_client_says(self):
        literals = dict(
            literal.split("=", 1) for literal in KUSTOMIZATION["configMapGenerator"][0]["literals"]
        )

        assert literals["AUTHENTICATION"] in ("session", "jwt")

    def test_budget_policy_and_services_select_the_site(self):
        labels = {"app.kubernetes.io/component": "site"}
        by_kind = {manifest["kind"]: manifest["spec"] for manifest in reversed(manifests())}
        site = next(manifest for manifest in manifests() if manifest["kind"] == "StatefulSet")

        assert site["spec"]["selector"]["matchLabels"] == labels
        assert site["spec"]["template"]["metadata"]["labels"] == labels
        assert by_kind["PodDisruptionBudget"]["selector"]["matchLabels"] == labels
        assert by_kind["Service"]["selector"] == labels
        assert "site" in by_kind["NetworkPolicy"]["podSelector"]["matchExpressions"][0]["values"]

    def test_each_folder_of_the_image_can_be_written(self):
        folders = set(re.findall(r"_DIR=(/\w+)", DOCKERFILE))
        [container] = pods()["trilith"]["containers"]

        mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
        assert folders | {"/tmp"} <= mounted  # of the container

    def test_an_instance_joins_once_its_stores_answer_and_stays_while_they_do_not(self):
        [container] = pods()["trilith"]["containers"]

        paths = {
            name: container[name]["httpGet"]["path"] for name in container if name.endswith("Probe")
        }
        assert paths == {
            "startupProbe": "/health/ready",
            "readinessProbe": "/health/live",
            "livenessProbe": "/health/live",
        }

    def test_the_volume_has_room_for_the_spool(self, settings):
        site = next(manifest for manifest in manifests() if manifest["kind"] == "StatefulSet")
        [claim] = site["spec"]["volumeClaimTemplates"]

        size = claim["spec"]["resources"]["requests"]["storage"]
        assert int(size.removesuffix("Gi")) * 2**30 > settings.ACTIVITY_SPOOL_MAX_BYTES

    def test_the_policy_lets_out_to_the_port_of_each_store(self):
        [policy] = [manifest for manifest in manifests() if manifest["kind"] == "NetworkPolicy"]

        ports = {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]}
        assert ports == {53, 5432, 6432, 6379, 26_379, 27_017}

    def test_a_pod_ends_within_its_grace(self):
        site = pods()["trilith"]
        pause = site["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]

        assert pause + DRAIN_SECONDS < site["terminationGracePeriodSeconds"]
