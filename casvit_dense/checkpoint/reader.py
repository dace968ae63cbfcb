"""Safe reading of weight files: restricted unpickling with a closed list, or safetensors."""

import errno
import hashlib
import json
import os
import pickle
import re
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from mmengine.runner import CheckpointLoader

from casvit_dense.checkpoint.restricted_types import Refused, Restorer, closed_allowlist
from casvit_dense.errors import UserError
from casvit_dense.files import is_file

#: Key under which our safetensors files keep their ``meta``, as JSON.
META_KEY = "meta"

#: mmengine's scheme of a path without one.
LOCAL = ""

ADDRESS = re.compile(r"(https?|ftp|s3|petrel|gs):/+(.*)")

# What torch's unpickler and archive reader raise on bytes that are no checkpoint.
DAMAGED = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    OverflowError,
    MemoryError,  # of what the file claims to hold
    struct.error,
)


def read_checkpoint(path: str | os.PathLike[str], map_location: Any = "cpu") -> dict[str, Any]:
    """Reads a weight file or training checkpoint without running anything it contains.

    Safetensors is recognised by content; everything else goes through
    ``torch.load(weights_only=True)`` with a closed list of types. There is no fallback. Needs
    torch 2.6: its predecessors have a hole in ``weights_only`` (CVE-2025-32434) and no renamed
    entries in the list.

    Args:
        path: the file; ``~`` is expanded.
        map_location: as in ``torch.load``.

    Returns:
        The file's table. A safetensors file gives its tensors, or ``state_dict`` and ``meta``
        when this project wrote it.

    Raises:
        UserError: the file is absent, unreadable, damaged, no table, or needs a type outside the
            list (which is named).
    """
    if address := ADDRESS.match(os.fspath(path)):
        place = f"{address[1]}://{address[2]}"  # paths lose a slash
        raise UserError(f"weight file {place} is an address: download it, and give the file")
    file = Path(path).expanduser()
    if not is_file(file):
        raise UserError(f"weight file {file} {what_else(file)}")
    try:
        read = read_safetensors if is_safetensors(file) else read_pickle
        content = Restorer(file.stat().st_size)(read(file, map_location))
    except OSError as error:
        if error.errno == errno.EINVAL:  # torch seeks before the start of a truncated archive
            raise read_error(file, error) from error
        raise UserError(f"weight file {file} cannot be read: {error}") from error
    except Refused as error:
        raise UserError(
            f"weight file {file} is refused: {error}; ask its author for the state dict alone, or "
            "for safetensors"
        ) from error
    except DAMAGED as error:
        raise read_error(file, error) from error
    if not isinstance(content, dict):
        raise UserError(
            f"weight file {file} holds a {type(content).__name__}; expected a table of tensors"
        )
    return content


def what_else(file: Path) -> str:
    """What is at a path where there is no file, for a message."""
    try:
        if file.is_dir():
            return "is a folder; give the weight file in it"
        if file.exists():
            return "is a device or a pipe; give a file"
        return "is a link to nothing" if file.is_symlink() else "does not exist"
    except (OSError, ValueError):
        return "does not exist"


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def is_safetensors(file: Path) -> bool:
    """Whether the file starts with the length of a JSON header that fits into it."""
    with file.open("rb") as stream:
        start = stream.read(9)
    return start[8:] == b"{" and 8 + int.from_bytes(start[:8], "little") <= file.stat().st_size


