"""``timeline.html``: the dashboard of a run that is over, in one file that loads nothing.

The same page and scripts, with the records in it. Its policy allows these scripts and styles by
their hashes, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from seism import options
from seism.dashboard.page import ASSETS, SCRIPTS, STYLES, read
from seism.journal import TOPICS, Entry, Manifest
from seism.verdict.request import Opinion, Opinions
from seism.verdict.result import Judgement
from seism.verdict.rules import Rules
from seism.verdict.weakness import weaknesses
from seism_middleware.wire import to_dict

_SHOWN = frozenset().union(*TOPICS.values())
_LINK = re.compile(r' *<link rel="stylesheet"[^>]*>\n| *<link rel="icon"[^>]*>\n')
_SCRIPT = re.compile(r' *<script src="' + ASSETS + r"[^>]*></script>\n")


def render(entries: Iterable[Entry], judgement: Judgement, headline: str = "") -> str:
    """The page of one run. Requests have the verdict's colour where it names them.

    ``headline``: the verdict as one sentence; without one the page makes its own.
    """
    found = {
        case.request: Opinion(case.request, case.colour, case.reason) for case in judgement.cases
    }
    shown = [*_records(entries, found), *_verdict(judgement, headline), *_weaknesses(judgement)]
    records = json.dumps(shown, separators=(",", ":"))
    scripts = [read(name) for name in SCRIPTS]
    styles = [read(name) for name in STYLES]
    policy = (
        f"default-src 'none'; script-src {_hashes(scripts)}; style-src {_hashes(styles)}; "
        "base-uri 'none'; form-action 'none'"
    )
    head = f'<meta http-equiv="Content-Security-Policy" content="{html.escape(policy)}">\n'
    head += "".join(f"<style>{text}</style>\n" for text in styles)
    # As data, which no script can get out of: no tag can be in it.
    body = f'<script type="application/json" id="records">{_harmless(records)}</script>\n'
    body += "".join(f"<script>{text}</script>\n" for text in scripts)
    page = _SCRIPT.sub("", _LINK.sub("", read("index.html")))
    page = page.replace('<meta charset="utf-8">\n', '<meta charset="utf-8">\n' + head, 1)
    return page.replace("</body>", body + "</body>", 1)


def _records(entries: Iterable[Entry], found: Mapping[str, Opinion]) -> Iterator[dict[str, Any]]:
    opinions = Opinions(Rules())
    for entry in entries:
        record = entry.record
        if isinstance(record, Manifest) and record.rules:
            opinions = Opinions(options.build(Rules, record.rules, "the manifest's rules"))
        if record.kind not in _SHOWN:
            continue
        yield to_dict(record)
        for opinion in opinions.of(record):
            yield to_dict(found.get(opinion.request, opinion))


def _verdict(judgement: Judgement, headline: str) -> Iterator[dict[str, Any]]:
    if headline:
        yield {"kind": "verdict", "colour": judgement.colour, "headline": headline}
    for cell in judgement.cells:
        yield {
            "kind": "cell", "route": cell.route, "perturbation": cell.perturbation,
            "colour": cell.colour, "requests": cell.requests, "exact": cell.exact,
            "reasons": cell.reasons[:3], "request": cell.worst.request if cell.worst else "",
        }  # fmt: skip


def _weaknesses(judgement: Judgement) -> Iterator[dict[str, Any]]:
    """Each with its card in ``report.html``, which is beside the page."""
    for each in weaknesses(judgement):
        yield {
            "kind": "weakness",
            "title": each.title,
            "card": f"report.html#weakness-{each.fingerprint}",
            "requests": each.requests,
        }


def _hashes(texts: Iterable[str]) -> str:
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()) for text in texts)
    return " ".join(f"'sha256-{digest.decode()}'" for digest in digests)


def _harmless(text: str) -> str:
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
