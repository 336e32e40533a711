"""The manual as PDF: ``python docs/pdf.py PAGE PDF``, where PAGE is Sphinx' ``singlehtml``.

Sphinx leaves the ids of all pages side by side: two headings of one name are one target, and
links from page to page lead nowhere. Here each id gets its page's name first, and a link that
still leads nowhere is an error.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

# What Sphinx writes where a page begins.
PAGE = re.compile(r'<span id="document-([^"]+)"></span>')
NO_PANGO = "the PDF needs Pango (Debian: apt-get install libpango-1.0-0 libpangoft2-1.0-0)"


def linked(html: str) -> str:
    """``html`` with ids that are unique, and links that lead to them. Raises LookupError."""
    start, *pages = PAGE.split(html)
    parts = [start]
    for name, body in zip(pages[::2], pages[1::2], strict=True):
        body = re.sub(r' id="([^"]+)"', rf' id="{name}:\1"', body)
        body = re.sub(r'href="#(?!document-)([^"]+)"', rf'href="#{name}:\1"', body)
        parts.append(f'<span id="{name}:"></span>{body}')
    made = "".join(parts)
    made = re.sub(r'href="#document-([^"#]+)#?([^"]*)"', r'href="#\1:\2"', made)
    ids = set(re.findall(r' id="([^"]+)"', made))
    for target in re.findall(r'href="#([^"]+)"', made):
        if target not in ids:
            raise LookupError(f"nothing has the id {target}")
    return made


def main(page: Path, pdf: Path) -> None:
    """Write ``pdf`` from ``page``; its headings are the outline."""
    try:
        from weasyprint import HTML
    except OSError:
        sys.exit(NO_PANGO)
    html = linked(page.read_text(encoding="utf-8"))
    made = HTML(string=html, base_url=str(page))
    made.write_pdf(pdf, stylesheets=[str(Path(__file__).with_name("pdf.css"))])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
