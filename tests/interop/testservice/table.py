"""The results as a table: a row for each case, a column for each pair of peers and transport, both loops in a cell."""

from collections import defaultdict

LOOPS = ("asyncio", "trio")
CLOUD = (
    "compute_engine_creds",
    "jwt_token_creds",
    "oauth2_auth_token",
    "per_rpc_creds",
    "google_default_credentials",
    "compute_engine_channel_credentials",
)
"""The cases of the public list that are no rows, because they need credentials of a cloud."""
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Table:
    """Collects the outcome of each cell. A case that was left out without a reason counts as failed."""

    def __init__(self):
        self._cells = {}
        self._reasons = {}

    def add(self, cell, outcome, reason):
        """Note a test; ``cell`` is (case, pair, transport, loop), ``outcome`` pytest's word, ``reason`` may be None."""
        note = self._reasons.setdefault(reason, _LETTERS[len(self._reasons) % 26]) if reason else ""
        mark = {"passed": "✓", "skipped": "–" if note else "✗"}.get(outcome, "✗")
        self._cells[cell] = mark + note if mark != "✗" else mark

    @property
    def failed(self):
        """The cells that neither passed nor were left out for a reason."""
        return [cell for cell, mark in self._cells.items() if mark == "✗"]

    def lines(self):
        """Return the lines of the table, the notes last. Cases with other columns have a part of their own."""
        if not self._cells:
            return []
        parts = defaultdict(list)
        for case in dict.fromkeys(case for case, *_ in self._cells):
            parts[tuple(dict.fromkeys(cell[1:3] for cell in self._cells if cell[0] == case))].append(case)
        width = max(len(case) for case, *_ in self._cells)
        lines = [line for columns, rows in parts.items() for line in self._part(width, columns, rows)]
        passed, left_out, failed = self.counts()
        legend = (
            f"✓ passed ({passed}), – left out ({left_out}), ✗ failed ({failed}); in each cell {' and '.join(LOOPS)}"
        )
        notes = [f"{note}: {reason}" for reason, note in self._reasons.items()]
        return [*lines, legend, *notes, f"not run, for they need credentials of a cloud: {', '.join(CLOUD)}"]

    def _part(self, width, columns, rows):
        widths = [width, *(max(len(pair), 6) for pair, _ in columns)]
        yield _line(["", *(pair for pair, _ in columns)], widths)
        yield _line(["case", *(transport for _, transport in columns)], widths)
        for case in rows:
            yield _line([case, *(self._cell(case, *column) for column in columns)], widths)

    def _cell(self, case, pair, transport):
        marks = [self._cells.get((case, pair, transport, loop), "·") for loop in LOOPS]
        return " ".join(mark.ljust(2) for mark in marks)

    def counts(self):
        """Return how many cells passed, were left out, and failed."""
        found = defaultdict(int)
        for mark in self._cells.values():
            found[mark[0]] += 1
        return found["✓"], found["–"], found["✗"]


def _line(texts, widths):
    return "  ".join(text.ljust(width) for text, width in zip(texts, widths, strict=True)).rstrip()
