"""Fills the disk at every write of each command.

Expects one line and exit code 2, every file whole, and the same command, given once more with room,
to end well. First the writes fail one after the other; then, for root, the commands run on a small
disk of memory with ever more room.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from demo_runs import options_of
from exported_models import write_model
from fault_scripts import flags, folder_with_shapes
from filled_disk import disk_of
from PIL import Image
from processes import forked

from casvit_dense.checkpoint import read_checkpoint
from casvit_dense.cli import main as run_command
from casvit_dense.files import free_bytes

#: Files that grow while a run goes on, and may end anywhere.
GROWING = (".log", ".lock", "ballast")
#: The folder of more of them, by mmengine: scalars as lines of JSON.
FIGURES = "vis_data"
#: What --resume says where all but the last lines of the log was written.
FINISHED = "the schedule was over"
#: The disk of memory, and how many rooms a command gets on it.
DISK_BYTES, ROOMS = 20 << 20, 8


@dataclass
class Command:
    """A command, and what it is given after the disk was full; ``{}`` is the disk."""

    words: list[str]
    again: tuple[str, ...] = ()


def commands(root: Path) -> dict[str, Command]:
    """All commands that write, on tiny models and generated data below ``root``."""
    shapes = root / "shapes"
    models = {name: tuple(map(str, write_model(name, root))) for name in ("fpn", "mask-rcnn")}
    data = {"fpn": str(shapes / "ade"), "mask-rcnn": str(shapes / "coco")}
    found = {}
    for name, model in models.items():
        options = options_of(name, shapes, Path("run"), rounds=2)
        settings = [f"{key}={value}" for key, value in options.cfg_options.items()]
        settings = [one for one in settings if "experiment_name" not in one]
        given = ["--data-root", data[name]]
        train = ["train", model[0], "--work-dir", "{}/run", *given, "--seed", "0"]
        train += ["--from-scratch", "--cfg-options", *settings]
        sizes = [one for one in settings if "test_dataloader" in one]
        test = ["test", *model, "--work-dir", "{}/run", *given, "--cfg-options", *sizes]
        images = str(shapes / "coco" / "val2017")
        found[f"train {name}"] = Command(train, ("--resume",))
        found[f"test {name}"] = Command(test)
        found[f"predict {name}"] = Command(["predict", *model, images, "--out", "{}/predicted"])
    wide = [*models["fpn"], "--input", "64x64", "--data-root", data["fpn"]]
    for kind, suffix in (("onnx", "onnx"), ("openvino", "xml"), ("torch-export", "pt2")):
        words = ["export", *wide, "--format", kind, "--out", f"{{}}/out/model.{suffix}"]
        found[f"export {kind}"] = Command(words)
    checkpoint = models["fpn"][1]
    evaluated = root / "evaluated"
    work_dir = ["--work-dir", str(evaluated / "run")]
    assert (
        run_command(["test", *models["mask-rcnn"], *work_dir, "--data-root", data["mask-rcnn"]])
        == 0
    )
    found["report"] = Command(
        ["report", str(evaluated / "results.jsonl"), "--out", "{}/report.html"]
    )
    found["convert"] = Command(["convert", checkpoint, "{}/model.safetensors"])
    found["data check"] = Command(["data", "check", data["mask-rcnn"], "--json", "{}/found.json"])
    found["data show"] = Command(["data", "show", data["mask-rcnn"], "--out", "{}/data.html"])
    found["data subset"] = Command(["data", "subset", data["mask-rcnn"], "{}/sub", "--images", "2"])
    return found


def run(
    command: Command, disk: Path, log: Path, room: float, again: bool = False
) -> tuple[int, int]:
    """Runs a command with room for so many writes; gives its exit code and how many there were."""
    words = [word.replace("{}", str(disk)) for word in command.words]
    words[2:2] = command.again if again else ()
    count = log.with_suffix(".count")

    def work() -> int:
        with disk_of(disk, room) as used:
            code = run_command(words)
        count.write_text(str(len(used.written)))
        return code

    log.unlink(missing_ok=True)
    with forked(work, log) as pid:
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code, int(count.read_text()) if count.exists() else 0


def wrong(disk: Path, code: int, log: Path) -> list[str]:
    """What is not as it should be after a command that met a full disk."""
    text = log.read_text(errors="replace")
    errors = [line for line in text.splitlines() if line.startswith("error: ")]
    found = [f"exit code {code}"] * (code not in (0, 2))
    found += ["no line says why"] * (code == 2 and len(errors) != 1)
    found += [word for word in ("Traceback", "Logging error", "Exception ignored") if word in text]
    files = (file for file in sorted(disk.rglob("*")) if file.is_file())
    return found + [f"{file.relative_to(disk)} is half" for file in files if half(file)]


def half(file: Path) -> bool:
    """Whether a file is not whole, or was to be renamed."""
    if file.name.endswith(GROWING) or (file.parent.name == FIGURES and file.suffix == ".json"):
        return False
    try:
        if file.suffix == ".json":
            json.loads(file.read_bytes())
        elif file.suffix == ".png":
            Image.open(file).load()
        elif file.suffix == ".pth":
            read_checkpoint(file)
        elif file.suffix == ".py":
            compile(file.read_bytes(), file.name, "exec")
    except Exception:
        return True
    return not file.stat().st_size or file.name.endswith(".tmp") or ".unfinished." in file.name


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A disk of memory."""
    folder.mkdir()
    size = f"size={DISK_BYTES}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)
        folder.rmdir()


