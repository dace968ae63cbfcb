"""Training logs of a report: their names, and the curves in them."""

from pathlib import Path

import numpy as np
import pytest
import report_files

from casvit_dense.report.training_logs import POINTS, downsample, find_logs, read_curves


def test_logs_have_names_that_tell_them_apart(tmp_path: Path) -> None:
    for seed in ("seed0", "seed1"):
        for start in ("1", "2"):
            report_files.write_log(tmp_path / seed / "fpn" / start, ["loss"], "mIoU", 0)
    one = report_files.write_log(tmp_path / "alone/fpn", ["loss"], "mIoU", 0)
    assert list(find_logs([tmp_path / "alone"], [])) == ["fpn"]
    names = find_logs([], [tmp_path])
    assert len(names) == 5 and one in names.values()


def test_logs_of_seeds(tmp_path: Path) -> None:
    """`reproduce --seeds` puts further seeds into the folder of the first."""
    for run in ("fpn", "fpn/seed-1", "fpn/seed-2", "retinanet/seed-1"):
        report_files.write_log(tmp_path / run, ["loss"], "mIoU", 0)
    names = ["fpn", "fpn/seed-1", "fpn/seed-2", "retinanet/seed-1"]
    assert list(find_logs([tmp_path], [])) == names
    assert sorted(find_logs([], [tmp_path])) == names
    assert list(find_logs([tmp_path / "retinanet"], [])) == ["retinanet/seed-1"]


@pytest.mark.parametrize(
    "line",
    [
        '{"loss": 7, "iter": null}',
        '{"loss": 7, "iter": "4"}',
        '{"loss": 7, "iter": [4], "epoch": {}}',
        '{"loss": 7, "step": null}',
        '{"loss": "high", "iter": 2, "epoch": null}',
        f'{{"loss": {10**400}, "iter": 2}}',
        '{"loss": Infinity, "iter": 2}',
    ],
)
def test_lines_of_a_log_that_say_nothing(tmp_path: Path, line: str) -> None:
    log = tmp_path / "scalars.json"
    log.write_text(f'{{"loss": 1, "iter": 1}}\n{line}\n{{"loss": 2, "iter": 3}}\n')
    assert read_curves(log) == {"loss": ([1, 3], [1.0, 2.0])}


def test_curves(tmp_path: Path) -> None:
    epochs = report_files.write_log(tmp_path / "a", ["loss"], "coco/bbox_mAP", epochs=3)
    with epochs.open("a") as file:
        file.write('{"loss": NaN, "iter": 31}\n{"loss": 0.')  # killed while writing
    curves = read_curves(epochs)
    assert set(curves) == {"loss", "coco/bbox_mAP"}
    assert curves["loss"][0] == list(range(1, 31))
    assert curves["loss"][1][1] == 0.5
    # An epoch's validation stands at its last iteration.
    assert curves["coco/bbox_mAP"] == ([10, 20, 30], [0.1, 0.2, 0.3])
    iterations = read_curves(report_files.write_log(tmp_path / "b", ["loss"], "mIoU", epochs=0))
    assert iterations["mIoU"] == ([10], [0.1])


@pytest.mark.parametrize("length", [1, 299, 300, 301, 10_000])
def test_long_curves_are_thinned(length: int) -> None:
    picked = downsample([float(i) for i in range(length)])
    assert len(picked) == min(length, POINTS)
    assert (picked[0], picked[-1]) == (0, length - 1)
    steps = np.diff(picked)
    assert len(steps) == 0 or 0 < steps.min() <= steps.max() <= steps.min() + 1
