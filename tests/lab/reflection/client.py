#!/usr/bin/python3
"""A client that knows nothing of Romulus: asks a gRPC server by reflection what it serves, and calls it.

    client.py HOST:PORT                             what it serves, how it is, all methods with their messages, as JSON
    client.py HOST:PORT SERVICE METHOD [JSON]       calls a unary method, prints the answer as JSON

Its stubs come from the grpc-proto package alone (reflection and health)."""

import json
import pathlib
import subprocess
import sys
import tempfile

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

PROTOS = pathlib.Path("/usr/share/grpc-proto")
FILES = ("grpc/reflection/v1alpha/reflection.proto", "grpc/health/v1/health.proto")


def _import_stubs(folder):
    subprocess.run(["protoc", f"-I{PROTOS}", f"--python_out={folder}", f"--grpc_out={folder}",
                    "--plugin=protoc-gen-grpc=/usr/bin/grpc_python_plugin", *FILES], check=True)
    # The installed grpc package has the name of the stubs' folder.
    grpc.__path__.append(f"{folder}/grpc")


class Server:
    def __init__(self, target):
        from grpc.health.v1 import health_pb2, health_pb2_grpc
        from grpc.reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
        self._health = health_pb2
        self._reflection = reflection_pb2
        self._channel = grpc.insecure_channel(target)
        self._health_stub = health_pb2_grpc.HealthStub(self._channel)
        self._reflection_stub = reflection_pb2_grpc.ServerReflectionStub(self._channel)
        self._pool = descriptor_pool.DescriptorPool()
        self._known = set()

    def _ask(self, **what):
        request = self._reflection.ServerReflectionRequest(**what)
        answer = next(self._reflection_stub.ServerReflectionInfo(iter([request]), timeout=20))
        if answer.HasField("error_response"):
            raise RuntimeError(f"reflection: {answer.error_response.error_message}")
        return answer

    def services(self):
        return sorted(each.name for each in self._ask(list_services="").list_services_response.service)

    def health(self, service=""):
        answer = self._health_stub.Check(self._health.HealthCheckRequest(service=service), timeout=20)
        return self._health.HealthCheckResponse.ServingStatus.Name(answer.status)

    def describe(self, service):
        self._learn(self._ask(file_containing_symbol=service))
        return self._pool.FindServiceByName(service)

    def _learn(self, answer):
        files = [descriptor_pb2.FileDescriptorProto.FromString(data)
                 for data in answer.file_descriptor_response.file_descriptor_proto]
        given = {file.name: file for file in files}

        def add(file):
            if file.name in self._known:
                return
            for name in file.dependency:
                if name not in given and name not in self._known:
                    self._learn(self._ask(file_by_filename=name))
                elif name in given:
                    add(given[name])
            self._pool.Add(file)
            self._known.add(file.name)

        for file in files:
            add(file)

    def call(self, service, method, arguments):
        found = self.describe(service).FindMethodByName(method)
        made = message_factory.MessageFactory(self._pool)
        answer_type = made.GetPrototype(found.output_type)
        request = json_format.ParseDict(arguments, made.GetPrototype(found.input_type)(), descriptor_pool=self._pool)
        stub = self._channel.unary_unary(f"/{service}/{method}", request_serializer=lambda each: each.SerializeToString(),
                                         response_deserializer=answer_type.FromString)
        return json_format.MessageToDict(stub(request, timeout=20), descriptor_pool=self._pool)


def _methods(service):
    return {method.name: {"request": {field.name: field.full_name for field in method.input_type.fields},
                          "response": method.output_type.full_name} for method in service.methods}


def main():
    with tempfile.TemporaryDirectory() as folder:
        _import_stubs(folder)
        server = Server(sys.argv[1])
        if len(sys.argv) > 2:
            arguments = json.loads(sys.argv[4]) if len(sys.argv) > 4 else {}
            print(json.dumps(server.call(sys.argv[2], sys.argv[3], arguments), indent=2))
            return
        services = server.services()
        print(json.dumps({"health": server.health(),
                          "services": {each: _methods(server.describe(each)) for each in services}}, indent=2))


main()
