"""The code in README and docs runs and prints what it says; links and commands lead somewhere."""

from __future__ import annotations

import doctest
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import scipy.special

from gradloom.op import ops

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
DOCUMENTS = [
    *PAGES,
    *sorted((ROOT / "docs" / "benchmarks").glob("*.md")),
    *[ROOT / f"{name}.md" for name in ("CHANGELOG", "CONTRIBUTING", "SECURITY")],
]
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


class Block(NamedTuple):
    """A fenced block: its language, its first line in the page, and its text."""

    language: str
    line: int
    text: str


def blocks(page: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    for match in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield Block(match[1], text[: match.start(2)].count("\n") + 1, match[2])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python blocks of a page, one after the other, as a reader would type them."""
    monkeypatch.chdir(tmp_path)
    scope = {"__name__": f"doc_{page.stem}"}
    monkeypatch.setitem(sys.modules, scope["__name__"], type(sys)(scope["__name__"]))
    for block in blocks(page):
        if block.language == "python":
            code = compile("\n" * (block.line - 1) + block.text, str(page), "exec")
            exec(code, scope)
        elif block.language == "pycon":
            test = doctest.DocTestParser().get_doctest(block.text, scope, page.name, str(page), block.line - 1)
            report: list[str] = []
            runner = doctest.DocTestRunner(optionflags=OPTIONS)
            runner.run(test, out=report.append, clear_globs=False)
            assert not runner.failures, "".join(report)
            scope = test.globs


@pytest.mark.slow
def test_cluster_page_as_a_script(tmp_path: Path) -> None:
    """With what stands under ``if __name__ == "__main__"``: workers, which import the script."""
    code = [block.text for block in blocks(ROOT / "docs" / "cluster.md") if block.language == "python"]
    script = tmp_path / "script.py"
    script.write_text("\n".join(code), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    losses = [float(line) for line in done.stdout.split()]
    assert len(losses) == 3
    assert losses[0] > losses[1] >= losses[2]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_name_a_language_that_is_checked(page: Path) -> None:
    """Code in a block that no test reads would rot."""
    assert {block.language for block in blocks(page)} <= {"python", "pycon", "sh", "text", "toml"}


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    """Relative links name files of the repository, and headings in them."""
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", prose(page))):
        if not target.startswith(("http://", "https://")):
            name, _, heading = target.partition("#")
            file = page.parent / name if name else page
            assert file.exists(), target
            assert not heading or heading in headings(file), target


def prose(page: Path) -> str:
    """Return a page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def headings(page: Path) -> set[str]:
    """Return what links call the headings of a page."""
    found = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.name)
def test_files_named_in_documents_exist(page: Path) -> None:
    """By their name, or the end of their path; one that stands for many has a <family>."""
    rooms = ("core", "plugins", "scheduler", "tests", "tools", "examples", "asv_bench", "docs")
    files = [path for room in rooms for path in [ROOT / room, *(ROOT / room).rglob("*")]]
    paths = [f"/{path.relative_to(ROOT).as_posix()}" for path in files]
    for name in re.findall(r"`([\w./-]+\.(?:py|sh)|[\w./-]+/)`", prose(page)):
        if name != "gradloom_mine.py":  # the reader's own
            assert any(path.endswith("/" + name.strip("/")) for path in paths), name


def test_readme_opens_with_ten_lines_of_code() -> None:
    """What the user gets comes first."""
    first = next(blocks(ROOT / "README.md"))
    assert first.language == "python"
    assert len([line for line in first.text.splitlines() if line.strip()]) == 10


def test_readme_has_two_commands_that_can_run() -> None:
    """Each is one line, installs an extra that exists, and runs something that exists."""
    commands = [block.text.strip() for block in blocks(ROOT / "README.md") if block.language == "sh"]
    assert len(commands) == 2
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for command, runs in zip(commands, ("examples/breast_cancer_network.py", "pytest"), strict=True):
        assert "\n" not in command
        words = shlex.split(command)
        (installed,) = [word for word in words if word.startswith(".[")]
        assert installed[2:-1] in extras
        assert words[:3] == ["python3", "-m", "venv"]
        assert any(word == runs for word in words)
    assert (ROOT / "examples" / "breast_cancer_network.py").exists()


def test_ops_that_no_function_names_are_explained() -> None:
    """docs/plugins.md tells the author of a backend what each op computes whose name is that of no NumPy function."""
    public = {name for room in (np, np.linalg, np.fft, scipy.special) for name in dir(room)}
    own = {name for name, op in ops.items() if op.spec.__module__.startswith("gradloom.")}
    page = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    table = page.partition("| op | returns |")[2].partition("\n\n")[0]
    # These a plan resolves by itself.
    structural = {"input", "literal", "item", "call", "gradient", "region", "to_device", "to_worker"}
    for name in own - public - structural:
        assert re.search(rf"`{name}[(`]", table), name


def test_table_of_functions_is_current() -> None:
    """docs/numpy.md lists what is registered; run tools/supported_functions.py to renew it."""
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        import supported_functions
    finally:
        sys.path.remove(str(ROOT / "tools"))

    def rows(text: str) -> set[str]:
        """Return the table's rows, without functions that this NumPy does not have."""
        names = {line: line.split("`")[1] for line in text.splitlines() if line.startswith("| `")}
        return {
            line
            for line, name in names.items()
            if not name.startswith("numpy.") or supported_functions.public(name) is not None
        }

    page = (ROOT / "docs" / "numpy.md").read_text(encoding="utf-8")
    assert rows(page) == rows(supported_functions.render())
    head, _, listed = page.partition("## Not supported")
    claimed = set(re.findall(r"`(numpy\.[\w.]+)`", listed))
    if np.lib.NumpyVersion(np.__version__) < "2.6.0":
        assert {name for name in claimed if supported_functions.public(name)} == set(supported_functions.unsupported())
    assert not claimed & set(re.findall(r"`(numpy\.[\w.]+)`", head))
