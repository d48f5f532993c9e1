"""The egress buffer's contract on a real kernel: every case on created and on adopted ifbs, and a race for them."""

import re

from lab import programs

BREAKS = {"script-without-lock": "the shell that chooses ifbs as Xen's script does takes no lock"}
TESTS = ("//netbuf:zero_copy_tap_kernel_test", "//netbuf:ifb_claims_kernel_test", "//netbuf:egress_buffer_kernel_test",
         "//netbuf:guest_tap_kernel_test", "//netbuf:guest_taps_kernel_test",
         "//primary/lockstep:lockstep_kernel_test")


def run(story):
    built = programs.build(TESTS)
    with story.lab(hosts=("alpha",)) as lab:
        lab.alpha.install(built.values())
        for label in TESTS:
            name = programs.name(label)
            environment = "SCRIPT_WITHOUT_LOCK=1 " if story.broken else ""
            result = lab.alpha.sh(f"{environment}/opt/romulus/bin/{name} 2>&1", timeout_s=1800, check=False)
            output = result.stdout if isinstance(result.stdout, str) else result.stdout.decode(errors="replace")
            passed = re.search(r"\[  PASSED  \] (\d+) test", output)
            story.figures[name] = {"passed": int(passed.group(1)) if passed else 0}
            story.step(f"{name}: {story.figures[name]['passed']} tests passed")
            story.check(result.status == 0, f"{name} ended with {result.status}:\n{output[-4000:]}")
            story.check(story.figures[name]["passed"] > 0, f"{name} ran no test:\n{output[-4000:]}")
