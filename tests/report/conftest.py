"""A report of generated predictions and of the speeds in the documentation, made once."""

from pathlib import Path

import pytest
import report_files
from report_page import Page

from casvit_dense.report import build_report

CPU = Path(__file__).parents[2] / "docs/speed/cpu.jsonl"


@pytest.fixture(scope="session")
def ledger(tmp_path_factory: pytest.TempPathFactory, shapes: Path) -> Path:
    return report_files.make_ledger(tmp_path_factory.mktemp("work_dirs"), shapes)


@pytest.fixture(scope="session")
def page(ledger: Path) -> Page:
    return Page(build_report([ledger], [CPU], images=4).html)
