"""Both hosts come up, the guest runs on alpha and answers the client without losing a word."""

import time


def run(story):
    with story.lab() as lab:
        story.step("looking at both hosts")
        story.check(lab.alpha.domains().keys() == {"ledger"}, f"alpha runs {lab.alpha.domains()}, not just the guest")
        story.check(lab.beta.domains() == {}, f"beta should be idle, but runs {lab.beta.domains()}")
        lab.alpha.sh("ping -c 1 -W 5 10.81.0.2")

        story.step("asking the guest for 5 s")
        client = lab.start_client(rate=100)
        client.wait_connected()
        time.sleep(5)
        verdict = client.stop()
        story.figures["client"] = verdict
        story.check(verdict["ok"], verdict["why"])
        story.check(verdict["answers"] >= 250, f"only {verdict['answers']} answers in 5 s")
