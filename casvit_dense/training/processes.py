"""The processes of a distributed run: their group, and how they pass on what they have."""

import gc
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import chain, zip_longest
from typing import Any, Final, TypeVar

import torch
from mmengine.config import Config
from mmengine.dist import dist as mmengine_dist
from mmengine.dist import get_dist_info, init_dist, is_distributed, is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmengine.utils.dl_utils import set_multi_processing
from torch import distributed
from torch.distributed import PrefixStore, ProcessGroup
from torch.distributed.rendezvous import rendezvous

from casvit_dense.errors import Stopped, UserError
from casvit_dense.training.launch import LOST
from casvit_dense.training.watch import Watch, WatchHook

Result = TypeVar("Result")

#: Seconds without a step after which a run of several processes ends.
HANG_TIMEOUT: Final = 600.0
FOREVER: Final = 1e7

SLURM_VARIABLES: Final = (
    *("PROCID", "LOCALID", "NTASKS", "STEP_NODELIST", "NODELIST", "JOB_ID", "STEP_ID"),
)

_watch: Watch | None = None

#: Beside a group of GPUs, one that moves Python objects without them. None: the group itself does.
_cpu_group: ProcessGroup | None = None


def open_process_group(cfg: Config) -> None:
    """Opens the process group of a launcher, as mmengine's runner does later.

    The processes need it earlier: the first one checks the data and decides where an evaluation
    goes.
    """
    global _cpu_group, _watch
    if cfg.launcher == "none" or is_distributed():
        return
    environment = cfg.get("env_cfg") or {}
    settings = dict(environment.get("dist_cfg") or {})
    bound = settings.pop("timeout", HANG_TIMEOUT) or FOREVER
    if cfg.launcher == "slurm":
        set_slurm_variables()
    # The watch comes first: it knows who is behind.
    timeout = timedelta(seconds=bound + 60)
    if (attempt := os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) != "0":
        # torchrun's store still has the addresses of processes that are gone.
        store, rank, processes = next(rendezvous("env://", timeout=timeout))
        store = PrefixStore(f"attempt {attempt}", store)
        settings.update(store=store, rank=rank, world_size=processes)
    # Before `init_dist`, which would have loaders spawn their workers.
    set_multi_processing(**environment.get("mp_cfg", {}), distributed=True)
    if torch.cuda.is_available():
        init_dist(cfg.launcher, timeout=timeout.total_seconds(), **settings)
        _cpu_group = distributed.new_group(backend="gloo", timeout=timeout)
    else:  # mmengine would select a GPU first
        distributed.init_process_group(timeout=timeout, **{**settings, "backend": "gloo"})
    rank, processes = get_dist_info()
    if processes > 1 and bound < FOREVER:
        _watch = Watch(bound, rank, processes)


def set_slurm_variables() -> None:
    """Sets the variables by which torch's processes meet from those of Slurm."""
    slurm = {name: os.environ.get(f"SLURM_{name}", "") for name in SLURM_VARIABLES}
    os.environ.update(RANK=slurm["PROCID"], LOCAL_RANK=slurm["LOCALID"], WORLD_SIZE=slurm["NTASKS"])
    if "MASTER_ADDR" not in os.environ:
        command = ["scontrol", "show", "hostnames", slurm["STEP_NODELIST"] or slurm["NODELIST"]]
        names = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        os.environ["MASTER_ADDR"] = names.split()[0]
    # Not one port for all: jobs share machines. Below those that systems give to anybody.
    job = 10 * int(slurm["JOB_ID"] or 0) + int(slurm["STEP_ID"] or 0)
    os.environ.setdefault("MASTER_PORT", str(20000 + job % 10000))


def step_hooks() -> list[Hook]:
    """Hooks that a runner needs so that its steps are watched."""
    return [] if _watch is None else [WatchHook(_watch)]


@contextmanager
def process_group_closed() -> Iterator[None]:
    """Closes the process group after a run that went well, or that all processes stopped.

    A process that leaves while another works aborts it (gloo), and so does a group that is still
    held by a model when the interpreter ends.

    Raises:
        Stopped: another process has ended, and nothing knows of it that could say so.
        SystemExit: with `LOST`: torchrun knows.
    """
    try:
        try:
            yield
        except Stopped:
            close_process_group()
            raise
        close_process_group()
    except RuntimeError as error:
        if not is_lost_connection(error):
            raise
        message = f"the connection to another process is lost: {str(error).splitlines()[0]}"
        print_log(message, "current")
        if "TORCHELASTIC_RUN_ID" in os.environ:
            raise SystemExit(LOST) from error
        raise Stopped(f"{message}. The run ends here, and can be resumed") from error


def close_process_group() -> None:
    """Closes the process group once all processes are here."""
    global _cpu_group, _watch
    if distributed.is_initialized():
        if _watch is not None:
            _watch.close()
        gc.collect()
        distributed.barrier()
        _cpu_group = _watch = None
        distributed.destroy_process_group()


def is_lost_connection(error: RuntimeError) -> bool:
    """Whether a collective operation failed, as it does when another process has ended."""
    return isinstance(error, distributed.DistError) or "gloo" in str(error)


def on_main_process(task: Callable[[], Result]) -> Result:
    """Runs a task in the first process; all processes get its result.

    Args:
        task: returns something that can be pickled.

    Raises:
        UserError: the task did, in every process: none waits for one that has stopped.
    """
    answer: list[Any] = [None, None]
    if is_main_process():
        try:
            answer[0] = task()
        except UserError as error:
            answer[1] = str(error)
    if is_distributed():
        distributed.broadcast_object_list(answer, group=_cpu_group)
    if _watch is not None:
        _watch.step("start-up")
    if answer[1] is not None:
        raise UserError(answer[1])
    result: Result = answer[0]
    return result


def gather_results(part: list, size: int, folder: str | None = None) -> list | None:
    """Gathers what each process has of an evaluation's results in the first one.

    Images are dealt out in turn, and the last turn is filled up with the first images.

    Memory: a process that sends has, beside its part, twice its pickled bytes; the first process
    takes the others' parts one after the other, and has, beside all results, twice those of one.

    Args:
        part: this process's results, one an image.
        size: number of images of all processes.
        folder: shared by all processes; where one is named, parts go through its files, mmengine's
            way.

    Returns:
        The results in the order of the images; None in all processes but the first.
    """
    if folder is not None:
        return _gather_by_files(part, size, folder)
    rank, processes = get_dist_info()
    if rank > 0:
        distributed.send_object_list([part], dst=0, group=_cpu_group)
        return None
    parts = [part]
    for source in range(1, processes):
        received: list[Any] = [None]
        distributed.recv_object_list(received, src=source, group=_cpu_group)
        parts += received
    missing = object()
    in_turn = chain.from_iterable(zip_longest(*parts, fillvalue=missing))
    return [result for result in in_turn if result is not missing][:size]


_gather_by_files = mmengine_dist.collect_results_cpu


def model_of(runner: Runner) -> Any:
    """The model of a runner itself, without its distributed wrapper."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


def install_gathering() -> None:
    """Has every metric of mmengine, mmdet and mmseg gather by `gather_results`.

    mmengine's own way are pickled files in the current folder, which must be writable and shared by
    all machines.
    """
    mmengine_dist.collect_results_cpu = gather_results
