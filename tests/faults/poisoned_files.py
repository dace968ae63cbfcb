"""Gives files from strangers to every command that reads weights.

Each trial is a process of its own that may take 2 GiB more than it has after its imports; a
training ends before its first step. A trial is lost if a payload runs, a traceback or something
else than one message is shown, the process hangs or dies, takes too much memory, or accepts a file
that nothing may read.
"""

import os
import resource
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import torch
from demo_runs import Runs, config_of
from exported_models import export_model
from fault_scripts import flags, folder_with_shapes
from hostile_files import REFUSED, STATES
from mmengine.runner import Runner
from poisoned_exports import EXPORTS
from processes import forked

from casvit_dense.cli import main as program

LIMIT = 2 << 30  # bytes
SECONDS = 120
CONFIG = str(config_of("fpn"))

#: What is run on a file; {} is the file, and the folder is the trial's own.
READERS = {
    "train --pretrained": f"train {CONFIG} --pretrained {{}}",
    "train --init": f"train {CONFIG} --init {{}}",
    "train --resume": f"train {CONFIG} --resume {{}}",
    "train load_from": f"train {CONFIG} --from-scratch --cfg-options load_from={{}}",
    "test": "test {}",
    "test CONFIG": f"test {CONFIG} {{}}",
    "predict": "predict {} image.jpg",
    "predict CONFIG": f"predict {CONFIG} {{}} image.jpg",
    "export": f"export {CONFIG} {{}} --part backbone --input 64",
    "convert": "convert {} out.safetensors",
    "doctor": f"doctor {CONFIG} --pretrained {{}}",
}


@dataclass(frozen=True)
class Outcome:
    code: int  # -15 and so on: the signal
    output: str
    megabytes: int

    @property
    def refused(self) -> bool:
        """Whether the file is; the doctor goes on, and says so among its findings."""
        return self.code == 2 or (self.code == 1 and "FAIL  weights" in self.output)

    def faults(self, must_fail: bool) -> Iterator[str]:
        """What is wrong with it."""
        lines = [line for line in self.output.splitlines() if line.startswith("error: ")]
        if "Traceback (most recent" in self.output:
            yield "traceback: " + self.output.strip().splitlines()[-1][:150]
        elif self.code == -signal.SIGKILL:
            yield f"hangs for {SECONDS} s"
        elif self.code < 0:
            yield f"died by signal {-self.code}"
        elif self.code in (0, 1) and must_fail and not self.refused:
            yield "accepted"
        elif self.code == 2 and len(lines) != 1:
            yield f"{len(lines)} messages"
        elif self.code not in (0, 1, 2):
            yield f"exit code {self.code}"
        if self.megabytes > LIMIT >> 20:
            yield f"{self.megabytes} MB"


def run(arguments: list[str], folder: Path) -> Outcome:
    """Runs the program in a forked process with a limit."""
    log = folder.with_suffix(".log")
    log.unlink(missing_ok=True)
    with forked(lambda: limited(arguments, folder), log) as child:
        end = time.monotonic() + SECONDS
        while not (ended := os.wait4(child, os.WNOHANG))[0]:
            if time.monotonic() > end:
                os.kill(child, signal.SIGKILL)
            time.sleep(0.01)
    text = log.read_text(errors="replace") if log.exists() else ""
    return Outcome(os.waitstatus_to_exitcode(ended[1]), text, ended[2].ru_maxrss >> 10)


def stop_before_steps(runner: Runner, name: str, **kwargs: object) -> None:
    if name == "before_train_iter":
        sys.exit(0)
    call_hook(runner, name, **kwargs)


call_hook = Runner.call_hook


def limited(arguments: list[str], folder: Path) -> int:
    os.chdir(folder)
    Runner.call_hook = stop_before_steps
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + LIMIT
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    try:
        return program(arguments)
    except SystemExit as end:
        return int(end.code or 0)
    except BaseException:
        traceback.print_exc()
        return 99


class Bench:
    """Good files, and folders for trials."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shapes = folder / "shapes"
        with redirect_stdout(sys.stderr):
            checkpoint = Runs(folder, self.shapes)["fpn"]
            (folder / "models").mkdir()
            export_model("fpn", folder / "models", self.shapes)
        self.content: dict[str, Any] = torch.load(checkpoint, weights_only=False)
        self.exported = folder / "models/fpn.onnx"
        self.image = next((self.shapes / "coco/val2017").iterdir())

    def cases(self) -> Iterator[tuple[str, str, str, Callable[[Path, Path], object]]]:
        """Group, name, suffix and maker (file, marker) of each file."""
        for group, makers in (("nothing may read", REFUSED), ("state", STATES)):
            for name, make in makers.items():
                yield (
                    group,
                    name,
                    ".pth",
                    lambda path, marker, make=make: make(path, deepcopy(self.content), marker),
                )
        for (suffix, name), make in EXPORTS.items():
            yield (
                "exported",
                f"{suffix}: {name}",
                suffix,
                lambda path, _, make=make: make(path, self.exported),
            )

    def trial(self, suffix: str, make: Callable[[Path, Path], object], reader: str) -> Outcome:
        """Makes the file in a fresh folder and runs a command on it.

        Raises:
            AssertionError: a payload ran, or something outside the folder was written.
        """
        folder, marker = self.folder / "trial", self.folder / "marker"
        folder.mkdir()
        try:
            path = folder / f"file{suffix}"
            make(path, marker)
            shutil.copy(self.image, folder / "image.jpg")
            arguments = READERS[reader].format(path).split()
            if arguments[0] in ("train", "test"):
                arguments += ["--work-dir", str(folder / "work")]
                arguments += ["--data-root", str(self.shapes / "ade")]
            if arguments[0] == "train":
                arguments += ["--batch-size", "2", "--workers", "0"]
            outcome = run(arguments, folder)
            assert not marker.exists(), "a payload ran"
            return outcome
        finally:
            shutil.rmtree(folder)


def main() -> int:
    args = flags(__doc__, quick="every fifth trial", only="files whose names hold this text")
    warnings.simplefilter("ignore")
    trials = refused = most = 0
    faults: Counter[str] = Counter()
    with folder_with_shapes(train=4, val=2) as folder:
        bench = Bench(folder)
        cases = [case for case in bench.cases() if args.only in case[1]]
        for number, (group, name, suffix, make) in enumerate(cases):
            for place, reader in enumerate(READERS):
                if args.quick and (number + place) % 5:
                    continue
                outcome = bench.trial(suffix, make, reader)
                trials += 1
                refused += outcome.refused
                most = max(most, outcome.megabytes)
                for fault in outcome.faults(group == "nothing may read"):
                    faults[fault.partition(":")[0]] += 1
                    print(f"{name}, {reader}: {fault}", flush=True)
    print(
        f"{len(cases)} files, {trials} trials: {refused} refused, the others had no use for what "
        f"is wrong; 0 payloads ran, {sum(faults.values())} faults {dict(faults)}, at most {most} MB"
    )
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
