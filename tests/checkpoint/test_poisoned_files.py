"""Files from strangers: nothing runs, nothing large is made, one line says what is wrong."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from hostile_files import REFUSED
from weight_files import TINY

from casvit_dense import CASViT
from casvit_dense.checkpoint import read_checkpoint
from casvit_dense.errors import UserError


@pytest.fixture(scope="module")
def content() -> dict[str, Any]:
    """What the files would hold without their poison."""
    return {
        "state_dict": CASViT(TINY).state_dict(),
        "meta": {"epoch": 1, "iter": 3},
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": []},
    }


def test_a_good_file_is_read(content: dict[str, Any], tmp_path: Path) -> None:
    torch.save(content, tmp_path / "file.pth")
    assert read_checkpoint(tmp_path / "file.pth").keys() == content.keys()


@pytest.mark.filterwarnings("ignore")  # torch's, where such tensors are made
@pytest.mark.parametrize("name", REFUSED)
def test_no_poisoned_file_is_read(name: str, content: dict[str, Any], tmp_path: Path) -> None:
    path, marker = tmp_path / "file.pth", tmp_path / "marker"
    REFUSED[name](path, deepcopy(content), marker)
    with pytest.raises(UserError) as caught:
        read_checkpoint(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not marker.exists()
