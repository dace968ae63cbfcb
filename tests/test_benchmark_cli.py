"""The command: what it prints, writes and refuses."""

import re
from pathlib import Path

import pytest

from casvit_dense.cli import main
from casvit_dense.measure import machine
from casvit_dense.measure.rows import read_rows
from casvit_dense.measure.suites import SUITES, suite

QUICK = ["--sizes", "64", "--rounds", "2", "--no-memory", "--threads", "1"]


@pytest.fixture(autouse=True)
def _small_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "MATMUL_SIDES", (64,))
    monkeypatch.setattr(machine, "COPY_BYTES", 1 << 16)


def test_rows_are_printed_and_written(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / "speed.csv"
    assert main(["benchmark", "casvit-xs", "--form", "reference", *QUICK, "--out", str(path)]) == 0
    (row,) = read_rows(path)
    printed = capsys.readouterr().out
    assert "casvit-xs backbone, infer, 1x3x64x64" in printed
    found = re.search(r"reference eager fp32 +(\S+) ms \(", printed)
    assert found and float(found[1]) == pytest.approx(float(row["median_ms"]), abs=0.01)
    assert float(row["matmul_gflops"]) > 0 and float(row["copy_gbs"]) > 0
    assert main(["benchmark", "casvit-xs", "--form", "reference", *QUICK, "--out", str(path)]) == 0
    assert "already there" in capsys.readouterr().out


def test_compare_says_a_ratio(capsys: pytest.CaptureFixture) -> None:
    specs = ["form=reference", "form=reference,memory_format=channels_last"]
    assert main(["benchmark", "casvit-xs", *QUICK, "--compare", *specs]) == 0
    printed = capsys.readouterr().out
    assert "times as fast as A (reference eager fp32)" in printed
    assert "95 % interval of the median" in printed


def test_count_prints_no_time(capsys: pytest.CaptureFixture) -> None:
    assert main(["benchmark", "casvit-xs", "casvit-t", "--mode", "count"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert re.search(r"casvit-xs .* 2\.76 M parameters 2\.[89]\d GMACs$", printed[0])
    assert re.search(r"casvit-t .* 20\.74 M parameters 18\.[56]\d GMACs$", printed[1])


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([], "name a model"),
        (["casvit-huge"], "no model 'casvit-huge'"),
        (["nowhere.py"], "no config file nowhere.py"),
        (["casvit-xs", "--sizes", "big"], "size 'big'"),
        (["casvit-xs", "--rounds", "0"], "--rounds 0"),
        (["casvit-xs", "--batch", "0"], "--batch 0"),
        (["casvit-xs", "--threads", "0"], "--threads 0"),
        (["casvit-xs", "--part", "model"], "give a config"),
        (["casvit-xs", "--mode", "train", "--backend", "openvino"], "does not train"),
        (["casvit-xs", "--compare", "form=fused", "form=fused"], "both are the same"),
        (["casvit-xs", "--compare", "form=fused", "shape=round"], "'shape' is none of"),
        (["casvit-xs", "--suite", "cpu"], "leave yours out"),
        (["--mode", "data"], "name a config"),
        (["--page", "nowhere.md"], "no page nowhere.md"),
    ],
)
def test_mistakes_are_one_line(
    words: list[str], reason: str, capsys: pytest.CaptureFixture
) -> None:
    assert main(["benchmark", *words]) == 2
    printed = capsys.readouterr()
    assert reason in printed.err and printed.err.count("\n") == 1
    assert "Traceback" not in printed.out


def test_a_gpu_that_is_not_there(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for words in (["--suite", "gpu"], ["casvit-xs", "--device", "cuda"]):
        assert main(["benchmark", *words]) == 2
        assert "no GPU" in capsys.readouterr().err


@pytest.mark.parametrize("name", SUITES)
def test_suites_name_possible_subjects_once(name: str) -> None:
    subjects = suite(name)
    assert subjects and len(subjects) == len(set(subjects))
    assert [s.obstacle() for s in subjects if s.obstacle()] == []
    configs = {s.model for s in subjects if s.model.endswith(".py")}
    assert all(Path(config).is_file() for config in configs)


def test_the_cpu_suite_holds_what_the_page_shows() -> None:
    subjects = suite("cpu")
    ours = {s.name for s in subjects if s.mode == "infer" and s.name.startswith("casvit-")}
    assert ours == {"casvit-xs", "casvit-s", "casvit-m", "casvit-t"}
    assert {s.form for s in subjects if s.mode == "train"} == {
        *("reference", "fused-memory", "fused-time")
    }
    assert {s.size[0] for s in subjects if s.name == "casvit-xs"} >= {224, 2048}
    counted = [s for s in subjects if s.mode == "count"]
    assert sum("casvit" in s.name for s in counted) == 12 and len(counted) > 12
