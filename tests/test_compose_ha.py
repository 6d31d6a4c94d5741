"""config/deploy/compose/ha.yml: the nodes of the cluster, by the URLs that the settings accept."""

import re
from collections import Counter

import pytest
import yaml

from config.stack import ROOT
from config.store_urls import checked_mongodb_uri, checked_redis_url
from tests.test_compose import DOCUMENTED

TEXT = (ROOT / "config" / "deploy" / "compose" / "ha.yml").read_text()
COMPOSE = yaml.safe_load(TEXT)
SERVICES = COMPOSE["services"]
SITE = SERVICES["site-1"]["environment"]


def without_variables(url):
    return re.sub(r"\$\{\w+\}", "secret", url)


class TestComposeHa:
    def test_has_the_nodes_that_are_promised(self):
        kinds = Counter(name.partition("-")[0] for name in SERVICES)

        assert kinds == {
            "etcd": 3,
            "postgres": 2,
            "valkey": 2,
            "sentinel": 3,
            "mongodb": 3,
            "site": 2,
            "balancer": 1,
        }

    @pytest.mark.parametrize("name", sorted(SERVICES))
    def test_each_is_of_the_profile_and_of_a_pinned_image(self, name):
        service = SERVICES[name]

        assert service["profiles"] == ["ha"]
        assert service["restart"] == "unless-stopped"
        if "image" in service:
            assert re.search(r":v?\d+\.\d+\.\d+$", service["image"])
        assert "healthcheck" in service or service["build"] == "."  # of the site's own image

    def test_the_urls_are_those_that_the_settings_accept_and_name_services(self):
        redis_url = without_variables(SITE["REDIS_URL"])
        mongodb_uri = without_variables(SITE["MONGODB_URI"])

        assert checked_redis_url("REDIS_URL", redis_url)
        assert checked_mongodb_uri(mongodb_uri)
        urls = " ".join((redis_url, mongodb_uri, SITE["DATABASE_URL"]))
        hosts = set(re.findall(r"((?:postgres|sentinel|mongodb)-\d)", urls))
        kinds = ("postgres", "sentinel", "mongodb")
        assert hosts == {name for name in SERVICES if name.startswith(kinds)}

    def test_each_setting_of_the_site_is_one_that_the_settings_read(self):
        assert set(SITE) <= DOCUMENTED

    def test_the_site_is_given_every_setting_of_the_file_but_the_passwords_of_others(self):
        named = set(re.findall(r"\$\{(\w+PASSWORD)", TEXT))
        own = {name for name in named for url in SITE.values() if f"${{{name}}}" in url}

        assert SERVICES["site-1"]["env_file"] == [{"path": ".env", "required": False}]
        assert {name for name in SITE if name.endswith("PASSWORD")} == named - own
        assert not any(SITE[name] for name in named - own)

    def test_no_store_of_the_file_gets_past_these_servers(self):
        others = {name for name in DOCUMENTED if name.endswith("_URL") and name[0] in "DR"} - {
            *("DATABASE_URL", "REDIS_URL")
        }

        assert {SITE[name] for name in others} == {""}
        assert SITE["HOST"] == "0.0.0.0"  # the published port leads there

    def test_each_variable_it_asks_for_is_documented_and_no_password_has_a_default(self):
        variables = set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", TEXT))

        assert variables <= DOCUMENTED
        assert not re.search(r"PASSWORD:-", TEXT)

    def test_only_the_balancer_is_published_on_loopback(self):
        published = {
            name: service["ports"] for name, service in SERVICES.items() if "ports" in service
        }

        assert published == {"balancer": ["127.0.0.1:${PORT:-8000}:8000"]}

    def test_no_two_nodes_share_a_volume(self):
        mounted = [
            volume.partition(":")[0]
            for service in SERVICES.values()
            for volume in service.get("volumes", [])
        ]

        assert len(mounted) == len(set(mounted))
        assert set(mounted) == set(COMPOSE["volumes"])

    def test_postgresql_replicates_as_that_of_the_local_cluster(self):
        patroni = yaml.safe_load(COMPOSE["configs"]["patroni"]["content"])
        local = (ROOT / "config" / "stack" / "cluster" / "patroni.py").read_text()

        for name, value in patroni["bootstrap"]["dcs"].items():
            assert f'"{name}": ' in local, name
            if isinstance(value, bool):
                assert f'"{name}": {value}' in local
