"""GPT-2's BPE over arrays: the pattern's pieces by comparing neighbours, most pieces' ids by one look into a table.

tiktoken is what decides the ids; this finds the same ones two to three times as fast. Nine of ten pieces of English
text are tokens themselves, and only the rest is handed to tiktoken, each piece once. Texts with rare characters, or
with many that are not ASCII, are left to tiktoken as a whole.

GPT-2's pattern is '(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+$|\\s+(?!\\S)|\\s:
runs of one class (letters, numbers, white space, others), where a run takes the one space before it, and a longer
run of white space gives up its last character.
"""

import unicodedata

import numpy as np
import numpy.typing as npt
import tiktoken

_LETTER, _NUMBER, _OTHER, _SPACE, _UNKNOWN = range(5)
_CODES = 0x3000  # code points that the table of classes covers: alphabets and punctuation, no ideographs
_WHITE_SPACE = (*range(9, 14), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F)
_WORD = 8  # bytes in a word of a key
_LONGEST = 2 * _WORD  # bytes of a token in the table
_SLOTS = 1 << 18  # of the table, 5 times as many as tokens
_MULTIPLIERS = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F))  # xxHash's
_SHIFT = np.uint64(64 - 18)
_MEMO_PIECES = 1 << 17  # pieces of several tokens that are remembered, about 20 MB
_MASKS = np.array([(1 << 8 * n) - 1 for n in range(_WORD + 1)], dtype=np.uint64)  # of the first n bytes

Array = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]


class Pieces(dict[str, bytes]):
    """The ids of pieces as uint16 bytes: remembered, or asked of tiktoken."""

    def __init__(self, encoding: tiktoken.Encoding) -> None:
        super().__init__()
        self._encoding = encoding

    def __missing__(self, piece: str) -> bytes:
        ids = np.array(self._encoding.encode_ordinary(piece), dtype="<u2").tobytes()
        if len(piece) <= 4 * _LONGEST:
            if len(self) >= _MEMO_PIECES:
                self.clear()
            self[piece] = ids
        return ids


class BPETable:
    """The tokens of up to 16 ASCII bytes in a hash table, for a tiktoken encoding with GPT-2's pattern.

    A token whose slot is taken by one of a lower id, which is a more frequent one, is not in the table; it is found
    as pieces of several tokens are.
    """

    def __init__(self, encoding: tiktoken.Encoding) -> None:
        self._classes = _character_classes()
        self._pieces = Pieces(encoding)
        tokens = [encoding.decode_single_token_bytes(token) for token in range(encoding.eot_token)]
        short = [
            i for i, token in enumerate(tokens) if len(token) <= _LONGEST and token.isascii() and b"\0" not in token
        ]
        spelled = np.array([tokens[i] for i in short], dtype=f"S{_LONGEST}")
        keys = spelled.view("<u8").reshape(-1, 2).astype(np.uint64)
        slots = _slots(keys[:, 0], keys[:, 1])[::-1]
        self._low, self._high = np.zeros(_SLOTS, dtype=np.uint64), np.zeros(_SLOTS, dtype=np.uint64)
        self._ids = np.zeros(_SLOTS, dtype=np.uint16)
        self._low[slots], self._high[slots] = keys[::-1, 0], keys[::-1, 1]  # the last one put in stays: the lowest id
        self._ids[slots] = short[::-1]

    def encode(self, text: str) -> npt.NDArray[np.uint16] | None:
        """The ids of a text, (T,), or None when tiktoken had better do it."""
        codes = np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
        if not len(codes) or np.count_nonzero(codes >= 128) > len(codes) // 16 or codes.max() >= _CODES:
            return None
        classes = self._classes[codes]
        if classes.max() == _UNKNOWN:
            return None
        starts = piece_starts(codes, classes)
        lengths = np.diff(starts, append=len(codes))
        ids, known = self._look_up(codes, starts, lengths)
        others = np.flatnonzero(~known)
        begins, ends = starts[others].tolist(), (starts + lengths)[others].tolist()
        pieces = self._pieces
        found = [pieces[text[begin:end]] for begin, end in zip(begins, ends, strict=True)]
        counts = np.ones(len(starts), dtype=np.int64)
        counts[others] = [len(piece) // 2 for piece in found]
        single = np.repeat(known, counts)
        out = np.empty(len(single), dtype=np.uint16)
        out[single] = ids[known]
        out[~single] = np.frombuffer(b"".join(found), dtype="<u2")
        return out

    def _look_up(
        self, codes: npt.NDArray[np.uint32], starts: Array, lengths: Array
    ) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.bool_]]:
        """The ids of the pieces, (pieces,), and which of them were found in the table."""
        padded = np.zeros(len(codes) + _LONGEST, dtype=np.uint8)
        np.minimum(codes, 255, out=padded[: len(codes)], casting="unsafe")  # over 127: not in any key of the table
        words = np.ndarray((len(codes) + _WORD + 1,), dtype="<u8", buffer=padded.data, strides=(1,)).copy()
        low = words.take(starts) & _MASKS.take(np.minimum(lengths, _WORD))
        high = words.take(starts + _WORD) & _MASKS.take(np.clip(lengths - _WORD, 0, _WORD))
        slots = _slots(low, high)
        found = (self._low.take(slots) == low) & (self._high.take(slots) == high) & (lengths <= _LONGEST)
        return self._ids.take(slots), found


