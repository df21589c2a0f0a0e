"""Names are drawn as they are."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from matplotlib.artist import Artist
from matplotlib.text import Text

P = ParamSpec("P")
Drawn = TypeVar("Drawn", bound=Artist)

#: What matplotlib itself writes as a formula, where a style asks for it: the numbers beside an axis.
_NUMBER = "$\\mathdefault"


def plain_text(draw: Callable[P, Drawn]) -> Callable[P, Drawn]:
    """Decorate a figure: a feature called ``a$b$`` is no formula, on which matplotlib would end.

    What is on the axes already (the keyword ``ax``) stays as it is.
    """

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Drawn:
        ax = kwargs.get("ax")
        before = {text: text.get_text() for text in _texts(ax)} if isinstance(ax, Artist) else {}
        made = draw(*args, **kwargs)
        for text in _texts(ax if isinstance(ax, Artist) else made):
            said = text.get_text()
            if "$" in said and not said.startswith(_NUMBER) and before.get(text) != said:
                text.set_parse_math(False)
        return made

    return drawn


def _texts(artist: Artist) -> list[Text]:
    return artist.findobj(Text)
