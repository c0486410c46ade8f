"""Tables of results that every viewer of a notebook shows, also where styles are taken away."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

Number = float | int


class Table:
    """Rows and columns as plain HTML (kept by every viewer) and as aligned text.

    Args:
        rows (Mapping[str, Mapping]): row name to its cells by column name; a missing cell is empty.
        corner (str): heading of the row names.
        decimals (int): of numbers with a fraction.
        bold (str): name of the row that is set in bold.
    """

    def __init__(
        self,
        rows: Mapping[str, Mapping[str, Any]],
        corner: str = "",
        decimals: int = 3,
        bold: str = "",
    ) -> None:
        self.columns = list(dict.fromkeys(column for cells in rows.values() for column in cells))
        self.rows, self.corner, self.decimals, self.bold = rows, corner, decimals, bold

    def cell(self, value: Any) -> str:
        """A value as it is shown."""
        if value is None:
            return ""
        if isinstance(value, float):
            return f"{value:.{self.decimals}f}"
        return (
            f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
        )

    def lines(self) -> list[list[str]]:
        """All cells as text, the heading first."""
        body = [
            [name, *(self.cell(cells.get(column)) for column in self.columns)]
            for name, cells in self.rows.items()
        ]
        return [[self.corner, *self.columns], *body]

    def _repr_html_(self) -> str:
        head, *body = self.lines()
        numeric = [False] + [
            all(isinstance(cells.get(c), Number | None) for cells in self.rows.values())
            for c in self.columns
        ]
        sides = ["right" if number else "left" for number in numeric]
        parts = ["<table>", "<thead><tr>"]
        parts += [_cell("th", text, side) for text, side in zip(head, sides, strict=True)]
        parts += ["</tr></thead>", "<tbody>"]
        for line in body:
            strong = line[0] == self.bold
            cells = [_cell("td", text, s, strong) for text, s in zip(line, sides, strict=True)]
            parts.append("<tr>" + "".join(cells) + "</tr>")
        return "\n".join([*parts, "</tbody>", "</table>"])

    def __repr__(self) -> str:
        lines = self.lines()
        widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        return "\n".join(
            "  ".join(
                text.ljust(width) if index == 0 else text.rjust(width)
                for index, (text, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        )


def _cell(tag: str, text: str, side: str, strong: bool = False) -> str:
    text = html.escape(text)
    text = f"<b>{text}</b>" if strong else text
    return f'<{tag} align="{side}" style="text-align: {side}">{text}</{tag}>'
