"""Evaluates models of all tasks by one, two and three processes, and compares what they leave.

The current folder has a file of the name of mmengine's folder for results: none can be written
there. Five images: neither two nor three processes share them evenly. Bar: every figure is equal to
the last digit, and so is every prediction.
"""

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from demo_runs import TASKS, save_lively, take_as_truth
from fault_scripts import flags, folder_with_shapes
from launched import ROOT, Launched, words_of

from casvit_dense.evaluations import find_evaluation


def main() -> int:
    args = flags(__doc__, quick="one task, one and two processes")
    wrong = 0
    with folder_with_shapes() as root:
        (root / ".dist_test").touch()
        for task in ["mask-rcnn"] if args.quick else TASKS:
            save_lively(task, root / f"{task}.pth")
            data = []
            if task != "fpn":  # scores of random weights are no detections of what is there
                evaluate(task, root, 1, [])
                found = find_evaluation(root / f"{task}-1") / "predictions.bbox.json"
                truth = take_as_truth(found, root / "shapes", root / f"{task}-truth")
                data = ["--data-root", str(truth)]
            alone = evaluate(task, root, 1, data)
            for processes in (2,) if args.quick else (2, 3):
                together = evaluate(task, root, processes, data)
                differing = [key for key in alone if alone[key] != together[key]]
                wrong += len(differing)
                figure = alone["metrics"][TASKS[task][2]]
                print(
                    f"{task}, {processes} processes: {len(alone['metrics'])} figures "
                    f"({TASKS[task][2]} {figure:.4g}), differing: {', '.join(differing) or 'none'}",
                    flush=True,
                )
    print(f"{wrong} differences")
    return int(wrong > 0)


def evaluate(task: str, root: Path, processes: int, data: list[str]) -> dict[str, Any]:
    """Evaluates a task's model; gives figures by name, those of classes, and predictions."""
    work_dir = root / f"{task}-{processes}"
    config, *flags = words_of(task, root / "shapes", work_dir)
    # As the recipes: with others in its batch, a result may differ in its last digit.
    flags += ["test_dataloader.batch_size=1", *data]
    checkpoint = str(root / f"{task}.pth")
    command = [sys.executable, "-m", "casvit_dense", "test", config, checkpoint, *flags]
    if processes > 1:
        script = str(ROOT / "tools/dist_test.sh")
        command = [script, config, checkpoint, str(processes), *flags]
    with Launched(command, root / "log", folder=root, PYTHON=sys.executable) as run:
        assert run.process.wait() == 0, run.said()
    left = find_evaluation(work_dir)
    content = json.loads((left / "metrics.json").read_text())
    files = {
        path.name: path.read_bytes() for path in [*left.glob("predictions.*"), *left.glob("maps/*")]
    }
    assert files, left
    return {"metrics": content["metrics"], "per_class": content["per_class"], **files}


if __name__ == "__main__":
    sys.exit(main())
