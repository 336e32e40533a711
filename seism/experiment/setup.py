"""The commands of ``[setup]``: they run before the app starts and after everything has ended."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from seism.errors import NotReady
from seism.experiment.config import App, Experiment, fill, placeholders
from seism.experiment.request import Setup
from seism.experiment.supervisor import Supervisor

LOG = "setup.log"
"""In the folder of the reports: what the commands write."""
_CHILD = "setup"


@dataclass(slots=True)
class Commands:
    """Shell commands, which expand the environment's variables by themselves."""

    setup: Setup
    children: Supervisor
    log: Path
    cwd: Path
    env: Mapping[str, str]
    where: str
    begun: bool = False
    """Whether ``before`` was called, and ``after`` was not."""

    def before(self) -> None:
        """Raises NotReady at the first that fails."""
        self.begun = True
        for command in self.setup.before:
            problem = self._problem(command)
            if problem:
                raise NotReady(f"{self.where}: setup.before: {problem}")

    def after(self) -> Iterator[str]:
        """Run them all once; yields why one failed."""
        if not self.begun:
            return
        self.begun = False
        for command in self.setup.after:
            problem = self._problem(command)
            if problem:
                yield f"{self.where}: setup.after: {problem}"

    def _problem(self, command: str) -> str:
        child = self.children.spawn(
            _CHILD, ["/bin/sh", "-c", command], cwd=self.cwd, env=self.env, log=self.log
        )
        try:
            code = child.process.wait(self.setup.seconds)
        except subprocess.TimeoutExpired:
            self.children.terminate(_CHILD)
            return f"`{command}` did not end within {self.setup.seconds:g} s"
        self.children.terminate(_CHILD)
        return f"`{command}` ended with exit code {code} (its output: {self.log})" if code else ""


def direct_environment(
    experiment: Experiment, app: App, environ: Mapping[str, str], where: str
) -> dict[str, str]:
    """The app's environment with the addresses of the backends themselves."""
    values = {"port": "0"}
    for backend in experiment.backend:
        values |= placeholders(backend.name, backend.upstream)
    own = {key: fill(text, values, f"{where}: app.env") for key, text in app.env.items()}
    env = {**os.environ, **environ, **own}
    beside = os.path.dirname(sys.executable)
    return {**env, "PATH": os.pathsep.join(filter(None, (beside, env.get("PATH"))))}
