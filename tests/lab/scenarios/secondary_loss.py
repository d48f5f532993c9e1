"""The secondary host loses power: the guest runs on, its packets flow again, and nothing is left behind."""

import time

from lab import control, failover, inventory, protected_pair

IN_CI = True
BREAKS = {"hold-output": "the policy on a lost secondary is to hold the output: the client hears nothing more"}
# A machine that is busy with other work must not lose the session before the secondary has no power.
LINK_TIMEOUT_MS = 8000


def run(story):
    policy = "HOLD_OUTPUT" if story.broken else "RUN_UNPROTECTED"
    settings = protected_pair.Settings(link_timeout_ms=LINK_TIMEOUT_MS, secondary_loss_policy=policy)
    with protected_pair.agents_up(story, settings) as pair:
        lab = pair.lab
        before = {"alpha": inventory.take(lab.alpha)}
        client = lab.start_client(rate=50)
        client.wait_connected()
        story.step("protecting the guest")
        pair.protect()
        pair.wait_checkpoints(10)
        story.step(failover.status_line(pair.protection()))

        lab.beta.power_cut()
        client.mark()
        cut_at = time.monotonic()
        lost = pair.wait_phase("UNPROTECTED", timeout_s=120)
        known_ms = (time.monotonic() - cut_at) * 1000
        story.step(f"beta has no power; alpha says: {lost.status.last_error}")
        story.check(lost.status.last_error, "the status does not say what happened")
        (vif,) = lost.status.egress.vifs
        delay, held = (control.milliseconds(each.max) for each in (lost.status.output_delay, vif.time_held))
        # What waited when beta went has waited until the link's end was known.
        story.check(LINK_TIMEOUT_MS / 2 < held <= delay + 50, f"held for {held} ms, output delay {delay} ms")
        client.wait_answers(100)
        story.check(lab.alpha.domains().keys() == {"ledger"}, f"alpha runs {lab.alpha.domains()}")

        story.step("ending the protection")
        try:
            pair.delete()
            story.check(False, "DeleteProtection without the secondary was not refused")
        except control.RpcError as error:
            story.step(f"refused at first: {error.details()}")
            story.check(error.code().name == "FAILED_PRECONDITION", f"DeleteProtection: {error.code()}")
            story.check("unprotect_without_secondary" in error.details(), "the refusal does not say what to do")
        pair.delete(without_secondary=True)
        story.check(not pair.protections(), "the protection is still there")
        inventory.check_same(story, before, [lab.alpha])
        client.wait_answers(20)

        verdict = client.stop()
        story.figures.update(failover.replication_figures(lost))
        story.figures["client"] = verdict
        story.check(verdict["ok"], verdict["why"])
        # What was held goes out when the loss is known: it is as long on its way as any answer may be on this machine.
        patience_ms = known_ms + 2 * max(verdict["longest_gap_before_ms"], 500)
        story.check(verdict["first_reply_ms"] < patience_ms, f"the loss was known after {known_ms:.0f} ms, and the client "
                    f"heard nothing for {verdict['first_reply_ms']:.0f} ms; the longest gap before was "
                    f"{verdict['longest_gap_before_ms']:.0f} ms")
