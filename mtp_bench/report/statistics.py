"""Student's t without scipy, for confidence intervals over a handful of seeds."""

from __future__ import annotations

_T_975 = (12.706205, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912, 2.364624, 2.306004, 2.262157)
"""Of 1 to 9 degrees of freedom; beyond, the expansion below is right to four decimals."""
_Z = 1.9599639845


def t_975(freedom: int) -> float:
    """The 97.5 % quantile: ``mean ± t * std / sqrt(n)`` is a 95 % interval, t of ``n - 1``."""
    if freedom < 1:
        raise ValueError("a spread needs two values or more")
    if freedom <= len(_T_975):
        return _T_975[freedom - 1]
    # Cornish-Fisher in 1 / freedom (Abramowitz and Stegun 26.7.5).
    z = _Z
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / float(freedom) ** power for power, term in enumerate(terms, 1))
