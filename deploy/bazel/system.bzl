"""Debian's -dev packages as cc_library targets in @system.

Each library is named by its link name, not through pkg-config: pkg-config walks all of Abseil's graph, a second a
call. A define made from the library's size and modification time stands in each target, because Bazel does not see
/usr/include and /usr/lib: after an `apt upgrade` the dependents are built again (read when the Bazel server starts).
"""

# name -> (Debian package, [link names], [targets it needs])
_LIBRARIES = {
    "absl": ("libabsl-dev", ["absl_*"], []),
    "gmock": ("libgmock-dev", ["gmock"], ["gtest"]),
    "grpc": ("libgrpc++-dev", ["grpc++", "grpc", "gpr"], ["protobuf", "absl"]),
    "grpc_reflection": ("libgrpc++-dev", ["grpc++_reflection"], ["grpc"]),
    "gtest": ("libgtest-dev", ["gtest"], []),
    "gtest_main": ("libgtest-dev", ["gtest_main"], ["gtest"]),
    "lz4": ("liblz4-dev", ["lz4"], []),
    "nl_route": ("libnl-route-3-dev", ["nl-route-3", "nl-3"], []),
    "prometheus": ("prometheus-cpp-dev", ["prometheus-cpp-pull", "prometheus-cpp-core"], []),
    "protobuf": ("libprotobuf-dev", ["protobuf"], []),
    "xenctrl": ("libxen-dev", ["xenctrl", "xentoollog", "xenforeignmemory", "xendevicemodel", "xencall"], []),
    "xenevtchn": ("libxen-dev", ["xenevtchn"], []),
    "xenguest": ("libxen-dev", ["xenguest"], ["xenctrl"]),
    "xenstore": ("libxen-dev", ["xenstore"], []),
    "xxhash": ("libxxhash-dev", ["xxhash"], []),
    "zstd": ("libzstd-dev", ["zstd"], []),
}

_INCLUDE_DIRECTORIES = {"nl_route": ["libnl3"]}

def _system_libraries_impl(ctx):
    multiarch = ctx.execute(["gcc", "-print-multiarch"])
    if multiarch.return_code != 0:
        fail("gcc is missing: run deploy/setup")
    libdir = "/usr/lib/" + multiarch.stdout.strip()

    lines = ['package(default_visibility = ["//visibility:public"])', ""]
    for name, (package, links, needs) in _LIBRARIES.items():
        linkopts = ["-Wl,--push-state,--as-needed"]
        stamp = ""
        for link in links:
            stem = libdir + "/lib" + link
            found = ctx.execute(["sh", "-c", "stat -L -c '%n %s %Y' " + stem + ".so || stat -L -c '%n %s %Y' " + stem + ".a"])
            if found.return_code != 0:
                fail("library '%s' of Debian package %s is missing: run deploy/setup" % (link, package))
            for entry in found.stdout.strip().split("\n"):
                path, size, mtime = entry.split(" ")
                linkopts.append("-l" + path.split("/")[-1][len("lib"):].rpartition(".")[0])
                stamp += size + "_" + mtime + "_"
        linkopts.append("-Wl,--pop-state")
        for directory in _INCLUDE_DIRECTORIES.get(name, []):
            ctx.symlink("/usr/include/" + directory, directory)
        lines += [
            "cc_library(",
            "    name = %r," % name,
            "    linkopts = %r," % linkopts,
            "    defines = ['ROMULUS_SYSTEM_%s=%d']," % (name.upper(), hash(stamp) % 1000000007),
        ]
        if name in _INCLUDE_DIRECTORIES:
            lines.append("    includes = %r," % _INCLUDE_DIRECTORIES[name])
            lines.append("    hdrs = glob([%s])," % ", ".join(["'%s/**/*.h'" % d for d in _INCLUDE_DIRECTORIES[name]]))
        lines += [
            "    deps = %r," % [":" + need for need in needs],
            ")",
            "",
        ]
    ctx.file("WORKSPACE", 'workspace(name = "system")\n')
    ctx.file("BUILD.bazel", "\n".join(lines))

system_libraries = repository_rule(
    implementation = _system_libraries_impl,
    local = True,
    configure = True,
)
