"""docs/data.md lists every kind of finding with its remedy."""

import pkgutil
from importlib import import_module

import casvit_dense.data
from casvit_dense.data.findings import KINDS
from casvit_dense.files import PACKAGE

PAGE = PACKAGE.parent / "docs" / "data.md"
HEAD = ["| Code | | What is wrong | What to do |", "| --- | --- | --- | --- |"]


def table() -> str:
    """The rows of the page: errors first, each in alphabetical order."""
    for module in pkgutil.walk_packages(casvit_dense.data.__path__, "casvit_dense.data."):
        import_module(module.name)
    kinds = sorted(KINDS.values(), key=lambda kind: (kind.severity, kind.code))
    rows = [f"| `{k.code}` | {k.severity} | {k.problem} | {k.remedy} |" for k in kinds]
    return "\n".join([*HEAD, *rows])


def test_every_kind_is_on_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")
    written = [line for line in page.splitlines() if line.startswith("| `") and line.count("|") > 4]
    missing = sorted(set(table().splitlines()[2:]) - set(written))
    assert not missing, "docs/data.md lacks:\n" + "\n".join(missing)
    gone = sorted(line for line in written if line not in table())
    assert not gone, "docs/data.md has no longer:\n" + "\n".join(gone)
