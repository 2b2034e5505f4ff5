"""The Markdown of our own pages as HTML: headings, paragraphs, lists, code, tables, links. Pure; all text is escaped.

Not for what others write: it knows what docs/runbooks uses, and nothing else.
"""

import html
import re
from collections.abc import Iterator
from itertools import takewhile

_FENCE = re.compile(r"\s*```")
_ITEM = re.compile(r"(\s*)(?:[-*]|\d+\.)\s+(.*)")
_RULE = re.compile(r"\|[\s:|-]+\|?\s*$")
_INLINE = re.compile(r"`([^`]+)`|\*\*(.+?)\*\*|\*([^*]+)\*|\[([^\]]+)\]\(([^)\s]+)\)")
_PAGE = re.compile(r"[a-z0-9-]+\.md(?:#[\w-]+)?|README\.md(?:#[\w-]+)?")


def render(text: str) -> str:
    """A page without its first heading, which is the page's title."""
    lines = text.splitlines()
    if lines and lines[0].startswith("# "):
        lines = lines[1:]
    return "\n".join(_blocks(lines))


def title(text: str) -> str:
    """The first heading."""
    return next((line[2:].strip() for line in text.splitlines() if line.startswith("# ")), "")


def inline(text: str) -> str:
    """Code, emphasis and links within a line."""
    parts, at = [], 0
    for found in _INLINE.finditer(text):
        parts.append(html.escape(text[at : found.start()]))
        code, strong, weak, label, address = found.groups()
        if code is not None:
            parts.append(f"<code>{html.escape(code)}</code>")
        elif strong is not None:
            parts.append(f"<strong>{inline(strong)}</strong>")
        elif weak is not None:
            parts.append(f"<em>{inline(weak)}</em>")
        elif _PAGE.fullmatch(address):
            parts.append(f'<a href="{html.escape(address)}">{inline(label)}</a>')
        elif address.startswith(("https://", "#")):
            parts.append(f'<a href="{html.escape(address)}" rel="noreferrer">{inline(label)}</a>')
        else:  # a page of the repository that the portal does not show
            parts.append(f"{inline(label)} (<code>{html.escape(address)}</code>)")
        at = found.end()
    return "".join([*parts, html.escape(text[at:])])


def _blocks(lines: list[str]) -> Iterator[str]:
    at = 0
    while at < len(lines):
        line = lines[at]
        if not line.strip():
            at += 1
        elif _FENCE.match(line):
            body = list(takewhile(lambda each: not _FENCE.match(each), lines[at + 1 :]))
            indent = len(line) - len(line.lstrip())
            text = "\n".join(each[indent:] if not each[:indent].strip() else each for each in body)
            yield f'<pre class="pem" tabindex="0"><code>{html.escape(text)}</code></pre>'
            at += len(body) + 2
        elif line.startswith("#"):
            depth = min(len(line) - len(line.lstrip("#")), 4)
            yield f"<h{depth}>{inline(line.lstrip('#').strip())}</h{depth}>"
            at += 1
        elif line.startswith("|"):
            rows = list(takewhile(lambda each: each.startswith("|"), lines[at:]))
            yield _table(rows)
            at += len(rows)
        elif _ITEM.match(line):
            count, text = _list(lines[at:])
            yield text
            at += count
        else:
            body = list(takewhile(_is_text, lines[at:])) or [line]
            yield f"<p>{inline(' '.join(each.strip() for each in body))}</p>"
            at += len(body)


def _is_text(line: str) -> bool:
    return bool(line.strip()) and not line.startswith(("#", "|")) and not _FENCE.match(line) and not _ITEM.match(line)


def _cells(row: str) -> list[str]:
    return [each.strip() for each in re.split(r"(?<!\\)\|", row.strip().strip("|"))]


def _table(rows: list[str]) -> str:
    ruled = len(rows) > 1 and bool(_RULE.match(rows[1]))
    head, body = (rows[:1], rows[2:]) if ruled else ([], rows)
    parts = ['<div class="results" tabindex="0" role="region" aria-label="Table"><table class="panel-table">']
    heads = ["".join(f'<th scope="col">{inline(each)}</th>' for each in _cells(row)) for row in head]
    parts += [f"<thead><tr>{cells}</tr></thead>" for cells in heads]
    parts.append("<tbody>")
    parts += [_row(row) for row in body]
    return "".join([*parts, "</tbody></table></div>"])


def _row(row: str) -> str:
    """A line whose first cell is one word of code can be linked to by it."""
    first, *rest = _cells(row)
    named = re.fullmatch(r"`([a-z0-9_]+)`", first)
    mark = f' id="{named[1]}"' if named else ""
    cells = "".join(f"<td>{inline(each)}</td>" for each in rest)
    return f'<tr{mark}><th scope="row">{inline(first)}</th>{cells}</tr>'


def _list(lines: list[str]) -> tuple[int, str]:
    """How many lines it takes, and the list: an item goes on while lines are indented."""
    first = _ITEM.match(lines[0])
    depth = len(first[1]) if first else 0
    kind = "ol" if lines[0].lstrip()[:1].isdigit() else "ul"
    items: list[list[str]] = []
    at = 0
    while at < len(lines):
        found = _ITEM.match(lines[at])
        if found and len(found[1]) == depth:
            items.append([found[2]])
        elif items and (lines[at].startswith(" " * (depth + 2)) or not lines[at].strip()):
            items[-1].append(lines[at])
        else:
            break
        at += 1
    told = "".join(f"<li>{_item(each, depth)}</li>" for each in items)
    return at, f"<{kind}>{told}</{kind}>"


def _item(lines: list[str], depth: int) -> str:
    text = list(takewhile(_is_text, lines))
    rest = lines[len(text) :]
    inner = "\n".join(_blocks([each[min(depth + 2, len(each) - len(each.lstrip())) :] for each in rest]))
    return inline(" ".join(each.strip() for each in text)) + inner
