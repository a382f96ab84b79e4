"""Who came from whom: every cell of a field with its mother, daughters, ages and division times, live or afterwards."""

from stream.ancestry.history import ROW, UNKNOWN_S, History, Word
from stream.ancestry.keeper import Ancestry
from stream.ancestry.told import figures, in_time, in_words, told
from stream.ancestry.tree import Life, Tree, grow

__all__ = [
    "ROW", "UNKNOWN_S", "Ancestry", "History", "Life", "Tree", "Word", "figures", "grow", "in_time", "in_words", "told",
]  # fmt: skip
