"""What a config takes from this machine and this run: paths, processes, devices, seeds.

Nothing here changes what a model learns or which figures it reaches.
"""

import os
from pathlib import Path

import mmcv
import torch
from mmengine.config import Config, ConfigDict

from casvit_dense.coco_backends import load_backend
from casvit_dense.config.tree import LOADERS, dicts_in, evaluators, leaf_datasets
from casvit_dense.errors import UserError
from casvit_dense.files import WORK_DIRS
from casvit_dense.options import IMAGE_DECODERS, RunOptions


def apply_machine_options(cfg: Config, options: RunOptions) -> None:
    """Fits a config to this machine."""
    cfg.work_dir = str(work_dir_of(cfg, options))
    set_randomness(cfg, options)
    if options.coco_backend is not None:
        set_coco_backend(cfg, options.coco_backend)
    set_launcher(cfg, options.launcher)
    if options.hang_timeout is not None:  # how long processes wait for each other; 0: forever
        dist_settings(cfg).timeout = options.hang_timeout
    set_loaders(cfg, options.workers)


def work_dir_of(cfg: Config, options: RunOptions) -> Path:
    """The work directory of a run, also before overrides were applied."""
    given = options.work_dir or options.cfg_options.get("work_dir") or cfg.get("work_dir")
    return Path(given or WORK_DIRS / Path(cfg.filename).stem)


def move_data_root(cfg: Config, root: str) -> None:
    """Points every data set and every metric's annotation file to another folder."""
    old_roots = set()
    for key in LOADERS:
        if cfg.get(key) is not None:
            for dataset in leaf_datasets(cfg[key].dataset):
                old_roots.add(Path(dataset.get("data_root") or ""))
                dataset.data_root = root
    for metric in evaluators(cfg):
        ann_file = Path(metric.get("ann_file") or "")
        for old in old_roots:
            if ann_file.is_relative_to(old) and metric.get("ann_file"):
                metric.ann_file = str(Path(root, ann_file.relative_to(old)))
                break


def set_randomness(cfg: Config, options: RunOptions) -> None:
    """Sets seed and determinism as asked; what is not asked for stays as the config has it."""
    if options.seed is None and not options.deterministic:
        return
    randomness = cfg.setdefault("randomness", ConfigDict())
    randomness.deterministic = options.deterministic
    if options.deterministic:  # cuBLAS reads it when it starts, and torch insists on it
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if options.seed is not None:
        randomness.seed = options.seed


def set_coco_backend(cfg: Config, backend: str) -> None:
    """Names the package that evaluates boxes and masks, in validation and test."""
    metrics = [metric for metric in evaluators(cfg) if metric.get("type") == "DenseCocoMetric"]
    if not metrics:
        raise UserError(f"--coco-backend: {cfg.filename} has no evaluator of type DenseCocoMetric")
    load_backend(backend)
    for metric in metrics:
        metric.backend = backend


def world_size(launcher: str) -> int:
    """Number of processes of this run, as the launcher's environment says."""
    variables = {"pytorch": "WORLD_SIZE", "slurm": "SLURM_NTASKS", "mpi": "OMPI_COMM_WORLD_SIZE"}
    return int(os.environ.get(variables.get(launcher, ""), 1))


def set_launcher(cfg: Config, launcher: str) -> None:
    """Sets how processes start and communicate: NCCL between GPUs, gloo between CPUs."""
    if launcher == "none" and int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise UserError("torchrun started several processes; add --launcher pytorch")
    if launcher == "pytorch" and "RANK" not in os.environ:
        raise UserError("--launcher pytorch is for torchrun; start with tools/dist_train.sh")
    if launcher == "slurm" and "SLURM_PROCID" not in os.environ:
        raise UserError("--launcher slurm is for srun; start with tools/slurm_train.sh")
    cfg.launcher = launcher
    if torch.cuda.is_available():
        return
    for module in dicts_in(cfg.model):  # SyncBN has no CPU kernel
        if module.get("type") == "SyncBN":
            module.type = "BN"
    if launcher == "mpi":
        raise UserError("--launcher mpi needs GPUs; on CPUs start processes by torchrun or Slurm")
    if launcher != "none":
        dist_settings(cfg).backend = "gloo"
        # DDP takes device ids of GPUs only; mmengine would pass the local rank.
        cfg.model_wrapper_cfg = dict(
            type="MMDistributedDataParallel", device_ids=None, broadcast_buffers=False
        )


def dist_settings(cfg: Config) -> ConfigDict:
    """How the process group is opened, by mmengine's names."""
    environment = cfg.setdefault("env_cfg", ConfigDict())
    settings: ConfigDict = environment.setdefault("dist_cfg", ConfigDict())
    return settings


def set_loaders(cfg: Config, workers: int | None) -> None:
    """Makes the loaders fit: memory pinned for GPUs, no worker kept alive where there is none."""
    for key in LOADERS:
        loader = cfg.get(key)
        if loader is None:
            continue
        if workers is not None:
            loader.update(num_workers=workers, persistent_workers=True)
        if loader.get("num_workers", 0) == 0:
            loader.persistent_workers = False  # torch refuses the combination
        if torch.cuda.is_available():  # copies to the GPU then run beside its work
            loader.setdefault("pin_memory", True)


def check_decoder(cfg: Config, decoder: str) -> None:
    """Checks that the loaders of a config can decode images by a library."""
    if decoder not in IMAGE_DECODERS:
        names = ", ".join(IMAGE_DECODERS)
        raise UserError(f"unknown image decoder '{decoder}'; choose from {names}")
    if decoder != "turbojpeg":
        return
    start = ((cfg.get("env_cfg") or {}).get("mp_cfg") or {}).get("mp_start_method", "fork")
    if start != "fork":
        # mmcv keeps the decoder in a global of the process, which no new interpreter gets.
        raise UserError(
            f"image decoder turbojpeg: env_cfg.mp_cfg.mp_start_method is '{start}', needs 'fork'"
        )
    try:
        mmcv.use_backend("turbojpeg")
    except (ImportError, OSError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"image decoder turbojpeg cannot be used ({reason}). Install libjpeg-turbo and the "
            "PyTurboJPEG of its version: with libjpeg-turbo 2 (apt-get install libturbojpeg0 on "
            'Debian 12) pip install "PyTurboJPEG<2", with libjpeg-turbo 3 pip install PyTurboJPEG'
        ) from error
    finally:
        mmcv.use_backend("cv2")  # still the default elsewhere
