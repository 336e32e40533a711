"""``seism check``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seism.commands.option import show_json, word, words
from seism.model import FRONT
from seism.report.text import clean

if TYPE_CHECKING:
    from seism.experiment.config import Experiment

FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("file", type=FILE, default=Path("seism.toml"))
@click.option("--json", "as_json", is_flag=True, help="JSON, for scripts.")
@click.option("--schema", is_flag=True, help="Print the JSON schema of seism.toml, for editors.")
def check(file: Path, as_json: bool, schema: bool) -> None:
    """Check FILE (default: seism.toml) and say what it would do. Nothing is started.

    FILE is a seism.toml, or Toxiproxy's JSON.

    \b
    Example:
      seism check toxiproxy.json
    """
    import logging

    from seism.experiment.config import load
    from seism.experiment.plan import expected_seconds, make

    if schema:
        from seism.experiment.schema import FILE as shipped

        click.echo(shipped.read_text(encoding="utf-8"), nl=False)
        return
    logging.basicConfig(format="seism: %(message)s")
    experiment = load(file)
    made = make(experiment, experiment.seed) if _runs(experiment) else []
    steps = [step.to_dict() for step in made]
    seconds = expected_seconds(made, experiment.load) if experiment.load else 0.0
    proxies = [
        {**dataclasses.asdict(spec), "toxics": [dataclasses.asdict(toxic) for toxic in toxics]}
        for spec, toxics in experiment.proxies()
    ]
    _warn_of_names(proxies)
    if experiment.front is not None:
        front = {**dataclasses.asdict(experiment.front), "name": FRONT, "enabled": True}
        front["toxics"] = front.pop("toxic")
        front["upstream"] = experiment.in_front()
        del front["app"]
        proxies.append(front)
    if as_json:
        show_json(
            {
                "seed": experiment.seed,
                "proxies": proxies,
                "plan": steps,
                "expected_seconds": round(seconds),
            }
        )
        return
    for proxy in proxies:
        down = "" if proxy["enabled"] else ", disabled"
        _say(f"proxy {proxy['name']}: {proxy['listen']} -> {proxy['upstream']}{down}")
        for toxic in proxy["toxics"]:
            _say(f"  {_toxic(toxic)}")
    if steps:
        _say(f"run, with seed {experiment.seed}:")
    for number, step in enumerate(steps, 1):
        _say(f"  {number}. {step['name']}: {_step(step)}")
    if steps:
        _say(f"  expected time: {_minutes(seconds)}")
    if not proxies:
        click.echo("no proxies")


def _warn_of_names(proxies: list[dict[str, Any]]) -> None:
    """Say which backends have names that do not resolve here and now."""
    from seism.errors import ConfigurationError
    from seism.proxy.endpoint import resolve, resolve_numeric

    for proxy in proxies:
        where = f"proxy {proxy['name']}: upstream"
        if resolve_numeric(proxy["upstream"], where):
            continue
        try:
            resolve(proxy["upstream"], where)
        except ConfigurationError as error:
            click.echo(
                clean(f"seism: warning: {error}; clients are refused until it does"), err=True
            )


def _runs(experiment: Experiment) -> bool:
    """Whether ``seism run`` would have all it needs."""
    return experiment.app is not None and experiment.load is not None


def _toxic(values: dict[str, Any]) -> str:
    """A toxic in words."""
    name = f" {word(values['name'])}" if values.get("name") else ""
    chance = f", toxicity {values['toxicity']:g}" if values["toxicity"] < 1 else ""
    attributes = words(values["attributes"])
    return f"toxic{name}: {values['type']} {attributes}".rstrip() + f", {values['stream']}{chance}"


def _step(values: dict[str, Any]) -> str:
    """A step of the plan in words."""
    least = values.get("lasting") and values.get("at") is None
    more = f", for {values['lasting']:g} s at least" if least else ""
    more += ", while the app is started" if values.get("cold_start") else ""
    if not values["stream"]:
        return f"{values['backend']} down{more}"
    what = _toxic({**values, "name": ""}).removeprefix("toxic: ")
    return f"{what}, on {values['backend']}{more}"


def _minutes(seconds: float) -> str:
    """About how long, with what that rests on."""
    about = f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"
    return f"about {about}, where requests give up on a slow backend after 1 s"


def _say(text: str) -> None:
    click.echo(clean(text))
