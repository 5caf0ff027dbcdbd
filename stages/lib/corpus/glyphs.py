"""Characters of PDFs as a person reads them."""

import re
import unicodedata

# Ligatures (Latin, Armenian) and the presentation forms of Hebrew and Arabic, which stand for plain letters; two of
# the private use area that old fonts draw as fi and fl, and the bullet of Symbol.
_LETTERS = [*range(0xFB00, 0xFB07), *range(0xFB13, 0xFB18), *range(0xFB1D, 0xFDC8), *range(0xFE70, 0xFEFD)]
_READ = {code: unicodedata.normalize("NFKC", chr(code)) for code in _LETTERS if unicodedata.name(chr(code), "")}
_READ |= {0xF001: "fi", 0xF002: "fl", 0xF0B7: "•"}
# What nobody sees: NUL and its kin, the byte order mark, noncharacters, soft hyphens within a line.
_READ |= dict.fromkeys([*range(9), *range(0x0E, 0x20), *range(0x7F, 0x85), *range(0x86, 0xA0)], "")
_READ |= dict.fromkeys([0xAD, 0xFEFF, 0xFFFE, 0xFFFF], "")
_ODD = re.compile("[" + "".join(re.escape(chr(code)) for code in sorted(_READ)) + "]")


def as_read(word: str) -> str:
    """A word of a PDF with its ligatures as letters and without invisible characters.

    A soft hyphen at its end, where the line broke, becomes a hyphen.
    """
    if not _ODD.search(word):
        return word
    broken = word.endswith("\u00ad") and len(word) > 1
    return word.translate(_READ) + ("\u00ad" if broken else "")
