"""Protocol Buffers and gRPC code by the system's protoc, as a cc_library."""

def romulus_proto(name, src, deps = [], grpc = False, visibility = None):
    """C++ code and a descriptor set for one .proto file.

    Args:
      name: of the cc_library; its proto dependencies are romulus_proto targets too.
      src: the .proto file, in this package; imported by its path from the repository's root.
      deps: romulus_proto targets whose files src imports.
      grpc: whether src has services.
      visibility: of the library.
    """
    stem = src[:-len(".proto")]
    package = native.package_name()
    headers = [stem + ".pb.h"] + ([stem + ".grpc.pb.h"] if grpc else [])
    sources = [stem + ".pb.cc"] + ([stem + ".grpc.pb.cc"] if grpc else [])
    native.filegroup(
        name = name + "_files",
        srcs = [src] + [dep + "_files" for dep in deps],
        visibility = visibility,
    )
    plugin = "--grpc_out=$(GENDIR) --plugin=protoc-gen-grpc=/usr/bin/grpc_cpp_plugin " if grpc else ""
    native.genrule(
        name = name + "_codegen",
        srcs = [":" + name + "_files"],
        outs = headers + sources + [stem + ".protoset"],
        cmd = "/usr/bin/protoc -I. -I/usr/include --cpp_out=$(GENDIR) " + plugin +
              "--include_imports --include_source_info --descriptor_set_out=$(GENDIR)/%s/%s.protoset %s/%s" %
              (package, stem, package, src),
        message = "protoc",
    )
    native.cc_library(
        name = name,
        srcs = sources,
        hdrs = headers,
        visibility = visibility,
        # Generated code is not ours to warn about.
        copts = ["-w"],
        deps = deps + (["@system//:grpc"] if grpc else ["@system//:protobuf"]),
        # Reflection finds a service's file only if its generated code is linked.
        alwayslink = grpc,
    )
