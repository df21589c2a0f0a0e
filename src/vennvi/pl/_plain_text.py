"""Names are drawn as they are."""

from __future__ import annotations

import matplotlib as mpl

#: Decorator of a figure: a feature called ``a$b$`` is no formula, on which matplotlib would end.
plain_text = mpl.rc_context({"text.parse_math": False})
