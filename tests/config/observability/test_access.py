"""Who may read the figures: by address, by token, by session."""

from ipaddress import ip_network

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.test import Client

from config.environment import Environment

pytestmark = pytest.mark.django_db(transaction=True)

PATHS = ["/metrics", "/api/v1/metrics/cache", "/api/v1/metrics/db"]
TOKEN = "a token that only staff has"
PRIVATE = [
    *("127.0.0.1", "10.1.2.3", "172.31.0.9", "192.168.0.1", "100.64.1.1", "169.254.1.1"),
    *("::1", "fd00::1", "fe80::1", "::ffff:10.1.2.3"),
]
PUBLIC = ["203.0.113.7", "172.32.0.1", "2001:db8::1", "::ffff:203.0.113.7", "", "unknown"]


def status(path: str, client: Client | None = None, **extra: str) -> int:
    return (client or Client()).get(path, **extra).status_code


@pytest.fixture(autouse=True)
def _token(settings):
    settings.ADMIN_TOKEN = TOKEN


@pytest.mark.parametrize("path", PATHS)
class TestByDefault:
    @pytest.mark.parametrize("address", PRIVATE)
    def test_private_addresses_may(self, path, address):
        assert status(path, REMOTE_ADDR=address) == 200

    @pytest.mark.parametrize("address", PUBLIC)
    def test_others_are_a_401_that_says_how(self, path, address):
        reply = Client().get(path, REMOTE_ADDR=address)

        assert reply.status_code == 401
        assert reply["WWW-Authenticate"] == "Bearer"
        assert reply["Content-Type"] == "application/problem+json"

    @pytest.mark.parametrize("credentials", ["Bearer wrong", "Bearer", "Basic x"])
    def test_wrong_credentials_are_a_403(self, path, credentials):
        refused = {"REMOTE_ADDR": "203.0.113.7", "HTTP_AUTHORIZATION": credentials}

        assert status(path, **refused) == 403
        assert status(path, HTTP_AUTHORIZATION=credentials) == 200  # where nobody asks for them


@pytest.mark.parametrize("path", PATHS)
class TestStaff:
    def test_may_from_anywhere_by_token(self, path):
        staff = {"REMOTE_ADDR": "203.0.113.7", "HTTP_AUTHORIZATION": f"Bearer {TOKEN}"}

        assert status(path, **staff) == 200

    @pytest.mark.parametrize(("is_staff", "expected"), [(True, 200), (False, 403)])
    def test_may_by_session(self, path, is_staff, expected):
        client = Client()
        client.force_login(User.objects.create_user("someone", is_staff=is_staff))

        assert status(path, client, REMOTE_ADDR="203.0.113.7") == expected

    def test_may_where_no_network_may(self, path, settings):
        settings.METRICS_NETWORKS = []

        assert status(path) == 401
        assert status(path, HTTP_AUTHORIZATION=f"Bearer {TOKEN}") == 200

    def test_without_a_token_in_the_settings_no_token_is_right(self, path, settings):
        settings.ADMIN_TOKEN = ""

        assert status(path, REMOTE_ADDR="203.0.113.7", HTTP_AUTHORIZATION="Bearer ") == 403


@pytest.mark.parametrize("path", PATHS)
class TestNetworks:
    def test_are_the_clients_not_the_proxys(self, path, settings):
        settings.TRUSTED_PROXIES = 1
        proxied = {"REMOTE_ADDR": "10.0.0.1"}

        assert status(path, **proxied, HTTP_X_FORWARDED_FOR="10.9.9.9, 203.0.113.7") == 401
        assert status(path, **proxied, HTTP_X_FORWARDED_FOR="203.0.113.7, 10.9.9.9") == 200

    @pytest.mark.parametrize(
        ("proxies", "forwarded"), [(0, "10.0.0.1"), (1, "10.0.0.1, 203.0.113.9"), (1, "10.0.0.1, ")]
    )
    def test_are_not_what_the_client_says(self, path, settings, proxies, forwarded):
        settings.TRUSTED_PROXIES = proxies

        assert status(path, REMOTE_ADDR="203.0.113.7", HTTP_X_FORWARDED_FOR=forwarded) == 401

    def test_are_a_setting(self, path, settings):
        settings.METRICS_NETWORKS = [ip_network("203.0.113.0/24"), ip_network("2001:db8::/32")]

        assert status(path, REMOTE_ADDR="203.0.113.7") == 200
        assert status(path, REMOTE_ADDR="2001:db8::7") == 200
        assert status(path) == 401


class TestSetting:
    @pytest.mark.parametrize(
        ("text", "networks"),
        [
            ("none", []),
            ("203.0.113.7", ["203.0.113.7/32"]),
            (" 10.0.0.0/8 ,2001:db8::/32", ["10.0.0.0/8", "2001:db8::/32"]),
            ("0.0.0.0/0,::/0", ["0.0.0.0/0", "::/0"]),
        ],
    )
    def test_is_a_list(self, monkeypatch, text, networks):
        monkeypatch.setenv("NETWORKS", text)

        read = Environment().networks("NETWORKS", default="private")
        assert [str(network) for network in read] == networks

    @pytest.mark.parametrize("text", ["", "private", "private,none"])
    def test_has_private_networks_by_default(self, monkeypatch, text):
        monkeypatch.setenv("NETWORKS", text)

        assert len(Environment().networks("NETWORKS", default="private")) == 9

    @pytest.mark.parametrize("text", ["localhost", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/8,,"])
    def test_refuses_what_is_no_network(self, monkeypatch, text):
        monkeypatch.setenv("NETWORKS", text)

        with pytest.raises(ImproperlyConfigured, match=r"NETWORKS: '.*' is no network such as"):
            Environment().networks("NETWORKS", default="private")
