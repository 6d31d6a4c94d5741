"""Pictures of the site for docs: who the browser is, and what happens without one."""

from urllib.request import urlopen

import pytest

from config.stack.process import StackError
from loadtests.__main__ import main
from loadtests.docs import screenshots


class TestAsStaff:
    def test_a_browser_behind_the_proxy_is_a_member_of_staff(self, site):
        with screenshots._as_staff(site) as url, urlopen(f"{url}/admin/") as page:
            text = page.read().decode()

        assert "<strong>ann</strong>" in text.lower()
        assert 'name="password"' not in text


class TestRun:
    def test_without_a_browser_it_says_which_would_do(self, monkeypatch, capsys):
        monkeypatch.setenv("PATH", "/nowhere")

        assert main(["pictures"]) == 1
        assert "no browser is on PATH: install one of chromium" in capsys.readouterr().err


class TestShoot:
    def test_a_browser_that_takes_no_picture_leaves_the_old_one(self, tmp_path):
        old = tmp_path / "page.png"
        old.write_bytes(b"old")

        with pytest.raises(StackError, match="took no picture of http://127"):
            screenshots.shoot("/bin/true", "http://127.0.0.1:9/", old, width=1, height=1)

        assert old.read_bytes() == b"old"
