"""Tables in a Markdown page, between marks that a reader does not see."""

from __future__ import annotations

import re

from headrace_proto.errors import UserError


def replaced(text: str, name: str, table: str) -> str:
    """The page with what stands between `<!-- NAME -->` and `<!-- end of NAME -->` replaced; raises UserError."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    marked = re.compile(f"{re.escape(begin)}\n.*?{re.escape(end)}", re.DOTALL)
    if not marked.search(text):
        raise UserError(f"--page: has no lines {begin} and {end}; add both where the table belongs")
    return marked.sub(lambda _: f"{begin}\n\n{table}\n\n{end}", text, count=1)
