"""The user's errors: the command line prints each as one line and exits with 2."""


class UserError(Exception):
    """Something the user can mend. Each line says what is wrong, where, and what to do."""

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


def nearest(name: str, known: "list[str]") -> str:
    """``(did you mean 'x'?)``, or the whole list where nothing is near."""
    from difflib import get_close_matches

    folded = {k.lower(): k for k in known}
    close = get_close_matches(name.lower(), list(folded), n=1, cutoff=0.6)
    if close:
        return f"did you mean '{folded[close[0]]}'?"
    return f"known: {', '.join(known)}"
