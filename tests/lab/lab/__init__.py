"""Two real Xen hosts in QEMU, a switch between them and an external client: see tests/lab/README.md."""
