"""The code of docs/aggregates.md runs as it stands there."""

import re
from pathlib import Path

GUIDE = Path(__file__).parents[2] / "docs" / "aggregates.md"


def test_the_code_of_the_guide_runs(server, namespace, inspect, monkeypatch):
    monkeypatch.setenv("BUSREDIS_NAMESPACE", namespace)
    text = GUIDE.read_text()
    blocks = list(re.finditer(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))
    names = {"__name__": "aggregates_guide", "url": server.url}

    for block in blocks:
        lines_before = text.count("\n", 0, block.start(1))
        exec(compile("\n" * lines_before + block[1], str(GUIDE), "exec"), names)

    assert len(blocks) == text.count("```python")
    assert inspect.exists(f"{{{namespace}}}:stream:SeatBooked")
