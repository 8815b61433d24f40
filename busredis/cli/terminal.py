"""Text from outside on its way to a terminal: it can neither steer it nor pose as a line of ours."""


def printable(text: str, *, indent: int = 4) -> str:
    """`text` with control and direction characters escaped; lines after the first are indented."""
    shown = "".join(sign if sign.isprintable() or sign in "\n\t" else _escaped(sign) for sign in text)
    return shown.replace("\n", "\n" + " " * indent)


def _escaped(sign: str) -> str:
    return sign.encode("unicode_escape").decode()
