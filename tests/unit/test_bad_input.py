"""Every row of the tables of bad input that needs no server, and the page that is made of them."""

import traceback

import pytest

from tests.bad_input import events
from tests.bad_input.document import CASES, FILE, written
from tests.bad_input.model import SECRET, Accepted, Case

ROWS = [pytest.param(case, id=f"{title}: {case.tried}") for title, cases in CASES.items() for case in cases]


@pytest.mark.parametrize("case", ROWS)
def test_what_cannot_work_is_refused_in_a_sentence_that_shows_no_secret(case: Case):
    with pytest.raises(case.error) as caught:
        case.attempt()

    assert type(caught.value) is case.error
    assert case.says in str(caught.value)
    assert SECRET not in "".join(traceback.format_exception_only(caught.value))
    assert SECRET not in str(caught.value.__cause__)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("accepted", events.ACCEPTED, ids=lambda accepted: accepted.tried)
def test_what_is_odd_and_no_error_is_read_as_the_page_says(accepted: Accepted):
    found = accepted.attempt()

    assert found == accepted.result
    assert type(found) is type(accepted.result) or isinstance(found, type(accepted.result))


def test_the_page_is_made_of_the_tables():
    assert FILE.read_text() == written(), "python -m tests.bad_input"
