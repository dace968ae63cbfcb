"""The parts of ``make setup`` that decide; its steps themselves run before every ``make test``."""

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from casvit_dense.doctor import supported_ranges

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tools(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tools")
    import build_mmcv
    import setup_env

    return setup_env, build_mmcv


def locked_requirements() -> list[Requirement]:
    lines = (ROOT / "requirements" / "lock.txt").read_text().splitlines()
    return [Requirement(line) for line in lines if not line.startswith("#")]


def test_torch_that_is_there_overrides_the_lock(tools):
    setup_env, _ = tools
    lock = ["# tested", "torch==2.13.0", 'SymPy==1.14.0 ; python_version >= "3.11"', "rich==15.0.0"]
    lines = setup_env.constraint_lines(lock, {"torch": "2.6.0+cu124", "sympy": "1.13.1"})
    assert list(lines) == ["# tested", "rich==15.0.0", "torch==2.6.0+cu124", "sympy==1.13.1"]


@pytest.mark.parametrize("name", ["Jinja2", "typing_extensions", "a.b-_c"])
def test_names_are_normalised_as_the_index_does(tools, name):
    assert tools[0].normalise(name) == canonicalize_name(name)


def test_lock_has_one_exact_public_version_for_every_python():
    for minor in ("3.10", "3.11", "3.12"):
        names = [
            canonicalize_name(requirement.name)
            for requirement in locked_requirements()
            if requirement.marker is None or requirement.marker.evaluate({"python_version": minor})
        ]
        assert len(names) == len(set(names))
    for requirement in locked_requirements():
        assert re.fullmatch(r"==[\w.]+", str(requirement.specifier)), requirement


def test_lock_lies_in_the_supported_ranges():
    ranges = supported_ranges()
    assert ranges is not None
    locked = {requirement.name: requirement for requirement in locked_requirements()}
    for supported in ranges.values():
        version = str(locked[supported.name].specifier).removeprefix("==")
        assert supported.specifier.contains(version), supported


def test_every_build_tool_is_locked():
    tools = (ROOT / "requirements" / "build.txt").read_text().splitlines()
    wanted = {Requirement(line).name for line in tools if not line.startswith("#")}
    assert wanted <= {requirement.name for requirement in locked_requirements()}


@pytest.mark.parametrize(
    ("progress", "expected"),
    [
        ((30, 0, 0, 0, 0), "0:30 min elapsed, 0 of ? files compiled"),
        ((90, 60, 10, 10, 40), "1:30 min elapsed, 10 of 40 files compiled, about 3:00 min left"),
        ((90, 60, 10, 30, 40), "1:30 min elapsed, 30 of 40 files compiled, about 1:00 min left"),
        ((60, 0, 0, 20, 40), "1:00 min elapsed, 20 of 40 files compiled"),
    ],
    ids=["not planned yet", "from nothing", "resumed", "nothing new yet"],
)
def test_progress_line(tools, progress, expected):
    assert tools[1].progress_line(*progress) == expected


def test_failed_build_shows_its_log(tools, tmp_path):
    """A source folder that pip cannot build stands for a failed compilation."""
    source = tmp_path / "work" / "source"
    source.mkdir(parents=True)
    (source / "setup.py").write_text("raise RuntimeError('compiler says no')")
    with pytest.raises(SystemExit) as stopped:
        tools[1].build_wheel("onedl-mmcv==0", False, tmp_path / "work", tmp_path / "wheels")
    log = tmp_path / "work" / "build.log"
    assert "compiler says no" in log.read_text()
    *tail, last = str(stopped.value).splitlines()
    assert last == f"error: building onedl-mmcv==0 failed; whole log: {log}"
    assert tail == log.read_text().splitlines()[-len(tail) :]
    assert len(tail) > 3
