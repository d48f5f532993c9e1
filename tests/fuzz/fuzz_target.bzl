"""A fuzz target: a test that replays its seeds and seeded mutations, and a binary for libFuzzer."""

def fuzz_target(name, deps):
    """Declares <name>_test, <name>_libfuzzer (clang only) and write_<name>_seeds.

    Args:
      name: the source is <name>.cc; the inputs that libFuzzer found, if any, are in corpus/<name>.
      deps: what it calls.
    """
    native.cc_library(
        name = name,
        testonly = True,
        srcs = [name + ".cc"],
        deps = deps + [":seeds", "//common/base:log"],
        alwayslink = True,
    )
    corpus = native.glob(["corpus/" + name + "/*"])
    native.cc_test(
        name = name + "_test",
        size = "medium",
        srcs = ["replay_main.cc"],
        args = [native.package_name() + "/corpus/" + name] if corpus else [],
        data = corpus,
        deps = [":" + name, ":seeds"],
    )
    native.cc_binary(
        name = name + "_libfuzzer",
        testonly = True,
        linkopts = ["-fsanitize=fuzzer"],
        # Only clang can link it.
        tags = ["manual"],
        deps = [":" + name],
    )
    native.cc_binary(
        name = "write_" + name + "_seeds",
        testonly = True,
        srcs = ["write_seeds_main.cc"],
        tags = ["manual"],
        deps = [":" + name, ":seeds"],
    )
