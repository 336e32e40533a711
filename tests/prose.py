"""The text checker: ``python -m tests.prose [FILE ...]``, a step of ``make lint``.

It reads the prose of Markdown pages, docstrings, comments, and the sentences among the code's
texts (help, messages). proselint finds mistakes of any English text; ``HOUSE`` finds our own
habits. ``prose_exempt.txt`` lists the files that are not mended yet. It is only ever shortened,
which ``--shorten`` does.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

ROOT = Path(__file__).parent.parent
EXEMPT = Path(__file__).with_name("prose_exempt.txt")

_SENTENCE = r"(?:^|(?<=[.:;!?]\s)|(?<=\n\n))"
_END = r"(?=[,.;:)]|$)"

HOUSE = {
    rf"{_SENTENCE}(?:Whose|Who|What (?:is|are|was|were|has|had))\b(?![^.]*\?)": (
        "begin with the subject"
    ),
    r"\bthere twice\b": "duplicate",
    r"\bso (?:many|much)\b(?! as| [\w ]+ that)": "the number",
    r"\bas (?:it is|they are)\b" + _END: "unchanged",
    r"\b(?:of no matter|no matter)\b": "for any ..., or leave it out",
    r"\b(?:is|are) (?:not )?allowed\b": "expected ..., got ...; maximum ...; supported: ...",
    r"\bmay\b" + _END: "exceeds the limit of ...; maximum ...",
    r"\b(?:is|are) too many\b": "too long, too many (maximum ...)",
    r"(?<!there\s)(?<!There\s)\b(?:is|are|was|were) no (?!longer|more|less|fewer|better|worse)": (
        "is not a ..., or invalid ..."
    ),
    r"\b(?:is|are) not known here\b": "unsupported, unknown",
    r"\b(?:[Ww]hat|[Tt]hat|which|who) (?:is|are|was|were) there\b": "present, existing, running",
    r"\banew\b": "again",
    r"\bto who\b": "to whoever, or name them",
    r"\b[Ff]rom the begin\b|\bthe begin of\b": "beginning, start",
    r"\bcould not say\b": "could not send, could not report",
    r"\bwhat becomes of\b": "what happens to",
    r"\bat whatever place\b": "anywhere",
    r"\bis no matter\b|\bno \w+'s affair\b": "does not depend on",
    r"(?<![\d.,])\b1 (?:requests|connections|bytes|records|seconds|minutes|files|times)\b": (
        "the singular"
    ),
    r"\b[Aa]ll that (?:is|was|are|were)\b": "every, all",
    r"\bthat there (?:is|are|was|were)\b" + _END: "existing, or leave it out",
}
"""Pattern -> what to write instead. A space stands for white space of any kind."""

_HOUSE = {re.compile(pattern.replace(" ", r"\s+")): say for pattern, say in HOUSE.items()}

NOT_OURS = {
    "annotations": False,  # ruff has a rule
    "hedging": False,
    "typography": False,  # three dots, straight quotes and "x" are what code and terminals show
    "restricted": False,
}
"""Checks of proselint that do not fit a manual with code in it."""
OURS = re.compile(r"(?i)very|waitress|robust|master|aborts?|aborted|kills?|killed")
"""Words that proselint dislikes: terms, products and plain English."""
REPEATED = re.compile(
    r"(?i)(the|an?|in|of|to|is|are|was|were|and|or|it|on|at|by|for|with|be|as|not|this)\s+\1"
)
"""A repetition that is a mistake; those of names and figures are lists and commands."""
SEPARATOR = "\n.\n"
"""Of texts, so that the end of one and the start of the next repeat nothing."""


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of prose and the line that it begins on."""

    line: int
    text: str


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """A place, its text, and the text to write instead."""

    path: str
    line: int
    found: str
    instead: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.found!r}: {self.instead}"


_MARKDOWN = MarkdownIt("commonmark").enable("table")


def of_markdown(source: str) -> Iterator[Text]:
    """Paragraphs, headings and cells without code blocks; code in a line stands as ``x``."""
    for token in _MARKDOWN.parse(source):
        if token.type == "inline" and token.map is not None:
            stand_in = {"code_inline": "`x`", "softbreak": "\n"}
            text = "".join(
                stand_in.get(child.type, child.content) for child in token.children or ()
            )
            yield Text(token.map[0] + 1, re.sub(r"https?://\S+", "", text))


