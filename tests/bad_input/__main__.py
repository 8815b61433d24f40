"""Writes docs/bad-input.md."""

from tests.bad_input.document import FILE, written

FILE.write_text(written())
