"""The runner of the long proofs, with commands that are real and short."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.proof import run
from tests.proof.run import PAGE, Proof, load, page, registry, run_all, run_part, selected


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with a commit; what the runner writes is outside of it."""
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q")
    change(folder, "one")
    return folder


def git(folder: Path, *words: str) -> None:
    me = ("-c", "user.name=tests", "-c", "user.email=tests@example.org")
    subprocess.run(["git", *me, *words], cwd=folder, check=True, timeout=60)


def change(folder: Path, text: str) -> None:
    (folder / "file").write_text(text)
    git(folder, "add", "file")
    git(folder, "commit", "-qm", text)


def proof(name: str, command: str, minutes: float = 1, part: str = "") -> Proof:
    return Proof(name, f"{name} works", command, minutes, part, 2 if part else 0)


def appending(folder: Path, name: str, code: int = 0) -> str:
    return f"echo {name}-$SEED >> '{folder.parent}/ran'; exit {code}"


def ran(folder: Path) -> list[str]:
    """What the commands have written since the last call."""
    file = folder.parent / "ran"
    lines = file.read_text().split() if file.exists() else []
    file.unlink(missing_ok=True)
    return lines


def everything(folder: Path, *proofs: Proof, again: bool = False) -> int:
    state = folder.parent / "build" / "proof.json"
    return run_all(proofs, folder, state, folder.parent / "proof.md", 7, again)


def test_a_proof_that_passed_is_not_run_again(repository: Path) -> None:
    proofs = [proof(name, appending(repository, name)) for name in ("a", "b")]
    assert everything(repository, *proofs) == 0
    assert ran(repository) == ["a-7", "b-7"]
    assert everything(repository, *proofs) == 0
    assert ran(repository) == []
    assert everything(repository, *proofs, again=True) == 0
    assert ran(repository) == ["a-7", "b-7"]


def test_what_failed_is_run_again(repository: Path) -> None:
    good = proof("good", appending(repository, "good"))
    assert everything(repository, good, proof("bad", appending(repository, "bad", 3))) == 1
    assert ran(repository) == ["good-7", "bad-7"]
    # The command is another one now, and only it runs.
    assert everything(repository, good, proof("bad", appending(repository, "mended"))) == 0
    assert ran(repository) == ["mended-7"]


def test_another_commit_is_proved_anew(repository: Path) -> None:
    one = proof("one", appending(repository, "one"))
    assert everything(repository, one) == 0
    change(repository, "two")
    assert everything(repository, one) == 0
    assert ran(repository) == ["one-7", "one-7"]
    (repository / "file").write_text("a change without a commit")
    assert everything(repository, one) == 0
    assert ran(repository) == ["one-7"]


def test_an_interrupted_run_goes_on_where_it_stopped(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proofs = [proof(name, appending(repository, name)) for name in ("a", "b")]
    really = run.run

    def interrupted(command: str, minutes: float, seed: int, folder: Path) -> run.Result:
        if "b-" in command:
            raise KeyboardInterrupt
        return really(command, minutes, seed, folder)

    with monkeypatch.context() as patched:
        patched.setattr(run, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            everything(repository, *proofs)
    assert everything(repository, *proofs) == 0
    assert ran(repository) == ["a-7", "b-7"]


def test_what_takes_too_long_is_killed_with_its_children(repository: Path) -> None:
    endless = f"sleep 600 & echo $! > '{repository.parent}/pid'; wait"
    assert everything(repository, proof("endless", endless, 0.02)) == 1
    page = (repository.parent / "proof.md").read_text()
    assert "| timed out |" in page
    pid = (repository.parent / "pid").read_text().strip()
    status = Path("/proc") / pid / "status"
    assert not status.exists() or "State:\tZ" in status.read_text()


def test_the_page_is_made_of_what_ran(repository: Path) -> None:
    proofs = [proof("good", "true"), proof("bad", "exit 3")]
    assert everything(repository, *proofs) == 1
    state = load(repository.parent / "build" / "proof.json")
    text = (repository.parent / "proof.md").read_text()
    assert text == page(proofs, state)
    good, bad = state["good"], state["bad"]
    assert (
        f"| good | good works | passed | {good.when} | {good.minutes:g} | {good.commit} |" in text
    )
    assert f"| failed (exit code 3) | {bad.when} |" in text
    assert good.machine in text
    later = page([*proofs, proof("new", "true")], state)
    assert "| new | new works | not run yet |" in later


def test_the_seed_is_in_the_command_that_the_page_shows(repository: Path) -> None:
    assert everything(repository, proof("seeded", "test $SEED = 7")) == 0
    assert "`test 7 = 7`" in (repository.parent / "proof.md").read_text()


def test_a_part_is_the_same_for_the_same_seed(repository: Path) -> None:
    proofs = [proof(name, "false", part=appending(repository, name)) for name in "abcdef"] + [
        proof("long", "false")
    ]
    once = [one.name for one in selected(proofs, 3, 5)]
    assert once == [one.name for one in selected(proofs, 3, 5)] and len(once) == 2
    assert run_part(proofs, repository, 3, 5) == 0
    assert ran(repository) == [f"{name}-3" for name in once]
    # Over many commits, each has its turn.
    seen = {one.name for seed in range(50) for one in selected(proofs, seed, 5)}
    assert seen == set("abcdef")


def test_a_part_that_fails_names_the_seed(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_part([proof("x", "true", part="exit 1")], repository, 9, 5) == 1
    said = capsys.readouterr().out
    assert "SEED=9 make proof-part" in said and "failed with the seed 9" in said


def test_the_page_has_a_row_for_each_proof() -> None:
    text = PAGE.read_text(encoding="utf-8")
    proofs = text.partition("## Real applications")[0].splitlines()
    rows = [line.split(" | ")[0][2:] for line in proofs if line.startswith("| ")]
    assert rows[1:] == [proof.name for proof in registry()]


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({"name": "soak"}, "duplicate proof 'soak'"),
        ({"hours": 3}, r"unknown keys \['hours'\]"),
        ({"part": "true"}, "part and part_minutes go together"),
    ],
)
def test_a_wrong_entry_is_refused(tmp_path: Path, entry: dict[str, object], why: str) -> None:
    added = {"name": "more", "shows": "it", "command": "true", "minutes": 1, **entry}
    lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in added.items())
    file = tmp_path / "proofs.toml"
    file.write_text(f"{run.REGISTRY.read_text(encoding='utf-8')}\n[[proof]]\n{lines}\n")
    with pytest.raises(ValueError, match=why):
        registry(file)
