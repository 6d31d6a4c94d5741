"""docker-compose.yml against the settings, and against what must not be published."""

import re

import pytest
import yaml

from config.stack import ROOT

TEXT = (ROOT / "docker-compose.yml").read_text()
SERVICES = yaml.safe_load(TEXT)["services"]
DOCUMENTED = set(re.findall(r"^# ([A-Z][A-Z_]+)=", (ROOT / ".env.example").read_text(), re.M))


class TestCompose:
    def test_offers_the_three_servers_and_the_site(self):
        images = {
            name: service.get("image")
            for name, service in SERVICES.items()
            if "profiles" not in service
        }

        assert images == {
            "postgres": "postgres:18",
            "redis": "redis:8",
            "mongodb": "mongo:8",
            "web": None,
        }

    @pytest.mark.parametrize("name", sorted({*SERVICES} - {"web"}))
    def test_each_server_has_a_health_check(self, name):
        assert SERVICES[name]["healthcheck"]["test"]

    def test_the_site_has_the_health_check_of_its_image(self):
        assert "healthcheck" not in SERVICES["web"]
        assert SERVICES["web"]["build"] == "."

    def test_the_site_waits_until_every_server_is_healthy(self):
        waits = SERVICES["web"]["depends_on"]

        assert {name: wait["condition"] for name, wait in waits.items()} == dict.fromkeys(
            ("postgres", "redis", "mongodb"), "service_healthy"
        )

    def test_nothing_is_published_beyond_loopback(self):
        published = [port for service in SERVICES.values() for port in service.get("ports", [])]

        assert published
        assert all(port.startswith("127.0.0.1:") for port in published)

    def test_each_variable_it_asks_for_is_documented(self):
        variables = set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", TEXT))

        assert variables <= DOCUMENTED

    def test_each_variable_of_the_site_is_one_that_the_settings_read(self):
        given = set(SERVICES["web"]["environment"])

        assert {"DATABASE_URL", "REDIS_URL", "MONGODB_URI", "SECRET_KEY"} <= given
        assert given <= DOCUMENTED

    def test_the_site_is_given_every_setting_of_the_file_but_folders_of_the_host_and_operators_passwords(
        self,
    ):
        site = SERVICES["web"]
        folders = re.findall(r"(\w+)=(/\w+)", (ROOT / "Dockerfile").read_text())

        assert site["env_file"] == [{"path": ".env", "required": False}]
        assert {*folders} - {("PATH", "/venv")} <= {*site["environment"].items()}
        assert (site["environment"]["HOST"], site["environment"]["PORT"]) == ("0.0.0.0", "8000")
        for other in ("DATABASE_DIRECT", "DATABASE_REPLICA", "REDIS_SESSIONS"):
            assert site["environment"][f"{other}_URL"] == ""
        for password in ("MONGODB_ROOT", "POSTGRES_SUPERUSER", "REDIS_OPERATOR"):
            assert site["environment"][f"{password}_PASSWORD"] == ""

    def test_no_password_is_on_a_command_line(self):
        """Which everybody on the host can read."""
        for path in ("docker-compose.yml", "config/deploy/compose/ha.yml"):
            text = (ROOT / path).read_text()

            assert not re.search(r"--(set=)?password[ =]|-u \w+:|PGPASSWORD=\S", text), path

    def test_no_password_has_a_default(self):
        assert not re.search(r"PASSWORD:-", TEXT)
        required = set(re.findall(r"(\w+_PASSWORD):\?", TEXT))
        assert required == set(re.findall(r"\$\{(\w+_PASSWORD)", TEXT))

    def test_redis_is_limited_as_the_local_one_is(self):
        local = (ROOT / "config" / "stack" / "redis.py").read_text()
        command = SERVICES["redis"]["command"][0]

        assert "--maxmemory 256mb --maxmemory-policy allkeys-lru" in command
        for right in ("+@all", "-@admin", "-@dangerous", "-client", "+client|tracking"):
            assert right in command
            assert right in local

    def test_every_volume_is_named(self):
        mounted = {
            volume.split(":")[0]
            for service in SERVICES.values()
            for volume in service.get("volumes", [])
        }

        files = {source for source in mounted if source.startswith("./")}
        assert mounted - files == set(yaml.safe_load(TEXT)["volumes"])
        assert all((ROOT / source).is_file() for source in files)

    def test_monitoring_is_started_by_its_profile_alone(self):
        images = {
            name: service["image"]
            for name, service in SERVICES.items()
            if service.get("profiles") == ["monitoring"]
        }

        assert set(images) == {"prometheus", "grafana"}
        assert all(re.search(r":v?\d+\.\d+\.\d+$", image) for image in images.values())
