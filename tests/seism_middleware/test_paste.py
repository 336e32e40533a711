from __future__ import annotations

from pathlib import Path
from typing import Any

import paste.deploy
import pytest

from seism_middleware.contract import RequestEnded
from seism_middleware.paste import filter_app_factory
from seism_middleware.wsgi import SeismWSGI
from tests.seism_middleware.peer import Peer
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


@pytest.mark.parametrize(
    ("option", "message"),
    [("sidecars", "did you mean 'sidecar'"), ("x", "known: sidecar, token, statsd")],
)
def test_an_unknown_option_names_the_nearest(option: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        filter_app_factory(generator, {}, **{option: "1"})


def test_a_bad_address_is_named() -> None:
    with pytest.raises(ValueError, match="'nowhere' is not an address"):
        filter_app_factory(generator, {}, sidecar="nowhere")
