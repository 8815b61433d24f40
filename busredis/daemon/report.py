"""What the log says of a delivery that did not end well."""

import logging

from busredis.delivery.model import Delivery, Outcome, Verdict

log = logging.getLogger("busredis.daemon")


def report(delivery: Delivery, outcome: Outcome, group: str) -> None:
    """Logs how a delivery ended that was not acknowledged, or not by its holder."""
    where = {"group": group, "entry_id": delivery.entry_id}
    if delivery.lost and outcome.verdict is not Verdict.RELEASE:
        log.warning(
            "the lease was lost: another daemon handles this entry, or did; %d effects are dropped",
            len(outcome.effects),
            extra=where,
        )
    if outcome.verdict in (Verdict.RETRY, Verdict.DEAD_LETTER) and not delivery.lost:
        level = logging.WARNING if outcome.verdict is Verdict.RETRY else logging.ERROR
        log.log(
            level,
            "%s after attempt %d of %s: %s: %s",
            outcome.verdict.value,
            delivery.attempt,
            group,
            outcome.reason,
            outcome.error,
            extra=where | {"attempt": delivery.attempt},
        )
        if outcome.verdict is Verdict.DEAD_LETTER and outcome.traceback:
            log.error("%s", outcome.traceback, extra=where)
