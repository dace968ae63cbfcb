"""docs/data.md lists every kind of finding with its remedy."""

from casvit_dense.data.findings import KINDS
from casvit_dense.files import PACKAGE

PAGE = PACKAGE.parent / "docs" / "data.md"
HEAD = ["| Code | | What is wrong | What to do |", "| --- | --- | --- | --- |"]


def table() -> str:
    """The rows of the page: errors first, each in alphabetical order."""
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


def test_every_kind_of_the_table_is_looked_for() -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in (PACKAGE / "data").rglob("*.py"))
    assert [name for name in KINDS if f'KINDS["{name}"]' not in code] == []
