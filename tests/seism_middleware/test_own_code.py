"""An app that was installed like a library is told apart by how its process was started."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from seism_middleware.own_code import of


@pytest.mark.parametrize(
    ("command", "own"),
    [
        ("python bin/gunicorn -w 4 -b 127.0.0.1:8000 shop.wsgi:app", {"shop"}),
        ("python -m uvicorn --factory shop.web:create_app", {"shop"}),
        ("granian shop:create()", {"shop"}),
        ("python -m flask --app shop.web run", {"shop"}),
        ("celery --app=shop.tasks:celery worker", {"shop"}),
        ("celery -A shop worker", {"shop"}),
        ("python -m shop.server --db postgresql://me@localhost:5432/db", {"shop"}),
        ("python bin/waitress-serve --listen=127.0.0.1:8000 shop:app", {"shop"}),
        ("python app.py", set()),
        ("python manage.py runserver 127.0.0.1:8000", set()),
    ],
)
def test_a_command_names_the_app(command: str, own: set[str]) -> None:
    assert of(command.split(), {}) == own


def test_settings_and_files_name_it(tmp_path: Path) -> None:
    assert of([], {"DJANGO_SETTINGS_MODULE": "shop.settings"}) == {"shop"}
    assert of([], {"FLASK_APP": "shop.web:create_app()"}) == {"shop"}
    file = tmp_path / "app.ini"
    file.write_text("[app:main]\nuse = egg:My-Shop#main\n[server:main]\nuse = egg:waitress\n")
    assert of(["pserve", str(file)], {}) == {"my_shop"}
    assert of(["pserve", str(tmp_path / "none.ini")], {}) == set()


APP = """\
import sys
def order():
    raise ValueError
def main():
    from seism_middleware.frames import frames
    try:
        order()
    except ValueError as error:
        print(frames(error.__traceback__)[-1])
"""
SCRIPT = "#!{python}\nimport re\nimport sys\nfrom shop.cli import main\nsys.exit(main())\n"


@pytest.mark.parametrize("folder", ["site-packages", "src"])
def test_its_frames_are_its_own(tmp_path: Path, folder: str) -> None:
    package = tmp_path / folder / "shop"
    script = tmp_path / "bin" / "shop"
    package.mkdir(parents=True)
    script.parent.mkdir()
    (package / "__init__.py").touch()
    (package / "cli.py").write_text(APP)
    script.write_text(SCRIPT.format(python=sys.executable))
    script.chmod(0o755)
    done = subprocess.run(
        [script],
        cwd=tmp_path / "bin",
        env={"PYTHONPATH": f"{package.parent}:{Path(__file__).parents[2]}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "shop/cli.py:3 order\n"
