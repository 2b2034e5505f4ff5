"""axe-core, run in a page: what of it people with assistive technology would stumble over."""

from functools import cache
from pathlib import Path

import axe_playwright_python

_RUN = """async () => {
  const { violations } = await axe.run(document, { resultTypes: ["violations"] });
  const bad = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
  const told = ({ html, any }) => `${html.slice(0, 120)} ${any.map((each) => each.message).join(" ")}`;
  return bad.map(({ id, help, nodes }) => `${id} (${help}): ${nodes.map(told).slice(0, 3).join(" | ")}`);
}"""


@cache
def _script() -> str:
    return (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()


def serious(page) -> list[str]:
    """What is serious or critical on the page as it is now. Evaluated: our policy lets no script tag in."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(_script())
    return page.evaluate(_RUN)
