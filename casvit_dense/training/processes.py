"""The processes of a distributed run: their group, and how they pass on what they have."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain, zip_longest
from typing import Any, TypeVar

import torch
from mmengine.config import Config
from mmengine.dist import dist as mmengine_dist
from mmengine.dist import get_dist_info, init_dist, is_distributed, is_main_process
from mmengine.utils.dl_utils import set_multi_processing
from torch import distributed
from torch.distributed import ProcessGroup

from casvit_dense.errors import Stopped, UserError

Result = TypeVar("Result")

#: Beside a group of GPUs, one that moves Python objects without them. None: the group itself does.
_cpu_group: ProcessGroup | None = None


def open_process_group(cfg: Config) -> None:
    """Opens the process group of a launcher, as mmengine's runner does later.

    The processes need it earlier: the first one checks the data and decides where an evaluation
    goes.
    """
    global _cpu_group
    if cfg.launcher == "none" or is_distributed():
        return
    environment = cfg.get("env_cfg") or {}
    # Before `init_dist`, which would have loaders spawn their workers.
    set_multi_processing(**environment.get("mp_cfg", {}), distributed=True)
    if torch.cuda.is_available():
        init_dist(cfg.launcher, **environment.get("dist_cfg", {}))
        _cpu_group = distributed.new_group(backend="gloo")
    else:  # mmengine would select a GPU first
        distributed.init_process_group(backend="gloo")


@contextmanager
def process_group_closed() -> Iterator[None]:
    """Closes the process group after a run that went well, or that all processes stopped.

    A process that leaves while another works aborts it (gloo), and so does a group that is still
    held by a model when the interpreter ends.
    """
    try:
        yield
    except Stopped:
        close_process_group()
        raise
    close_process_group()


def close_process_group() -> None:
    """Closes the process group once all processes are here."""
    global _cpu_group
    if distributed.is_initialized():
        gc.collect()
        distributed.barrier()
        _cpu_group = None
        distributed.destroy_process_group()


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
    if answer[1] is not None:
        raise UserError(answer[1])
    result: Result = answer[0]
    return result


def gather_results(part: list, size: int, folder: str | None = None) -> list | None:
    """Gathers what each process has of an evaluation's results in the first one.

    Images are dealt out in turn, and the last turn is filled up with the first images.

    Memory: while a process sends, its part is there twice as pickled bytes; the first process takes
    the others' parts one after the other, and has beside the results those bytes of one of them.

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


def install_gathering() -> None:
    """Has every metric of mmengine, mmdet and mmseg gather by `gather_results`.

    mmengine's own way are pickled files in the current folder, which must be writable and shared by
    all machines.
    """
    mmengine_dist.collect_results_cpu = gather_results
