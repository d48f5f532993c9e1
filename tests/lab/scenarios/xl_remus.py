"""The baseline: stock `xl remus -n` keeps checkpoints, loses power, and how long the client waits.

It shows that the comparison is made against a Remus that works. That answers are forgotten is expected of it: without
network buffering nothing holds back what a checkpoint does not have yet.
"""

import time

from lab import failover, xl_remus

GUEST = "ledger"
MEASURED_S = 15


def one_run(story, lab, interval_ms, measured_s=MEASURED_S):
    """The figures of one protected run and one failover, with the keys of the demo's JSON; None is not known."""
    # Without output commit the TCP connections are expected to go silent: no use to wait long for them.
    client = lab.start_client(rate=20, drain_ms=8_000)
    client.wait_connected()
    remus = xl_remus.XlRemus(lab, GUEST, interval_ms)
    story.step(f"xl remus every {interval_ms} ms: copying the guest's memory to beta")
    remus.start()
    remus.wait_running()
    client.set_rate(100)
    story.step(f"measuring for {measured_s} s")
    figures = {"guest": {"type": failover.GUEST_TYPE, "memory_mib": failover.GUEST_MEMORY_MIB},
               "interval_ms_configured": interval_ms, **remus.measure(measured_s),
               "output_delay_ms": {"p50": None, "p99": None}}
    story.step(f"{figures['checkpoints_per_second']} checkpoints per second; cutting alpha's power")
    cut_at = time.monotonic()
    lab.alpha.power_cut()
    client.mark()
    mark_after_ms = (time.monotonic() - cut_at) * 1000
    taken_over_s = remus.wait_taken_over()
    story.step(f"beta runs the guest after {taken_over_s:.1f} s")
    client.wait_answers(50)
    verdict = client.stop()
    reply = verdict.get("first_reply_ms")
    figures["failover_ms"] = {"detect": None, "activate": round(taken_over_s * 1000),
                              "first_reply": None if reply is None else round(reply + mark_after_ms, 1)}
    figures["client"] = verdict
    return figures


def run(story):
    for interval_ms in (200, 50):
        with story.lab() as lab:
            figures = one_run(story, lab, interval_ms)
        story.figures[str(interval_ms)] = {"xl_remus": figures}
        story.check(figures["checkpoints"] >= 5, f"only {figures['checkpoints']} checkpoints")
        story.check(figures["failover_ms"]["first_reply"] is not None,
                    f"no answer after the power cut: {figures['client']}")
