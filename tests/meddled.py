"""Flows that a test looks into while they run."""


class Killed(Exception):
    """The process ends here, as far as the flow is concerned."""


def meddled(flow, before):
    """A flow whose requests are seen before they are sent."""
    request = next(flow)
    while True:
        before(request)
        try:
            reply = yield request
        except Exception as error:  # noqa: BLE001
            step = lambda error=error: flow.throw(error)  # noqa: E731
        else:
            step = lambda reply=reply: flow.send(reply)  # noqa: E731
        try:
            request = step()
        except StopIteration as stop:
            return stop.value