def trial(command: Command, disk: Path, log: Path, room: float) -> list[str]:
    """What goes wrong where a command has room for so many writes, and then for all of them."""
    code, _ = run(command, disk, log, room)
    found = wrong(disk, code, log)
    if room < float("inf") and code == 0:
        found.append("exit code 0")
    with contextlib.suppress(FileNotFoundError):
        (disk / "ballast").unlink()
    if not found and code and run(command, disk, log, float("inf"), again=True)[0] != 0:
        said = log.read_text()
        if FINISHED not in said:
            found.append(f"does not go on: {said[-300:]}")
    return found


def refused(command: Command, root: Path, rooms: Sequence[int]) -> list[str]:
    """Refuses all writes from one on, for each of some."""
    found = []
    for room in rooms:
        with tempfile.TemporaryDirectory(dir=root) as name:
            found += [
                f"write {room + 1}: {one}"
                for one in trial(command, Path(name), root / "log.txt", room)
            ]
    return found


def small_disks(command: Command, root: Path, sizes: Sequence[int]) -> list[str]:
    """Runs a command on small disks of memory with so many bytes free."""
    found = []
    for size in sizes:
        with small_disk(root / "small") as disk:
            (disk / "ballast").write_bytes(bytes(free_bytes(disk) - size))
            found += [
                f"{size} bytes free: {one}"
                for one in trial(command, disk, root / "log.txt", float("inf"))
            ]
    return found


def main() -> int:
    args = flags(
        __doc__, quick="every fifth write, no small disks", only="commands whose names begin so"
    )
    trials = failed = 0
    with folder_with_shapes(train=6, val=3) as root:
        for title, command in commands(root).items():
            if not title.startswith(args.only):
                continue
            begun = time.monotonic()
            with tempfile.TemporaryDirectory(dir=root) as free:
                code, writes = run(command, Path(free), root / "log.txt", float("inf"))
                assert code == 0, (root / "log.txt").read_text()
                used = sum(file.stat().st_size for file in Path(free).rglob("*") if file.is_file())
            rooms = range(0, writes, 5 if args.quick else 1)
            sizes = [used * part // ROOMS for part in range(ROOMS)]
            if args.quick or os.geteuid() != 0:  # who is not root may not mount
                sizes = []
            found = refused(command, root, rooms) + small_disks(command, root, sizes)
            trials, failed = trials + len(rooms) + len(sizes), failed + len(found)
            print(
                f"{title}: {len(rooms)} of {writes} writes refused, {len(sizes)} small disks; "
                f"{len(found)} wrong ({time.monotonic() - begun:.0f} s)",
                *found,
                sep="\n  ",
                flush=True,
            )
    print(f"{trials} full disks, {failed} faults")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
