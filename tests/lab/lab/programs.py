"""Romulus' own programs, built by Bazel from the tree under test, or taken from where they were built already."""

import os
import pathlib
import subprocess

from . import progress

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]

PRIMARY = "//primary:romulus-primary"
SAVE_HELPER = "//primary/save_helper:romulus-save-helper"
SECONDARY = "//secondary:romulus-secondary"
RESTORE_HELPER = "//secondary/restore_helper:romulus-restore-helper"
BACKENDD = "//common/devices:romulus-backendd"
AGENTS = (PRIMARY, SAVE_HELPER, SECONDARY, RESTORE_HELPER)
# What deploy/systemd starts them with.
AGENTS_ENVIRONMENT = "GLIBC_TUNABLES=glibc.malloc.hugetlb=1"

# Measured against the secondary: its vifs are connected at the takeover, by Xen's script.
SECONDARY_LATE_VIFS = "//tests/faults:romulus-secondary-late-vifs"
# Faulty programs, for scenarios that must notice (--break).
PRIMARY_RELEASE_EARLY = "//tests/faults:romulus-primary-release-early"

# Names a folder to take the programs from instead of building them: what `bazel info bazel-bin` says.
PREBUILT = "ROMULUS_BAZEL_BIN"

_built = {}


def build(labels=AGENTS):
    """{label: path} of the programs. Builds what this process has not built yet; to be called before Lab.up(), since
    Bazel's server is not to be reached from a lab's network."""
    missing = [label for label in labels if label not in _built]
    if missing:
        _built.update(_find(missing))
    return {label: _built[label] for label in labels}


def _find(labels):
    prebuilt = os.environ.get(PREBUILT)
    if not prebuilt:
        with progress.phase(f"building {', '.join(name(label) for label in labels)}"):
            subprocess.run(["bazel", "build", "--color=no", "--curses=no", "--show_progress_rate_limit=5", *labels],
                           check=True, cwd=REPOSITORY, stdout=2)
    folder = pathlib.Path(prebuilt) if prebuilt else REPOSITORY / ".bazel/bin"
    found = {label: folder / label.lstrip("/").replace(":", "/") for label in labels}
    for file in found.values():
        if not file.exists():
            raise RuntimeError(f"{file} is not built" + (f" ({PREBUILT} says to take it from there)" if prebuilt else ""))
    return found


def name(label):
    return label.rsplit(":", 1)[1]
