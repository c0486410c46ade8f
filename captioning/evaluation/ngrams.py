"""N-grams of tokenised captions, and in how many images each of them occurs.

Source: R. Vedantam, C. L. Zitnick, D. Parikh, "CIDEr: Consensus-based Image Description
Evaluation", CVPR 2015, section 4 (a document is an image: an n-gram counts once per image, however
often its captions repeat it).
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path

from vocabulary import SPECIAL_WORDS, UNK_IDX

UNK_WORD = SPECIAL_WORDS[UNK_IDX]
MAX_ORDER = 4  # every metric here looks at runs of one to four words

# A token is a word or a word id; an n-gram is a tuple of tokens, of length one for a single word.
Token = Hashable
NgramCounts = list[Counter]


def count_ngrams(tokens: Sequence[Token], max_order: int = MAX_ORDER) -> NgramCounts:
    """How often each n-gram occurs in one caption.

    Args:
        tokens (Sequence[Token]): words or word ids of one caption.
        max_order (int): longest n-gram counted, >= 1.

    Returns:
        list[Counter]: entry n-1 maps n-grams (tuples of n tokens) to counts.
    """
    return [
        Counter(zip(*(tokens[start:] for start in range(order)), strict=False))
        for order in range(1, max_order + 1)
    ]


class DocumentFrequency:
    """In how many images each n-gram occurs; the frequencies behind CIDEr's weights.

    N-grams of a single image are not stored: CIDEr treats an unseen n-gram as if one image had it,
    so leaving them out changes no score and keeps a training set's table small. Looking an n-gram
    up never stores it.

    Args:
        counts (Mapping[tuple, int]): n-gram to number of images.
        num_documents (int): number of images counted, >= 1.
        end_token (Token | None): the token that was put behind every caption before counting, and
            that a scorer has to put behind what it scores; None for none.
        words (frozenset[str] | None): the vocabulary that was counted with; `known` turns words
            outside it into `<unk>`. None for all words.

    Raises:
        ValueError: `num_documents` is below 1, or an n-gram is said to occur in more images than
            there are.
    """

    def __init__(
        self,
        counts: Mapping[tuple, int],
        num_documents: int,
        end_token: Token | None = None,
        words: frozenset[str] | None = None,
    ) -> None:
        if num_documents < 1:
            raise ValueError(f"num_documents: {num_documents} received, 1 or more expected")
        if max(counts.values(), default=0) > num_documents:
            raise ValueError(
                f"counts: an n-gram in {max(counts.values())} images received, at most "
                f"num_documents = {num_documents} expected"
            )
        self.counts = {ngram: count for ngram, count in counts.items() if count > 1}
        self.num_documents = num_documents
        self.end_token, self.words = end_token, words
        self._unseen_idf = math.log(num_documents)
        self._idf = {ngram: self._unseen_idf - math.log(n) for ngram, n in self.counts.items()}

    @classmethod
    def from_references(
        cls,
        references: Mapping[Hashable, Sequence[Sequence[Token]]],
        end_token: Token | None = None,
    ) -> DocumentFrequency:
        """Count the captions of a set of images.

        Args:
            references (Mapping): image id to its tokenised captions.
            end_token (Token | None): counted behind every caption when given.

        Raises:
            ValueError: there are no images.
        """
        end = [] if end_token is None else [end_token]
        return cls.from_ngrams(
            (
                [count_ngrams([*caption, *end]) for caption in captions]
                for captions in references.values()
            ),
            end_token,
        )

    @classmethod
    def from_ngrams(
        cls, images: Iterable[Sequence[NgramCounts]], end_token: Token | None = None
    ) -> DocumentFrequency:
        """The same from n-grams that are counted already (with the end token, if one is named).

        Args:
            images (Iterable): for each image, `count_ngrams` of each of its captions.
            end_token (Token | None): see the class.
        """
        counts: Counter = Counter()
        num_documents = 0
        for captions in images:
            counts.update({ngram for caption in captions for order in caption for ngram in order})
            num_documents += 1
        if num_documents == 0:
            raise ValueError("references: no images received, at least one expected")
        return cls(counts, num_documents, end_token)

    def known(self, caption: Sequence[Token]) -> Sequence[Token]:
        """A caption as it was counted: words outside the vocabulary become `<unk>`."""
        if self.words is None:
            return caption
        return [word if word in self.words else UNK_WORD for word in caption]

    def idf(self, ngram: tuple) -> float:
        """Inverse document frequency, log(images / images with the n-gram); unseen counts as 1."""
        return self._idf.get(ngram, self._unseen_idf)

    def weigh(self, counts: Mapping[tuple, int]) -> dict[tuple, float]:
        """The tf-idf weight of each n-gram of a caption: its count times its `idf`."""
        idf, unseen = self._idf.get, self._unseen_idf
        return {ngram: count * idf(ngram, unseen) for ngram, count in counts.items()}

    def save(self, path: str | Path) -> None:
        """Write the table as JSON. Keys are n-grams joined by spaces, so words may not contain any.

        Raises:
            ValueError: words and ids are mixed, or a word is empty or contains white space.
        """
        tokens = {token for ngram in self.counts for token in ngram} - {self.end_token}
        numbers = bool(tokens) and all(isinstance(token, int) for token in tokens)
        for token in tokens:
            if not numbers and (not isinstance(token, str) or token.split() != [token]):
                raise ValueError(f"counts: {token!r} received, words without white space expected")
        record = {
            "num_documents": self.num_documents,
            "end_token": self.end_token,
            "tokens": "ids" if numbers else "words",
            "counts": {" ".join(map(str, ngram)): n for ngram, n in self.counts.items()},
        }
        Path(path).write_text(json.dumps(record, ensure_ascii=False), "utf-8")

    @classmethod
    def load(cls, path: str | Path) -> DocumentFrequency:
        """Read a table written by `save`.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file holds something else; the message names it.
        """
        try:
            record = json.loads(Path(path).read_text("utf-8"))
            convert = int if record["tokens"] == "ids" else str
            counts = {tuple(map(convert, k.split())): int(n) for k, n in record["counts"].items()}
            return cls(counts, int(record["num_documents"]), record["end_token"])
        except FileNotFoundError as error:
            raise FileNotFoundError(f"document_frequency: {path} does not exist") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"document_frequency: {path} is not a table of document frequencies "
                f"({type(error).__name__}: {error})"
            ) from error