def piece_starts(codes: npt.NDArray[np.uint32], classes: npt.NDArray[np.uint8]) -> Array:
    """Where the pattern's pieces start, (pieces,), in a text of at least one character."""
    white = classes == _SPACE
    start = np.empty(len(codes), dtype=np.bool_)
    start[0] = True
    # A run starts a piece, unless it takes the space before it.
    np.not_equal(classes[1:], classes[:-1], out=start[1:])
    start[1:] &= white[1:] | (codes[:-1] != 0x20)
    # The last character of white space starts one: the next run takes it, or it stands alone.
    start[:-1] |= white[:-1] & ~white[1:]
    _split_contractions(codes, classes, start)
    return np.flatnonzero(start)


def _split_contractions(
    codes: npt.NDArray[np.uint32], classes: npt.NDArray[np.uint8], start: npt.NDArray[np.bool_]
) -> None:
    """'s 'd 'm 't 'll 've 're at the start of a piece are pieces; what follows starts a new one."""
    apostrophes = np.flatnonzero(start & (codes == ord("'")))
    if not len(apostrophes):
        return
    padded = np.append(codes, np.zeros(2, dtype=codes.dtype))
    first, second = padded[apostrophes + 1], padded[apostrophes + 2]
    one = np.isin(first, [ord(letter) for letter in "sdmt"])
    two = np.zeros_like(one)
    for letters in ("ll", "ve", "re"):
        two |= (first == ord(letters[0])) & (second == ord(letters[1]))
    start[apostrophes[one | two] + 1] = False
    ends = np.concatenate([apostrophes[one] + 2, apostrophes[two] + 3])
    start[ends[ends < len(start)]] = True


def _slots(low: Words, high: Words) -> Array:
    hashed = low * _MULTIPLIERS[0] ^ high * _MULTIPLIERS[1]
    hashed ^= hashed >> np.uint64(29)
    return ((hashed * _MULTIPLIERS[0]) >> _SHIFT).astype(np.int64)


def _character_classes() -> npt.NDArray[np.uint8]:
    """The class of each code point, (_CODES,); unknown unless all versions of Unicode since 3.2 agree on it."""
    classes = np.full(_CODES, _UNKNOWN, dtype=np.uint8)
    for code in range(_CODES):
        category = unicodedata.category(chr(code))
        if category not in ("Cn", "Cs") and unicodedata.ucd_3_2_0.category(chr(code)) == category:
            classes[code] = {"L": _LETTER, "N": _NUMBER}.get(category[0], _OTHER)
    classes[list(_WHITE_SPACE)] = _SPACE
    classes[0] = _UNKNOWN  # keys are filled up with it
    return classes
