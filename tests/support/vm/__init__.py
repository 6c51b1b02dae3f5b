"""Other kernels than the one that runs: Debian's own builds, booted with this checkout in an initramfs.

They run under QEMU's emulation, which needs no hardware virtualisation. User-mode Linux boots faster, but each fork in
it costs so much that these tests take twice as long. What is fetched comes from the mirror of this machine's apt, by
package name, and is kept below the cache of the test host's trees, in vm/.

`tests.support.vm.debian` boots a whole Debian instead, with its systemd, Docker and our package.
"""
