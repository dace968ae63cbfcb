"""Flags, marks, seeds and the small data set of the whole suite."""

import gc
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from filelock import FileLock
from yapf.yapflib import yapf_api

if TYPE_CHECKING:
    from demo_runs import Runs
    from exported_models import Model

# Small tensors gain nothing from threads, and the suite may run beside other work.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the processes that tests start


# Until all tests are collected: imports make many objects, and none of them is garbage.
gc.disable()

# mmengine formats the config five times a run, which takes longer than a small training does.
yapf_api.FormatCode = lambda code, **style: (code, False)

# A loader that an error left waits for its workers, which look for its end this often: 5 s else.
torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL = 0.2
torch.utils.data._utils.worker.MP_STATUS_CHECK_INTERVAL = 0.2


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the tests marked slow")


#: What takes longest begins first, so that pytest-xdist's processes end together.
LONGEST = (
    "tests/export/",
    "tests/report/test_report_browser.py",
    "tests/engine/test_evaluate.py",
    "tests/benchmark/test_benchmark_run.py",
    "tests/engine/test_train.py",
    "tests/configs/test_peers.py",
    "tests/configs/test_peers_weights.py",
    "tests/engine/test_record.py",
    "tests/benchmark/test_memory.py",
    "tests/report/test_data_page.py",
    "tests/engine/",
    "tests/config/",
    "tests/benchmark/",
)


def place(nodeid: str) -> int:
    """Of a test among the longest."""
    return next((i for i, name in enumerate(LONGEST) if nodeid.startswith(name)), len(LONGEST))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With ``--dist loadfile``: files in the order of collection, and exports in one process.

    That one alone imports torch's exporter, and none waits for a model that another exports.
    """
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class LongestFirst(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return "tests/export" if file.startswith("tests/export/") else file

    config.option.loadscopereorder = False
    return LongestFirst(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: place(item.nodeid))
    for item in items:
        if item.get_closest_marker("slow") and not config.getoption("--slow"):
            item.add_marker(pytest.mark.skip(reason="slow: run with --slow"))
        if item.get_closest_marker("cuda") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="cuda: torch sees no GPU"))


def pytest_collection_finish() -> None:
    gc.enable()


@pytest.fixture(autouse=True)
def _little_garbage() -> None:
    """Takes what is there by now out of the collections of garbage, of which a run makes many.

    Each takes half a second otherwise.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this run that the processes of pytest-xdist share."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(autouse=True)
def _cache_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Facts of files are kept for this test alone, not among the user's."""
    monkeypatch.setattr(
        "casvit_dense.data.checks.file_cache.cache_file", lambda: tmp_path / "files.sqlite"
    )


@pytest.fixture(scope="session")
def shapes(run_folder: Path) -> Path:
    """A small generated data set in both layouts: ``coco/`` and ``ade/``. Not to be changed."""
    from casvit_dense.data.shapes import ShapesSpec, generate_shapes

    root = run_folder / "shapes"
    with FileLock(run_folder / "shapes.lock"):
        if not root.exists():
            generate_shapes(root, ShapesSpec(train=10, val=5, size=64))
    return root


@pytest.fixture(scope="session")
def models(run_folder: Path, shapes: Path) -> "dict[str, Model]":
    """Three heads with random weights, and their exported files. Not to be changed."""
    from exported_models import Models

    return Models(run_folder / "models", shapes)


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory, shapes: Path) -> "Runs":
    """Short trainings of the demo's heads. Not to be changed; see `copied`."""
    from demo_runs import Runs

    return Runs(tmp_path_factory.mktemp("runs"), shapes)


@pytest.fixture
def copied(runs: "Runs", tmp_path: Path) -> "Copies":
    """Copies of these trainings' work directories, to go on with."""
    return Copies(runs, tmp_path)


class Copies:
    def __init__(self, runs: "Runs", folder: Path) -> None:
        self.runs = runs
        self.folder = folder

    def __call__(self, task: str) -> Path:
        """The last checkpoint in a copy of a task's work directory."""
        checkpoint = self.runs[task]
        target = self.folder / f"{task}-copy"
        shutil.copytree(checkpoint.parent, target)
        return target / checkpoint.name
