"""The link is lost while the first copy is made: the guest is unharmed, and the other host has nothing to run."""

from lab import control, inventory, protected_pair

BREAKS = {"late": "the link is cut only after the first copy: the standby is whole, and would run"}
COPIED_BYTES = 30 << 20  # of the guest's 128 MiB


def run(story):
    with protected_pair.agents_up(story) as pair:
        lab = pair.lab
        hosts = lab.hosts.values()
        before = {each.name: inventory.take(each) for each in hosts}
        client = lab.start_client(rate=20)
        client.wait_connected()

        pair.create()
        following = pair.watch_standby(period_ms=200)
        copying = following.wait(lambda each: each.received_bytes > COPIED_BYTES, 120)
        story.check(copying, f"the first copy did not get on: {following.value} {following.ended}")
        if story.broken:
            pair.wait_protected()
        phase = protected_pair.standby_phase_name(copying.phase)
        story.check(phase == "STANDBY_SEEDING", f"the standby is {phase}")
        lab.cut_replication()
        client.mark()
        following.stop()
        story.step(f"the link is cut, {copying.received_bytes >> 20} MiB are copied")

        lost = pair.wait_phase("CONNECTING", "UNPROTECTED", timeout_s=30)
        story.step(f"alpha says: {lost.status.last_error}")
        story.check(lost.status.last_error, "the status does not say what happened")
        story.check(lost.status.checkpoints_committed == 0, "a checkpoint was committed in the middle of the first copy")

        story.step("beta must have nothing to run, asked or not")
        story.eventually(lambda: not lab.beta.domains(), "beta keeps the unfinished guest", timeout_s=20)
        try:
            pair.activate()
            story.check(False, "the unfinished standby was activated")
        except control.RpcError as error:
            story.step(f"ActivateStandby: {error.code().name}: {error.details()}")
            story.check(error.code().name in ("FAILED_PRECONDITION", "NOT_FOUND"), f"ActivateStandby: {error.code()}")
            pair.generation -= 1
        story.check(lab.beta.domains() == {}, f"beta runs {lab.beta.domains()}")

        story.step("ending the protection")
        pair.delete(without_secondary=True)
        inventory.check_same(story, before, hosts, timeout_s=20)
        client.wait_answers(20)
        verdict = client.stop()
        story.figures["client"] = verdict
        story.check(verdict["ok"], verdict["why"])

        story.step("the link is mended: the same guest can be protected")
        lab.mend_replication()
        pair.protect()
