"""Two lanes of orders: the foreground first, the background a step at a time."""

from __future__ import annotations

import threading

import pytest

from engine.system.lanes import Lanes


def drain(lanes: Lanes) -> None:
    lanes.end()
    while (order := lanes.take()) is not None:
        order()


def test_orders_come_in_order_and_before_the_background() -> None:
    lanes, done = Lanes(), list[str]()
    steps = iter((True, True, False))

    def step() -> bool:
        done.append("step")
        if len(done) == 3:  # put in while the background works: it waits for one step at most
            lanes.put(lambda: done.append("later order"))
        return next(steps)

    lanes.put_background(step)
    lanes.put(lambda: done.append("first"))
    lanes.put(lambda: done.append("second"))
    for _ in range(6):
        order = lanes.take()
        assert order is not None
        order()
    assert done == ["first", "second", "step", "later order", "step", "step"]
    lanes.put_background(lambda: True)
    drain(lanes)
    assert len(done) == 6  # the end gives the background up


def test_a_step_that_fails_is_not_taken_again() -> None:
    lanes = Lanes()

    def broken() -> bool:
        raise RuntimeError("broken")

    lanes.put_background(broken)
    order = lanes.take()
    assert order is not None
    with pytest.raises(RuntimeError):
        order()
    lanes.end()
    assert lanes.take() is None


def test_take_waits_for_an_order_and_for_the_end() -> None:
    lanes, taken = Lanes(), list[object]()
    thread = threading.Thread(target=lambda: taken.extend([lanes.take(), lanes.take()]))
    thread.start()
    order = lambda: None  # noqa: E731
    lanes.put(order)
    lanes.end()
    thread.join(10)
    assert taken == [order, None]
