"""A page of HTML: its style, and elements whose text is escaped."""

from __future__ import annotations

import html
import json
from typing import Any

STYLE = """
body { margin: 0 auto; padding: 1.6rem 1.2rem 4rem; max-width: 76rem; background: #fff; color: #1b1b1b;
  font: 16px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .5rem } h3 { font-size: 1rem; margin: 1.4rem 0 .3rem }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; padding-top: .7rem; border-top: 1px solid #ddd; break-after: avoid }
p, ul { max-width: 46rem; margin: .4rem 0 .8rem } .lead { font-size: 1.15rem } * { box-sizing: border-box }
a, summary { color: #0059a0 } summary { cursor: pointer; padding: .5rem 0 }
nav { margin: 1rem 0; line-height: 1.9 } nav a { margin-right: 1.3em; white-space: nowrap }
.note, .faint, figcaption { color: #595959; font-size: .88rem } .good { color: #00694c; font-weight: 600 }
.warn { border-left: 4px solid #d55e00; background: #fdf1e9; padding: .5rem .9rem; margin: .6rem 0 }
.field { display: inline-block; margin-right: .75em; text-indent: 0; overflow-wrap: break-word }
table { width: 100%; border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums }
th { text-align: left; font-size: .82rem; color: #595959 } tr { break-inside: avoid }
th, td { padding: .28rem 1.1rem .28rem 0; border-bottom: 1px solid #eee; vertical-align: top }
.n { text-align: right; white-space: nowrap } .ends { display: inline-block; min-width: 10em; margin-left: .9em }
.whisker { position: relative; display: block; min-width: 9rem; height: 1.4rem; print-color-adjust: exact;
  background: linear-gradient(#e4e4e4, #e4e4e4) center / 100% 1px no-repeat } .whisker * { position: absolute }
.whisker i { top: calc(50% - 1.5px); height: 3px; min-width: 1px; background: #0072b2 }
.whisker b { top: calc(50% - 3.5px); width: 7px; height: 7px; margin-left: -3px; border-radius: 4px; background: #024 }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(22rem, 100%), 1fr)); gap: 1.2rem 1.8rem }
.beside { display: flex; flex-wrap: wrap; gap: .5rem 2rem } .beside figure { flex: 0 1 42rem }
figure { margin: .4rem 0; max-width: 42rem; break-inside: avoid } img { display: block; width: 100%; height: auto }
ol { list-style: none; padding: 0; margin: .6rem 0; font-size: .92rem } .beside ol { flex: 1 1 9rem }
ol li { padding: .12rem 0 .12rem 2.8rem; text-indent: -2.8rem } svg { width: 2.2rem; height: .7em; margin-right: .6rem }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(19rem, 100%), 1fr)); gap: 0 2rem; margin: 0 }
dl div { display: flex; justify-content: space-between; gap: 1rem; border-bottom: 1px solid #eee; padding: .2rem 0 }
dt { color: #595959 } dt, dd { font-size: .92rem } dd { margin: 0; text-align: right; overflow-wrap: anywhere }
pre { background: #f5f5f5; padding: .7rem .9rem; white-space: pre-wrap; overflow-wrap: anywhere; user-select: all }
@media (max-width: 44rem) { body { padding: 1rem .8rem 3rem; font-size: 15px }
  .wide, th:last-child { display: none } .ends { display: block; margin: 0 } table, tbody { display: block }
  tr { display: grid; grid-template-columns: 2rem 1fr auto; border-bottom: 1px solid #eee; padding: .2rem 0 }
  th, td { border: 0; padding: .1rem .6rem .1rem 0 } td:last-child { grid-column: 2 / -1 } }
@media print { html { font-size: 11px } body { max-width: none; padding: 0; font-size: 1rem } nav { display: none } }
"""


OPEN = 20  # lines of a list or table that are visible at first


class Html(str):
    """Markup. All other text is escaped where it is put into an element."""


def tag(name: str, *children: object, **attributes: object) -> Html:
    """Makes an element. Children and attributes that are None are left out; the attribute `class` is written `cls`."""
    named = {"class" if key == "cls" else key: value for key, value in attributes.items() if value is not None}
    written = "".join(f' {key}="{html.escape(str(value))}"' for key, value in named.items())
    return Html(f"<{name}{written}>{join(*children)}</{name}>")


def join(*parts: object) -> Html:
    """Joins parts, and escapes those that are not markup; None is left out."""
    return Html("".join(p if isinstance(p, Html) else html.escape(str(p)) for p in parts if p is not None))


def figure(address: str, alt: str, caption: str | None = None) -> Html:
    """Makes an image, with a text for those who cannot see it and a caption below it."""
    image = Html(f'<img src="{address}" alt="{html.escape(alt)}">')
    return tag("figure", image, caption and tag("figcaption", caption))


def folded(name: str, lines: list[Html], head: Html | None = None) -> Html:
    """Makes a list or a table whose first lines are visible, and the rest when it is unfolded."""
    rest = tag("details", tag("summary", f"The other {len(lines) - OPEN}"), tag(name, head, *lines[OPEN:]))
    return join(tag(name, head, *lines[:OPEN]), rest if len(lines) > OPEN else None)


def pairs(content: dict[str, Any]) -> Html:
    """Makes a list of names and values; empty values are left out."""
    known = [(name, value) for name, value in content.items() if value not in (None, "", {})]
    texts = [(name, value if isinstance(value, str) else json.dumps(value)) for name, value in known]
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", text)) for name, text in texts))


def count(number: int, noun: str) -> str:
    """Writes a number with its noun: `1 row`, `2 rows`."""
    return f"{number} {noun}{'s' * (number != 1)}"


def listed(words: list[str]) -> str:
    """Writes words as a list: `a, b and c`."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
