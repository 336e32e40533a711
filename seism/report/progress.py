"""What is going on while an experiment runs."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.text import Text

from seism.report.text import clean


class Progress:
    """A live line on a terminal, a line per phase where there is none, nothing if ``quiet``.

    A context manager; the live line is gone after it, so that the report stands alone.
    The methods do nothing outside it, and may be called from any thread.
    """

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self._console = console
        self._quiet = quiet
        self._bar: Bar | None = None
        self._entered = False
        self._last = ""

    def __enter__(self) -> Progress:
        self._entered = True
        if self._console.is_terminal and not self._quiet:
            self._bar = Bar(
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=20),
                TextColumn("{task.fields[figures]}", markup=False),
                TimeElapsedColumn(),
                console=self._console,
                transient=True,
            )
            self._task = self._bar.add_task("", total=None, figures="")
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._entered = False
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def phase(self, text: str) -> None:
        """A new phase begins, of which no length is known yet: ``starting the app``."""
        self._say(clean(text, 120))

    def step(self, index: int, total: int, name: str, phase: str) -> None:
        """Perturbation ``index`` (from 1) of ``total`` is in ``phase``: during, after."""
        self._say(f"{index}/{total} {clean(name, 60)}: {clean(phase, 40)}")

    def advance(self, done: int, of: int) -> None:
        """``done`` of the ``of`` requests of the current phase have been answered."""
        if self._bar is not None:
            figures = f"{done:,}/{of:,} requests"
            self._bar.update(self._task, completed=done, total=of, figures=figures)

    def note(self, text: str) -> None:
        """A line that stays."""
        if self._entered and not self._quiet:
            self._console.print(Text(clean(text)), highlight=False)

    def _say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.update(self._task, description=text, completed=0, total=None, figures="")
        elif self._entered and not self._quiet and text != self._last:
            self._console.print(Text(text), highlight=False)
        self._last = text
