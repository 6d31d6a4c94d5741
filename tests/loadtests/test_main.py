"""python -m loadtests, before it measures anything."""

from collections.abc import Iterator

import pytest

from config.stack import Stack
from loadtests.__main__ import main


@pytest.fixture(autouse=True)
def _nothing_is_started(monkeypatch) -> Iterator[None]:
    starts = []
    for method in ("up", "reset"):
        monkeypatch.setattr(Stack, method, lambda *args, **options: starts.append(args))
    yield
    assert starts == []


@pytest.mark.parametrize(
    "command",
    ["bench --json", "bench --compare HEAD --json", "sizes --json", "mix --json", "load --html"],
)
def test_a_file_that_is_a_folder_is_refused(tmp_path, capsys, command):
    assert main([*command.split(), str(tmp_path)]) == 1

    assert capsys.readouterr().err == f"{command.split()[0]}: {tmp_path}: Is a directory\n"


@pytest.mark.parametrize("command", ["bench --json", "sizes --json"])
def test_a_file_in_no_folder_is_refused(tmp_path, capsys, command):
    file = tmp_path / "none" / "figures.json"

    assert main([*command.split(), str(file)]) == 1

    message = f"{command.split()[0]}: {file}: No such file or directory\n"
    assert capsys.readouterr().err == message


@pytest.mark.parametrize("command", ["cluster", "run all", "pictures", "pages"])
def test_a_folder_that_is_a_file_is_refused(tmp_path, capsys, command):
    (tmp_path / "file").touch()

    assert main([*command.split(), "--out", str(tmp_path / "file")]) == 1

    message = f"{command.split()[0]}: {tmp_path / 'file'}: File exists\n"
    assert capsys.readouterr().err == message


def test_a_page_that_cannot_be_written_is_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("loadtests.drills.degradation.report.DOCUMENT", tmp_path)

    assert main(["matrix", "--write"]) == 1

    assert capsys.readouterr().err == f"matrix: {tmp_path}: Is a directory\n"
