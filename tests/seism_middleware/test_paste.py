from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import paste.deploy
import pytest

from seism_middleware.asgi import SeismASGI
from seism_middleware.contract import Hello, RequestBegun, RequestEnded
from seism_middleware.paste import filter_app_factory
from seism_middleware.wsgi import SeismWSGI
from tests.seism_middleware.peer import Peer
from tests.seism_middleware.test_asgi import ask, body, script, start
from tests.seism_middleware.test_wsgi import call, generator

INI = """
[app:main]
use = call:tests.seism_middleware.pyramid_app:main
filter-with = {filter}

[filter:seism]
use = egg:seism
{options}
"""


def load(folder: Path, filter: str, options: str = "") -> Any:
    path = folder / "app.ini"
    path.write_text(INI.format(filter=filter, options=options))
    return paste.deploy.loadapp(f"config:{path}")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("line", ["egg:seism", "seism"])
def test_one_line_names_pyramids_routes(
    line: str, peer: Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if line == "seism":
        app = load(tmp_path, line, f"sidecar = {peer.address}\ntoken = t\nstatsd_prefix = shop")
    else:
        monkeypatch.setenv("SEISM_SIDECAR", peer.address)
        app = load(tmp_path, line)
    assert isinstance(app, SeismWSGI)
    assert app.registry is not None, "attributes of the router pass through"
    for path in ("/items/blue", "/raises", "/nothing/12"):
        call(app, PATH_INFO=path)
    ended = peer.wait(RequestEnded, 3)
    assert [(r.route, r.status, r.exception) for r in ended] == [
        ("/items/{name}", 200, ""),
        ("/raises", 500, "KeyError"),
        ("/nothing/{id}", 404, ""),
    ]


FORMS = {
    "filter-with": """
[app:main]
use = call:tests.seism_middleware.pyramid_app:main
filter-with = seism
[filter:seism]
use = egg:seism
sidecar = {sidecar}
""",
    "pipeline": """
[pipeline:main]
pipeline = seism app
[app:app]
use = call:tests.seism_middleware.pyramid_app:main
[filter:seism]
use = egg:seism
sidecar = {sidecar}
""",
    "filter-app": """
[filter-app:main]
use = egg:seism
next = app
sidecar = {sidecar}
[app:app]
use = call:tests.seism_middleware.pyramid_app:main
""",
    "filter-with and tween": """
[app:main]
use = call:tests.seism_middleware.pyramid_app:main
filter-with = seism
pyramid.includes = seism_middleware
seism.sidecar = {sidecar}
[filter:seism]
use = egg:seism
sidecar = {sidecar}
""",
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("form", FORMS)
def test_each_form_observes_once(form: str, peer: Peer, tmp_path: Path) -> None:
    path = tmp_path / "app.ini"
    path.write_text(FORMS[form].format(sidecar=peer.address))
    app = paste.deploy.loadapp(f"config:{path}")
    for wanted in ("/items/blue", "/raises"):
        call(app, PATH_INFO=wanted)
    assert [(r.route, r.status) for r in peer.wait(RequestEnded, 2)] == [
        ("/items/{name}", 200),
        ("/raises", 500),
    ]
    assert len(peer.records(RequestBegun)) == 2


@pytest.mark.parametrize("wrapper", [SeismWSGI, SeismASGI, filter_app_factory])
def test_nothing_is_patched_and_that_is_said(wrapper: Any, peer: Peer) -> None:
    """The option is everywhere the same, and the sidecar learns that nothing can be attributed."""
    options = {"sidecar": peer.address, "patch": "none"}
    if wrapper is SeismASGI:
        asyncio.run(ask(SeismASGI(script(start(), body(b"")), **options)))
    elif wrapper is SeismWSGI:
        call(SeismWSGI(generator, **options))
    else:
        call(filter_app_factory(generator, {}, **options))
    (hello,) = peer.wait(Hello)
    assert hello.patched == () and hello.blind[0] == "socket"
    assert peer.wait(RequestEnded)


@pytest.mark.parametrize(
    ("option", "message"),
    [("sidecars", "did you mean 'sidecar'"), ("x", "known: sidecar, token, statsd")],
)
def test_an_unknown_option_names_the_nearest(option: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        filter_app_factory(generator, {}, **{option: "1"})


def test_a_bad_level_is_named() -> None:
    with pytest.raises(ValueError, match="patch: 'some' is none of all, sockets, none"):
        filter_app_factory(generator, {}, patch="some")


def test_a_bad_address_is_named() -> None:
    with pytest.raises(ValueError, match="'nowhere' is not an address"):
        filter_app_factory(generator, {}, sidecar="nowhere")
