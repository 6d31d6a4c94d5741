"""requirements.lock: each pin of the requirements with the hashes of its files, and nothing else."""

import re

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from config.stack import ROOT

SYSTEMS = [
    {"sys_platform": sys_platform, "platform_system": system, "platform_machine": machine}
    for sys_platform, system in (("linux", "Linux"), ("darwin", "Darwin"))
    for machine in ("x86_64", "arm64", "aarch64")
]


def locked() -> dict[str, tuple[Requirement, list[str]]]:
    """Return each requirement of the lock by its name, with the hashes of its files."""
    lines = re.sub(r" \\\n\s+", " ", (ROOT / "requirements.lock").read_text()).splitlines()
    entries = {}
    for line in lines:
        if not line.startswith("#"):
            requirement, *hashes = line.split(" --hash=")
            parsed = Requirement(requirement)
            entries[canonicalize_name(parsed.name)] = parsed, hashes
    return entries


def pinned() -> dict[str, Requirement]:
    return {
        canonicalize_name(requirement.name): requirement
        for path in ROOT.glob("requirements*.txt")
        for line in path.read_text().splitlines()
        if line and not line.startswith(("#", "-r"))
        for requirement in [Requirement(line.split("#")[0])]
    }


def test_each_pin_is_locked_at_its_version():
    versions = {name: requirement.specifier for name, (requirement, _) in locked().items()}

    for name, requirement in pinned().items():
        assert versions.get(name) == requirement.specifier, f"{requirement}: run make lock"


def test_what_only_other_systems_need_is_all_that_is_locked_beside_the_pins():
    for name in locked().keys() - pinned().keys():
        marker = locked()[name][0].marker
        environment = {
            "implementation_name": "cpython",
            "platform_python_implementation": "CPython",
        }

        assert marker is not None, f"{name} has no pin: pin it, or run make lock"
        assert not any(marker.evaluate({**environment, **system}) for system in SYSTEMS), name


def test_each_file_has_a_sha256():
    for name, (_, hashes) in locked().items():
        assert hashes, name
        assert all(re.fullmatch("sha256:[0-9a-f]{64}", text) for text in hashes), name


def test_it_names_no_index():
    assert not re.search(r"://|^--|^-", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
