"""Guests beside the lab's usual one, or in its place: the same image, with an address of their own and, where wanted,
more programs in it.

    second = guests.Guest("second", "10.80.0.11")
    guests.create(lab, second)
    client = lab.start_client(server=second.address)

Programs come with the guest's own ramdisk: the lab's images and snapshots do not depend on them.
"""

import dataclasses

from . import archive, binaries, cache, images

_USUAL_RAMDISK = "/opt/lab/guest.cpio"


@dataclasses.dataclass(frozen=True)
class Guest:
    """`programs`: names of lab/binaries.py, to be found in the guest's /bin. `files`: {path in the guest: path here},
    executable. `runs`: what of all that its init starts beside the ledger service; without arguments."""
    name: str
    address: str
    memory_mib: int = 128
    programs: tuple = ()
    files: dict = dataclasses.field(default_factory=dict)
    runs: tuple = ()

    @property
    def vif(self):
        return f"vif-{self.name[:11]}"  # the kernel takes 15 characters

    @property
    def mac(self):
        return f"00:16:3e:80:00:{int(self.address.rsplit('.', 1)[1]):02x}"


def _ramdisk(guest):
    """The usual guest's, and what this one has besides."""
    usual = images.images().directory / "guest.cpio"
    added = {f"bin/{program}": binaries.build(program) for program in guest.programs}
    added.update({path.lstrip("/"): file for path, file in guest.files.items()})

    def build(folder):
        addition = archive.Archive(folder / "addition.cpio")
        for path, file in sorted(added.items()):
            addition.file(path, file.read_bytes(), executable=True)
        addition.close()
        # The kernel takes archives one after the other.
        (folder / "guest.cpio").write_bytes(usual.read_bytes() + (folder / "addition.cpio").read_bytes())

    inputs = [usual, *(item for path, file in sorted(added.items()) for item in (path, file))]
    return cache.built("added-guest", inputs, build) / "guest.cpio"


def _config(guest, ramdisk):
    runs = f" lab.with={','.join(guest.runs)}" if guest.runs else ""
    return f"""\
name = "{guest.name}"
type = "pvh"
kernel = "/opt/lab/vmlinux"
ramdisk = "{ramdisk}"
extra = "console=hvc0 quiet mitigations=off rdinit=/init lab.address={guest.address}{runs}"
memory = {guest.memory_mib}
vcpus = 1
tsc_mode = "native"
vif = ["mac={guest.mac},bridge=xenbr0,vifname={guest.vif}"]
on_crash = "preserve"
"""


def create(lab, guest):
    """Creates it on alpha and waits for its service."""
    ramdisk = _USUAL_RAMDISK
    if guest.programs or guest.files:
        ramdisk = f"/opt/lab/{guest.name}.cpio"
        lab.alpha.put(ramdisk, _ramdisk(guest).read_bytes())
    lab.alpha.put(f"/etc/xen/{guest.name}.cfg", _config(guest, ramdisk).encode())
    lab.alpha.sh(f"xl create /etc/xen/{guest.name}.cfg", timeout_s=300)
    lab.wait_guest(address=guest.address)
