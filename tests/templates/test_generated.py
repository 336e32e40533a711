"""Generated projects pass all that they are told to pass, and fail when they are broken.

One at a time: an app that should answer in time cannot where many others want the same two cores.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.distributions import environment
from tests.templates.conftest import Project, installed_project

# make build, test, docs and two experiments, of half a minute each on a busy machine.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SERVERS = ("mariadb-server-core", "memcached")

ROUTES = {
    "database": {"GET /", "POST /items", "GET /__heartbeat__"},
    "cache": {"POST /items/{id}/likes", "GET /items/{id}", "GET /__heartbeat__"},
}
"""Which routes use which backend, whatever else is going on."""
KINDS = ("slow", "hangs", "reset", "down")


def green(project: Project) -> None:
    """Each route that uses a backend has been hit by each perturbation of it, and holds."""
    report = project.report()
    assert [cell for cell in report["cells"] if cell["colour"] in ("amber", "red")] == []
    assert report["colour"] == "green"
    for backend, routes in ROUTES.items():
        for kind in KINDS:
            name = f"{backend} {kind}"
            covered = {r for r, row in report["matrix"].items() if row[name] == "green"}
            assert covered >= routes, name


def everything(project: Project) -> None:
    """All passes, and the experiment fails as soon as the timeout is gone."""
    project.make("build")
    assert " passed" in project.make("test")
    project.make("docs")
    assert (project.folder / "docs" / "_build" / "operations.html").is_file()
    project.make("seism")
    green(project)

    project.edit(f"{project.package.name}/backends.py", ('{"timeout": config.timeout_s}', "{}"))
    hangs_only(project)
    said = project.make("seism", code=2)
    report = project.report()
    assert report["colour"] == "red"
    assert "GET / under database hangs" in said
    assert "timeout on database" in said
    # Once all of the server's threads hang, it sees no other request: what was hit is hit.
    found = {route: report["matrix"][route]["database hangs"] for route in ROUTES["database"]}
    assert found["GET /"] in ("amber", "red")
    assert set(found.values()) <= {"amber", "red", "not covered"}


def other_backends(project: Project) -> None:
    """With MySQL and memcached, too."""
    project.make("build")
    assert " passed" in project.make("test")
    project.make("seism")
    green(project)


def hangs_only(project: Project) -> None:
    """Leave one perturbation; more clients than the app has threads, which soon give up."""
    path = project.folder / "seism.toml"
    head, *tables = path.read_text(encoding="utf-8").split("[[perturbation]]")
    (kept,) = (table for table in tables if '"database hangs"' in table)
    path.write_text(f"{head}[[perturbation]]{kept}", encoding="utf-8")
    project.edit(
        "seism.toml",
        ("workers = 8", "workers = 12"),
        ("steady = 20", "steady = 10"),
        ("during = 8", "during = 4"),
        ("timeout_s = 3", "timeout_s = 1.5"),
    )


OTHERS = ("--database", "mysql", "--cache", "memcached")
PROJECTS: dict[str, tuple[tuple[str, ...], Callable[[Project], None]]] = {
    "pyramid": ((), everything),
    "django": ((), everything),
    "fastapi": ((), everything),
    "flask": ((), everything),
    "others": (OTHERS, other_backends),
}


@pytest.fixture(scope="module")
def venv(wheels: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of their own: the projects install into it."""
    folder = tmp_path_factory.mktemp("environment")
    environment(folder, wheels)
    return folder


@pytest.mark.parametrize(
    "template",
    [
        pytest.param(name, marks=pytest.mark.debian(*SERVERS) if name == "others" else ())
        for name in PROJECTS
    ],
    ids=str,
)
def test_everything_passes_until_the_timeout_is_gone(
    venv: Path, tmp_path: Path, template: str
) -> None:
    options, work = PROJECTS[template]
    framework = "flask" if template == "others" else template
    options = ("--template", framework, *options)
    work(installed_project(venv, tmp_path, f"shop-{template}", *options))
