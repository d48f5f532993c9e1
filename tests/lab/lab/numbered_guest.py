"""A guest with several cards that sends numbered frames of every EtherType (guest/numbered_sender.cc), in the place of
the lab's usual one."""

from . import archive, binaries, cache, images
from .lab import GUEST

NAME = "numbered"
CARDS = 2
JUMBO_MTU = 9000
KERNEL = "/opt/lab/vmlinux"
_RAMDISK = "/opt/lab/numbered.cpio"
_CLIENT_MAC = "52:54:00:80:00:64"


def vif(card, name=NAME):
    return f"vif-{name[:8]}{card}"


def _ramdisk():
    """The usual guest's, with another init and the sender."""
    init = images.LAB / "guest/numbered_init"
    sender = binaries.build("numbered_sender")
    usual = images.images().directory / "guest.cpio"

    def build(folder):
        addition = archive.Archive(folder / "addition.cpio")
        addition.file("init", init.read_bytes(), executable=True)
        addition.file("bin/numbered_sender", sender.read_bytes(), executable=True)
        addition.close()
        # The kernel takes archives one after the other; what comes later replaces what came before.
        (folder / "numbered.cpio").write_bytes(usual.read_bytes() + (folder / "addition.cpio").read_bytes())

    return cache.built("numbered-guest", [usual, init, sender], build) / "numbered.cpio"


def _config(name, cards):
    vifs = ", ".join(f'"mac=00:16:3e:80:01:{card:02x},bridge=xenbr0,vifname={vif(card, name)}"'
                     for card in range(cards))
    names = ",".join(f"eth{card}" for card in range(cards))
    return f"""\
name = "{name}"
type = "pvh"
kernel = "{KERNEL}"
ramdisk = "{_RAMDISK}"
extra = "console=hvc0 quiet mitigations=off rdinit=/init lab.to={_CLIENT_MAC} lab.cards={names}"
memory = 128
vcpus = 1
tsc_mode = "native"
vif = [{vifs}]
on_crash = "preserve"
"""


def let_jumbo_pass(lab):
    """Raises the MTU of the guest network from the hosts' bridges to the client, and lets nothing on its way there
    reorder or drop packets of its own accord."""
    for host in lab.hosts.values():
        # fq_codel, the default, reorders packets of different flows and drops what waits for long.
        host.sh(f"ip link set eth0 mtu {JUMBO_MTU} && ip link set xenbr0 mtu {JUMBO_MTU} && "
                "tc qdisc replace dev eth0 root pfifo limit 100000")
    lab.network.set_guest_mtu(JUMBO_MTU)


def replace_usual(lab, cards=CARDS):
    """Ends the lab's usual guest and creates this one on alpha."""
    alpha = lab.alpha
    alpha.sh(f"xl destroy {GUEST}")
    alpha.put(_RAMDISK, _ramdisk().read_bytes())
    alpha.put(f"/etc/xen/{NAME}.cfg", _config(NAME, cards).encode())
    alpha.sh(f"xl create /etc/xen/{NAME}.cfg", timeout_s=120)
    for card in range(cards):
        alpha.sh(f"ip link set {vif(card)} mtu {JUMBO_MTU}")
