"""Reading tables of the documentation, to compare them with where their figures are from."""

from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def table_of_page(heading: str, page: str = "peers.md") -> dict[str, list[str]]:
    """First table under a heading: the name in each row's first cell -> its other cells."""
    section = (DOCS / page).read_text().split(f"## {heading}\n", 1)[1]
    lines = section[section.index("|") :].split("\n\n", 1)[0].splitlines()
    rows = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines[2:]]
    return {name: cells for name, *cells in rows}


def code_of_page(language: str, page: str = "peers.md") -> list[str]:
    """All code blocks of a language, in order."""
    blocks = (DOCS / page).read_text().split(f"```{language}\n")[1:]
    return [block.split("```", 1)[0] for block in blocks]