def read_safetensors(file: Path, map_location: Any) -> dict[str, Any]:
    """Tensors by name, or ``state_dict`` and ``meta`` where the file's header holds ours."""
    # Not at the top: the backbone must import where there is only torch and mmengine.
    from safetensors import SafetensorError, safe_open

    device = map_location if isinstance(map_location, str | torch.device) else "cpu"
    try:
        with safe_open(file, framework="pt", device=str(device)) as archive:
            tensors = {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118
            header = archive.metadata() or {}
        if META_KEY in header:
            return {"state_dict": tensors, "meta": json.loads(header[META_KEY])}
    except (SafetensorError, *DAMAGED) as error:
        raise UserError(f"weight file {file} is damaged: {error}") from error
    return tensors


def read_pickle(file: Path, map_location: Any) -> Any:
    """What ``torch.save`` wrote, through the restricted unpickler."""
    if file.stat().st_size == 0:
        raise UserError(f"weight file {file} is empty; fetch it again")
    check_no_text(file)
    check_archive(file)
    with closed_allowlist(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about old protocols
        return torch.load(file, map_location=map_location, weights_only=True)


def check_no_text(file: Path) -> None:
    """Names what downloads leave in place of a file.

    Raises:
        UserError: it is a web page or a pointer of Git LFS.
    """
    with file.open("rb") as stream:
        start = stream.read(200).lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise UserError(
            f"weight file {file} is a web page, as Google Drive sends before large files; fetch "
            "it in a browser"
        )
    if start.startswith(b"version https://git-lfs"):
        raise UserError(f"weight file {file} is a pointer of Git LFS; run git lfs pull there")


def check_archive(file: Path) -> None:
    """Refuses an archive whose entries are larger than itself, before torch unpacks them.

    Raises:
        Refused: they are compressed, which torch's never are, or overlap.
        UserError: its end is missing.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, *DAMAGED) as error:
        with file.open("rb") as stream:
            if stream.read(4) == b"PK\3\4":
                raise UserError(
                    f"weight file {file} is damaged: its end is missing; fetch it again"
                ) from error
        return  # of the old format, or damaged, which torch says
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise Refused("it is a compressed archive, as of TorchScript")
    if sum(entry.file_size for entry in entries) > file.stat().st_size:
        raise Refused("its entries claim more bytes than it has")


def read_error(file: Path, error: Exception) -> UserError:
    """The error for a file that torch does not read; names the forbidden type if there is one."""
    text = str(error)
    needed = re.search(r"GLOBAL (\S+) (?:was|whose)", text)
    if needed:
        return UserError(
            f"weight file {file} is refused: it needs the type {needed[1]}, and only tensors and "
            "plain data are read, since anything else could run code. Ask its author for the "
            "state dict alone, or for safetensors"
        )
    reason = text.rpartition("WeightsUnpickler error:")[2].strip().splitlines() or [""]
    return UserError(
        f"weight file {file} is damaged or no weight file ({type(error).__name__}: "
        f"{reason[0]:.120}); "
        "fetch it again, or give the checkpoint that an exported file was made from"
    )


def install_safe_loader() -> None:
    """Puts the safe reader in place of all loaders of mmengine's ``CheckpointLoader``.

    The runner's ``load_from`` and ``resume``, ``load_checkpoint`` and the ``Pretrained``
    initialiser then read local files with ``read_checkpoint`` and refuse every remote scheme.
    mmengine's own loader falls back to unpickling without restriction. May be called again.
    """
    remote = [scheme for scheme in CheckpointLoader._schemes if scheme != LOCAL]
    CheckpointLoader.register_scheme(remote, load_from_remote, force=True)
    CheckpointLoader.register_scheme(LOCAL, load_from_local, force=True)


# mmengine logs a loader's name without its first ten letters, hence the names.
def load_from_local(filename: str, map_location: Any = None) -> dict[str, Any]:
    """Loader of paths without a scheme.

    Files of mmcv 1.x keep their config's text as ``meta.config``, which mmengine would run as a
    program to see for how many GPUs it was. It is left out.
    """
    content = read_checkpoint(filename, map_location)
    meta = content.get("meta")
    if isinstance(meta, dict):
        meta.pop("config", None)
    return content


def load_from_remote(filename: str, map_location: Any = None) -> dict[str, Any]:
    """Loader of everything else: refuses it."""
    raise UserError(
        f"remote weights are not fetched: {filename}; download the file and give its path"
    )
