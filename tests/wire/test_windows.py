"""One receive window by itself (RFC 9113 §5.2, §6.9)."""

from hypothesis import given
from hypothesis import strategies as st

from orbit_net.wire.credit import ReceiveWindow
from wirefuzz import fuzz

MAX_WINDOW = 2**31 - 1


@given(
    st.integers(64, MAX_WINDOW),
    st.lists(st.tuples(st.sampled_from(["charge", "credit", "lend"]), st.integers(0, 2**32)), max_size=40),
)
@fuzz(300)
def test_no_byte_is_lost_whatever_happens(size, steps):
    """available + owed + held == size + lent after every step, the peer knows what is available, and nothing
    overflows."""
    window, held, announced = ReceiveWindow(size), 0, size
    for step, amount in steps:
        if step == "charge":
            amount = min(amount, window.available)
            assert window.charge(amount)
            held += amount
            announced -= amount
        elif step == "credit":
            amount = min(amount, held)
            announced += window.credit(amount)
            held -= amount
        else:
            announced += window.lend(amount)
            assert window.available >= min(amount, MAX_WINDOW)
        assert announced == window.available
        assert window.available + window.owed + held == window.size + window.lent
        assert 0 <= window.available <= MAX_WINDOW
        assert window.owed * 2 < size or window.owed == 0
        assert window.lent >= 0
    window.credit(held)
    assert window.available + window.owed == window.size + window.lent


def test_a_charge_beyond_the_window_is_refused():
    """The peer may use exactly what was announced, and an empty frame always (§6.9.1)."""
    window = ReceiveWindow(100)
    assert window.charge(100)
    assert window.charge(0)
    assert not window.charge(1)
    assert window.charge(0)


def test_credit_is_announced_from_half_of_the_size_on():
    """Small returns are saved up."""
    window = ReceiveWindow(100)
    window.charge(80)
    assert [window.credit(10) for _ in range(8)] == [0, 0, 0, 0, 50, 0, 0, 0]


def test_a_loan_takes_what_is_owed_first_and_is_repaid_first():
    """What is lent comes back before any credit is announced."""
    window = ReceiveWindow(100)
    window.charge(100)
    assert window.credit(40) == 0
    assert window.lend(90) == 90
    assert (window.available, window.owed, window.lent) == (90, 0, 50)
    assert window.lend(90) == 0
    assert window.credit(60) == 0
    assert (window.owed, window.lent) == (10, 0)


def test_a_smaller_size_may_overdraw_the_window():
    """Our own SETTINGS_INITIAL_WINDOW_SIZE changes by difference (§6.9.2)."""
    window = ReceiveWindow(65_535)
    window.charge(60_000)
    window.resize(1_000)
    assert window.available == 1_000 - 60_000
    assert window.credit(60_000) == 60_000
    assert window.available == 1_000