def of_python(source: str) -> Iterator[Text]:
    """Docstrings, comments and texts of at least three words."""
    tree = ast.parse(source)
    inside = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for part in ast.walk(node)
        if part is not node
    }
    for node in ast.walk(tree):
        if id(node) in inside:
            continue
        if isinstance(node, ast.JoinedStr):
            text = "".join(
                str(part.value) if isinstance(part, ast.Constant) else "x" for part in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        else:
            continue
        if sentence(text):
            yield Text(node.lineno, without_code(text))
    yield from of_comments(source)


def sentence(text: str) -> bool:
    """Whether it is one for people, and no code, pattern or page."""
    return len(re.findall(r"[A-Za-z]{2,}[,.:;]? ", text)) >= 2 and not re.search(
        r"\\b|[{}<>\\|=]\s|\n(?:import|from|def|class) |^\s*[\[{<]|;$|SELECT ", text
    )


def without_code(text: str) -> str:
    """Code and literal blocks of a docstring stand as ``x``."""
    text = re.sub(r"``[^`]+``|`[^`]+`", "`x`", text)
    return re.sub(r"https?://\S+", "", re.sub(r"::\n\n(?: .*\n|\n)+", ":\n\n", text))


def of_comments(source: str) -> Iterator[Text]:
    """Comments; those of neighbouring lines are one text."""
    lines: list[tuple[int, str]] = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            text = re.sub(r"^#+:? ?|^#!.*|(?:fmt|noqa|type|mypy): .*", "", token.string)
            lines.append((token.start[0], text))
    yield from joined(lines)


def of_make(source: str) -> Iterator[Text]:
    """Comments of a Makefile or of a shell script, and what ``make help`` shows."""
    comments = []
    for number, line in enumerate(source.splitlines(), 1):
        if found := re.search(r"(?:^|\s)##? ([A-Za-z].*)$", line):
            comments.append((number, found[1]))
    yield from joined(comments)


def joined(lines: Sequence[tuple[int, str]]) -> Iterator[Text]:
    """Neighbouring lines as one text."""
    first, texts = 0, list[str]()
    for number, text in lines:
        if texts and number != first + len(texts):
            yield Text(first, without_code("\n".join(texts)))
            texts = []
        if not texts:
            first = number
        texts.append(text)
    if texts:
        yield Text(first, without_code("\n".join(texts)))


READERS: dict[str, Callable[[str], Iterator[Text]]] = {
    ".md": of_markdown, ".py": of_python, ".toml": of_make, ".ini": of_make, "": of_make,
}  # fmt: skip


def house(text: Text) -> Iterator[tuple[int, str, str]]:
    """(line, found text, text to write instead) of our own list."""
    for pattern, instead in _HOUSE.items():
        for found in pattern.finditer(text.text):
            yield line_of(text, found.start()), found[0], instead


def line_of(text: Text, offset: int) -> int:
    return text.line + text.text.count("\n", 0, offset)


@cache
def linter() -> Callable[[str], Iterable[Any]]:
    """proselint with its checks but for ``NOT_OURS``."""
    from proselint.checks import __register__
    from proselint.config import DEFAULT
    from proselint.registry import CheckRegistry
    from proselint.tools import LintFile

    CheckRegistry().register_many(__register__)
    config: Any = {**DEFAULT, "checks": {**DEFAULT["checks"], **NOT_OURS}}
    return lambda text: LintFile("text", text or " ").lint(config)


def english(texts: Sequence[Text]) -> Iterator[tuple[int, str, str]]:
    """The same of proselint."""
    content = SEPARATOR.join(text.text for text in texts)
    content = content.encode("utf-8", "replace").decode()  # half a character in a test's data
    starts, at = [], 1  # proselint puts a line break before the text
    for text in texts:
        starts.append((at, text))
        at += len(text.text) + len(SEPARATOR)
    for result in linter()(content):
        start, end = result.check_result.span
        found = f"\n{content}\n"[start:end].strip()
        illusion = result.check_result.check_path.startswith("lexical_illusions")
        if OURS.fullmatch(found) or (illusion and not REPEATED.fullmatch(found)):
            continue
        begun, text = max((item for item in starts if item[0] <= max(start, 1)), key=lambda i: i[0])
        yield line_of(text, start - begun), found, result.check_result.message


def check(path: str, source: str) -> list[Finding]:
    """The findings of one file."""
    texts = list(READERS[Path(path).suffix](source))
    found = [*english(texts), *(item for text in texts for item in house(text))]
    return sorted({Finding(path, line, " ".join(what.split()), say) for line, what, say in found})


def files(root: Path = ROOT) -> list[str]:
    """Every file of the repository that the checker reads."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=root, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    rooms = ("seism/", "seism_middleware/", "bench/", "docs/", "tests/", "packaging/")
    tops = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "Makefile", ".ci/run", "setup.py")
    return sorted(
        path
        for path in set(listed.splitlines())
        if (path in (*tops, "pyproject.toml", "tox.ini"))
        or (path.startswith(rooms) and path.endswith((".md", ".py")))
        if (root / path).is_file()
    )


def exempt() -> list[str]:
    """The files that are not checked yet."""
    lines = EXEMPT.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def findings(path: str) -> list[Finding]:
    return check(path, (ROOT / path).read_text(encoding="utf-8"))


def shorten() -> None:
    """Remove the files that are gone or mended from the list."""
    keep = {path for path in exempt() if (ROOT / path).is_file() and findings(path)}
    lines = EXEMPT.read_text(encoding="utf-8").splitlines(keepends=True)
    EXEMPT.write_text(
        "".join(line for line in lines if line.startswith("#") or line.strip() in keep),
        encoding="utf-8",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 1 if there is a finding."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words == ["--shorten"]:
        shorten()
        return 0
    left_out = set(exempt())
    paths = words or [path for path in files() if path not in left_out]
    found = [finding for path in paths for finding in findings(path)]
    for finding in found:
        print(finding)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
