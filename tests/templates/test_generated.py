"""Generated projects pass all that they are told to pass, and fail when they are broken."""

from __future__ import annotations

import pytest

from tests.templates.conftest import New, Project

# make build, test, docs and two experiments, of half a minute each on a busy machine.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

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


@pytest.mark.parametrize("template", ["pyramid", "flask", "fastapi", "django"])
def test_everything_passes_until_the_timeout_is_gone(new: New, template: str) -> None:
    project = new(f"shop-{template}", "--template", template)
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
    for route in ROUTES["database"]:
        assert report["matrix"][route]["database hangs"] in ("amber", "red")


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
        ("during = 8", "during = 6"),
        ("timeout_s = 3", "timeout_s = 1.5"),
    )


@pytest.mark.debian("mariadb-server-core", "memcached")
def test_the_other_backends(new: New) -> None:
    project = new(
        "other-shop", "--template", "flask", "--database", "mysql", "--cache", "memcached"
    )
    project.make("build")
    assert " passed" in project.make("test")
    project.make("seism")
    green(project)
