"""Question: how its parts are read, and which of them do not go together."""

import re

import pytest

from dcsearch.errors import Cure, UsageError
from dcsearch.question import (
    Count,
    Question,
    Relation,
    Term,
    parse_count,
    parse_share,
    parse_term,
)

DOG, MAN, CAT = Term("a dog"), Term("a man"), Term("a cat")


@pytest.mark.parametrize(
    ("text", "term"),
    [
        ("a dog", Term("a dog", 1.0)),
        ("2:red bus", Term("red bus", 2.0)),
        (" .5 : red bus ", Term("red bus", 0.5)),
        ("+1.5:a dog", Term("a dog", 1.5)),
        ("10:30 clock", Term("30 clock", 10.0)),
        ("1:10:30 clock", Term("10:30 clock", 1.0)),
        ("two: a dog", Term("two: a dog", 1.0)),
        ("nan:inf:1e3:", Term("nan:inf:1e3:", 1.0)),
        (":2", Term(":2", 1.0)),
    ],
)
def test_a_number_before_the_first_colon_is_a_weight(text: str, term: Term) -> None:
    assert parse_term(text) == term


@pytest.mark.parametrize("text", ["", "  ", "2:", "2: "])
def test_an_empty_phrase_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"^a phrase is empty$") as caught:
        parse_term(text)
    assert caught.value.cure is Cure.ASK


@pytest.mark.parametrize("weight", ["0", "-2", "0.0009", "1001", "9" * 400])
def test_a_weight_that_is_negligible_or_negative_or_enormous_is_refused(weight: str) -> None:
    sentence = r"^'a dog' weighs \S+, and a weight is 0.001 to 1000$"
    with pytest.raises(UsageError, match=sentence) as caught:
        parse_term(f"{weight}:a dog")
    assert caught.value.cure is Cure.EXCLUDE


def test_a_weight_that_is_no_number_is_refused() -> None:
    with pytest.raises(UsageError, match="'a dog' weighs nan"):
        Term("a dog", float("nan"))


@pytest.mark.parametrize(
    ("text", "held"),
    [
        (">=2", {2, 3, 4}),
        (">2", {3, 4}),
        ("=2", {2}),
        ("==2", {2}),
        ("<=2", {1, 2}),
        ("<2", {1}),
        (" >= 0 ", {1, 2, 3, 4}),
    ],
)
def test_a_count_holds_for_the_numbers_that_compare_so_but_never_for_none(
    text: str, held: set[int]
) -> None:
    count = parse_count(text)
    assert {found for found in range(5) if count.holds(found)} == held


@pytest.mark.parametrize("text", ["=0", "==0", "<=0", "<1", "<0"])
def test_a_count_that_only_none_would_meet_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"^a count of .* leaves nothing to search for$") as caught:
        parse_count(text)
    assert caught.value.cure is Cure.EXCLUDE


@pytest.mark.parametrize("text", ["2", "", "=>2", "> two", ">=2.5", ">=-1", "!=2", ">=2 dogs"])
def test_what_is_no_count_is_refused_with_examples(text: str) -> None:
    sentence = f"'{text}' is no comparison with a whole number, such as '>=2' or '=1'"
    with pytest.raises(UsageError, match=f"^{re.escape(sentence)}$") as caught:
        parse_count(text)
    assert caught.value.cure is Cure.WRITE_COUNT


def test_a_refusal_is_one_line_whatever_was_written() -> None:
    with pytest.raises(UsageError) as caught:
        parse_count("two\nor\u2028three")
    assert str(caught.value).startswith("'two\\nor\\u2028three' is no comparison")


def test_a_share_is_a_percentage() -> None:
    assert parse_share("5%") == 0.05
    assert parse_share(" 0.5 % ") == 0.005
    for text in ("5", "0.05", "%", "-5%", "five%", "5%%"):
        with pytest.raises(UsageError, match=f"^'{text}' is no share of the photo such") as caught:
            parse_share(text)
        assert caught.value.cure is Cure.WRITE_AREA


def test_phrases_are_the_terms_then_those_of_relations_then_those_that_must_not_be_there() -> None:
    question = Question(
        terms=(DOG, Term("a bus", 2.0)),
        without=(CAT,),
        relations=(Relation("above", MAN), Relation("left_of", DOG)),
    )
    assert question.phrases == ("a dog", "a bus", "a man", "a dog", "a cat")
    assert question.sought == (DOG, Term("a bus", 2.0), MAN, DOG)


def test_parts_that_contradict_one_another_are_refused_with_a_cure() -> None:
    with pytest.raises(UsageError, match=r"^there is no phrase$") as caught:
        Question(terms=())
    assert caught.value.cure is Cure.ASK
    with pytest.raises(UsageError, match=r"about one phrase, and there are 2$") as caught:
        Question(terms=(DOG, MAN), count=Count(">=", 2))
    assert caught.value.cure is Cure.COUNT_ONE
    with pytest.raises(UsageError, match="'a cat' is excluded and cannot have a weight; leave the"):
        Question(terms=(DOG,), without=(Term("a cat", 2.0),))
    with pytest.raises(UsageError, match="'A  Dog' is searched for and excluded; choose one"):
        Question(terms=(DOG,), without=(Term("A  Dog"),))
    with pytest.raises(UsageError, match="'a man' is searched for and excluded; choose one"):
        Question(terms=(DOG,), relations=(Relation("above", MAN),), without=(MAN,))
    for share, said in ((0.0, "0%"), (1.01, "101%"), (float("nan"), "nan%")):
        with pytest.raises(UsageError, match=f"is above 0% and at most 100%, not {said}") as caught:
            Question(terms=(DOG,), min_area=share)
        assert caught.value.cure is Cure.WRITE_AREA
    with pytest.raises(UsageError, match="least score is nan, which nothing can be compared with"):
        Question(terms=(DOG,), min_score=float("nan"))
