"""New applications from the templates that are installed with Seism.

The templates are copier's, and what is made is what copier makes: ``templates/copier.yml``
asks the questions that ``Answers`` declares.
"""

from __future__ import annotations

import keyword
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from seism.errors import ConfigurationError
from seism.options import option

TEMPLATES = Path(__file__).parent.parent / "templates"
"""What copier takes as a template, too."""
ANSWERS_FILE = ".copier-answers.yml"
SUFFIX = ".jinja"

_NAME = re.compile(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*")
LONGEST_NAME = 40
"""With a longer one, lines of the templates would get too long."""
_TAKEN = {
    "docs", "tests", "seism", "seism_middleware",
    "pyramid", "flask", "fastapi", "starlette", "django", "werkzeug", "waitress", "uvicorn",
    "sqlalchemy", "pg8000", "pymysql", "redis", "pymemcache", "pytest", "sphinx", "furo", "ruff",
}  # fmt: skip
"""Names that a package beside the templates' imports must not have."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What a template is told. Raises ConfigurationError for a name that can't be a package's."""

    name: str = option(help="the project's name, which is its folder's and its package's name, too")
    template: str = option(
        "pyramid", help="the framework", choices=("pyramid", "flask", "fastapi", "django")
    )
    database: str = option("postgresql", help="the database", choices=("postgresql", "mysql"))
    cache: str = option("redis", help="the cache", choices=("redis", "memcached", "none"))

    def __post_init__(self) -> None:
        if len(self.name) > LONGEST_NAME or not _NAME.fullmatch(self.name):
            raise ConfigurationError(
                f"name: {self.name!r} is not allowed, it must be of at most {LONGEST_NAME} "
                "lower-case letters, digits, - and _, and begin with a letter"
            )
        taken = self.package in _TAKEN | sys.stdlib_module_names
        if taken or keyword.iskeyword(self.package):
            raise ConfigurationError(f"name: {self.name!r} is the name of another module")

    @property
    def package(self) -> str:
        """The name of the package."""
        return self.name.replace("-", "_")


def make(answers: Answers, folder: Path) -> list[Path]:
    """Write the project into ``folder``; returns the files, relative to it.

    Raises ConfigurationError if the folder is there and not empty, or can't be written.
    """
    try:
        if folder.is_symlink() or (
            folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
        ):
            raise ConfigurationError(f"{folder}: it is there already; nothing was written")
        written = []
        for path, text in render(answers):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
            written.append(path)
    except OSError as error:
        raise ConfigurationError(f"{folder}: {error.strerror}") from None
    return written


def render(answers: Answers) -> Iterator[tuple[Path, str]]:
    """Each file of the project with its text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    source = TEMPLATES / "project"
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
        autoescape=False,
    )
    values = {
        **asdict(answers),
        "package": answers.package,
        "_copier_conf": {"answers_file": ANSWERS_FILE},
        "_copier_answers": {**asdict(answers), "_src_path": str(TEMPLATES)},
    }
    for path in sorted(source.rglob("*")):
        if not path.is_file():
            continue
        name = path.relative_to(source).as_posix()
        rendered = environment.from_string(name).render(values)
        if Path(rendered).name == SUFFIX:
            continue  # not of this framework
        if name.endswith(SUFFIX):
            text = environment.get_template(f"project/{name}").render(values)
            yield Path(rendered.removesuffix(SUFFIX)), text
        else:
            yield Path(rendered), path.read_text(encoding="utf-8")
