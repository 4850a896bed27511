"""Triton's own clients, by HTTP and by gRPC, against `ballast serve --model-repository`: every datatype both ways,
metadata, configuration, statistics, classification, the repository, streams, errors.

usage: kserve_client.py                           makes a repository of small models and starts the server itself
       kserve_client.py --http URL --grpc ADDRESS [--key KEY]
                                                  asks one that runs over such a repository (kserve_client.py --lay-out DIR);
                                                  with --peer only what MLServer and KServe answer, too
"""

import argparse
import pathlib
import tempfile

from programs import ballast, serving_ballast
from report import Report

try:
    import grpc
    import numpy as np
    import onnx
    import tritonclient.grpc as by_grpc
    import tritonclient.http as by_http
    from onnx import TensorProto, helper
    from tritonclient.utils import InferenceServerException, triton_to_np_dtype
except ImportError:
    np = None

N_STREAMED = 5


def types():
    """Datatypes by Triton's name: ONNX's number, and two values."""
    return {
        "BOOL": (TensorProto.BOOL, [True, False]),
        "UINT8": (TensorProto.UINT8, [1, 255]),
        "UINT16": (TensorProto.UINT16, [1, 65535]),
        "UINT32": (TensorProto.UINT32, [1, 2**32 - 1]),
        "UINT64": (TensorProto.UINT64, [1, 2**64 - 1]),
        "INT8": (TensorProto.INT8, [1, -128]),
        "INT16": (TensorProto.INT16, [1, -(2**15)]),
        "INT32": (TensorProto.INT32, [1, -(2**31)]),
        "INT64": (TensorProto.INT64, [1, -(2**63)]),
        "FP16": (TensorProto.FLOAT16, [1.5, -2.0]),
        "FP32": (TensorProto.FLOAT, [0.1, -2.5]),
        "FP64": (TensorProto.DOUBLE, [0.1, 1e300]),
        "BYTES": (TensorProto.STRING, ["ä", ""]),
    }


def model(kind, shape):
    """An identity from x to y."""
    x, y = (helper.make_tensor_value_info(name, kind, shape) for name in "xy")
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "identity", [x], [y])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def lay_out(folder):
    """A repository: an identity for each datatype, and a batched one of three values with labels, in two versions."""
    for name, (kind, _) in types().items():
        path = folder / name / "1"
        path.mkdir(parents=True)
        onnx.save(model(kind, ["n", 2]), path / "model.onnx")
    for version in "12":
        path = folder / "batched" / version
        path.mkdir(parents=True)
        onnx.save(model(TensorProto.FLOAT, ["n", 3]), path / "model.onnx")
    (folder / "batched" / "labels.txt").write_text("cat\ndog\nfox\n")
    (folder / "batched" / "config.pbtxt").write_text("""name: "batched"
max_batch_size: 4
input { name: "x" data_type: TYPE_FP32 dims: [ 3 ] }
output { name: "y" data_type: TYPE_FP32 dims: [ 3 ] label_filename: "labels.txt" }
dynamic_batching { max_queue_delay_microseconds: 100 }
version_policy: { all { } }
""")


def array(name):
    _, values = types()[name]
    return np.array([values], dtype=object if name == "BYTES" else triton_to_np_dtype(name))


# Headers are copied for each call: the client by HTTP writes the length of its JSON into those it is given.
def put(module, values, datatype, **how):
    tensor = module.InferInput("x", list(values.shape), datatype)
    tensor.set_data_from_numpy(values, **how)
    return tensor


def same(name, got):
    expected = array(name)
    if name == "BYTES":
        expected = np.array([[text.encode() for text in expected[0]]], dtype=object)
        got = np.array([[text if isinstance(text, bytes) else text.encode() for text in got[0]]], dtype=object)
    return None if got is not None and got.shape == expected.shape and (got == expected).all() else f"{name}: {got!r}"


def every_type(module, client, headers):
    """A tensor of every datatype comes back as it was sent."""
    ways = [dict(binary_data=True), dict(binary_data=False)] if module is by_http else [{}]
    # MLServer takes JSON alone by HTTP.
    if module is by_http and "binary_tensor_data" not in client.get_server_metadata(headers=dict(headers))["extensions"]:
        ways = [dict(binary_data=False)]
    for name in types():
        for how in ways:
            if name == "FP16" and how == dict(binary_data=False):
                continue
            wanted = module.InferRequestedOutput("y", **how)
            answer = client.infer(name, [put(module, array(name), name, **how)], outputs=[wanted], headers=dict(headers))
            fault = same(name, answer.as_numpy("y"))
            if fault:
                return f"{fault} ({how})"
    return None


def described(module, client, headers):
    """Metadata, configuration and readiness are told as the client reads them."""
    how = dict(headers=dict(headers)) if module is by_http else dict(headers=dict(headers), as_json=True)
    if not (client.is_server_live(headers=dict(headers)) and client.is_server_ready(headers=dict(headers))):
        return "the server is not ready"
    if not client.is_model_ready("batched", headers=dict(headers)) or not client.is_model_ready("batched", "1", headers=dict(headers)):
        return "the model is not ready"
    metadata = client.get_model_metadata("batched", **how)
    shape = [int(extent) for extent in metadata["inputs"][0]["shape"]]
    if (metadata["versions"], metadata["inputs"][0]["datatype"], shape) != (["1", "2"], "FP32", [-1, 3]):
        return f"metadata {metadata}"
    config = client.get_model_config("batched", **how)
    config = config.get("config", config)
    if (config["max_batch_size"], config["input"][0]["data_type"]) != (4, "TYPE_FP32"):
        return f"configuration {config}"
    return None if client.get_server_metadata(**how)["name"] == "ballast" else "the server's name"


def counted(module, client, headers):
    """Statistics count what was asked."""
    def count():
        how = dict(headers=dict(headers)) if module is by_http else dict(headers=dict(headers), as_json=True)
        stats = client.get_inference_statistics("batched", "2", **how)["model_stats"][0]
        return int(stats["inference_count"]) if "inference_count" in stats else 0
    before = count()
    client.infer("batched", [put(module, np.zeros([3, 3], np.float32), "FP32")], headers=dict(headers))
    return None if count() == before + 3 else f"{count() - before} items counted, expected 3"


def classified(module, client, headers):
    """Classes come with values, places and labels."""
    values = np.array([[0.5, 3.0, 1.0]], np.float32)
    wanted = module.InferRequestedOutput("y", class_count=2)
    got = client.infer("batched", [put(module, values, "FP32")], outputs=[wanted], headers=dict(headers)).as_numpy("y")
    texts = [text if isinstance(text, str) else text.decode() for text in got.flatten()]
    return None if texts == ["3.000000:1:dog", "1.000000:2:fox"] else f"classes {texts}"


def versions(module, client, headers):
    """A request has the version that it names, or the latest; its name and its parameters come through."""
    for asked, expected in (("1", "1"), ("", "2")):
        answer = client.infer("batched", [put(module, np.ones([1, 3], np.float32), "FP32")], model_version=asked,
                              request_id="seven", priority=1, timeout=30_000_000, headers=dict(headers))
        told = answer.get_response() if module is by_http else answer.get_response(as_json=True)
        if (told["model_version"], told["id"]) != (expected, "seven"):
            return f"asked for {asked!r}, told {told}"
    return None


def refused(module, client, headers):
    """What is wrong is told as the client's own error."""
    wrong = [
        ("none", np.zeros([1, 3], np.float32), "FP32", {}),
        ("batched", np.zeros([1, 4], np.float32), "FP32", {}),
        ("batched", np.zeros([1, 3], np.int64), "INT64", {}),
        ("batched", np.zeros([5, 3], np.float32), "FP32", {}),
        ("batched", np.zeros([1, 3], np.float32), "FP32", dict(model_version="9")),
        ("batched", np.zeros([1, 3], np.float32), "FP32", dict(sequence_id=5, sequence_start=True)),
    ]
    for name, values, datatype, how in wrong:
        try:
            client.infer(name, [put(module, values, datatype)], headers=dict(headers), **how)
            return f"{name} {values.shape} {datatype} {how} was answered"
        except InferenceServerException as error:
            if not error.message():
                return f"{name} {values.shape}: no message"
    return None


def managed(module, client, headers):
    """Models are unloaded and loaded, and the index tells where they are."""
    def states():
        index = client.get_model_repository_index(headers=dict(headers)) if module is by_http else \
            client.get_model_repository_index(headers=dict(headers), as_json=True)["models"]
        return {row["state"] for row in index if row["name"] == "INT8"}
    client.unload_model("INT8", headers=dict(headers))
    if client.is_model_ready("INT8", headers=dict(headers)) or "READY" in states():
        return f"unloaded, and {states()}"
    client.load_model("INT8", headers=dict(headers))
    return None if client.is_model_ready("INT8", headers=dict(headers)) and "READY" in states() else f"loaded, and {states()}"


def not_served(module, client, headers):
    """Shared memory, tracing and logging are refused by name."""
    for call in (client.get_system_shared_memory_status, client.get_trace_settings, client.get_log_settings):
        try:
            call(headers=dict(headers))
            return f"{call.__name__} was answered"
        except InferenceServerException as error:
            if not any(word in error.message() for word in ("shared memory", "trace", "log")):
                return f"{call.__name__}: {error.message()}"
    return None


def compressed(module, client, headers):
    """Bodies go packed both ways, by each algorithm that the client has."""
    if module is not by_http:
        return None
    values = np.tile(np.arange(3, dtype=np.float32), [4, 1])
    for request, response in [("gzip", "gzip"), ("deflate", "deflate"), ("gzip", None), (None, "deflate")]:
        answer = client.infer(
            "batched",
            [put(module, values, "FP32")],
            outputs=[module.InferRequestedOutput("y", binary_data=True)],
            headers=dict(headers),
            request_compression_algorithm=request,
            response_compression_algorithm=response,
        )
        if not (answer.as_numpy("y") == values).all():
            return f"{request} and {response}: {answer.as_numpy('y')}"
    return None


def streamed(module, client, headers):
    """Answers of a stream come in the order of its requests."""
    if module is by_http:
        return None
    answers = []
    client.start_stream(lambda result, error: answers.append((result, error)), headers=dict(headers))
    for n in range(N_STREAMED):
        values = np.full([1, 3], n, np.float32)
        client.async_stream_infer("batched", [put(module, values, "FP32")], request_id=str(n))
    client.stop_stream()
    if len(answers) != N_STREAMED or any(error for _, error in answers):
        return f"{answers}"
    got = [(result.get_response().id, result.as_numpy("y")[0, 0]) for result, _ in answers]
    return None if got == [(str(n), n) for n in range(N_STREAMED)] else f"{got}"


def check_reflection(address, key):
    """Every message and field that reflection tells of is Triton's, by its number."""
    from google.protobuf import descriptor_pb2
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
    from tritonclient.grpc import model_config_pb2, service_pb2

    stub = reflection_pb2_grpc.ServerReflectionStub(grpc.insecure_channel(address))
    ask = reflection_pb2.ServerReflectionRequest(file_containing_symbol="inference.GRPCInferenceService")
    answer = next(iter(stub.ServerReflectionInfo(iter([ask]), metadata=[("authorization", f"Bearer {key}")])))
    ours = descriptor_pb2.FileDescriptorProto.FromString(answer.file_descriptor_response.file_descriptor_proto[0])
    theirs = dict(service_pb2.DESCRIPTOR.message_types_by_name) | dict(model_config_pb2.DESCRIPTOR.message_types_by_name)
    for message in ours.message_type:
        known = {field.number: field.name for field in theirs[message.name].fields}
        for field in message.field:
            if known.get(field.number) != field.name:
                return f"{message.name}.{field.name} = {field.number} is not Triton's"
    methods = {method.name for method in service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods}
    unknown = {method.name for method in ours.service[0].method} - methods
    return f"methods {unknown}" if unknown else None


CHECKS = {
    "every type": every_type,
    "described": described,
    "counted": counted,
    "classified": classified,
    "versions": versions,
    "refused": refused,
    "managed": managed,
    "not served": not_served,
    "compressed": compressed,
    "streamed": streamed,
}
# What other servers of the protocol answer in the same way.
PEER_CHECKS = ("every type", "refused")


def run(report, http, address, key, peer):
    headers = {"authorization": f"Bearer {key}"} if key else {}
    for module, client in ((by_http, by_http.InferenceServerClient(http)), (by_grpc, by_grpc.InferenceServerClient(address))):
        wire = "http" if module is by_http else "grpc"
        for name, check in CHECKS.items():
            if peer and name not in PEER_CHECKS:
                continue
            try:
                fault = check(module, client, headers)
            except InferenceServerException as error:
                fault = f"{error}"
            report.check(f"{wire}: {name}", fault)
    if not peer:
        report.check("grpc: reflection", check_reflection(address, key))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--http")
    parser.add_argument("--grpc")
    parser.add_argument("--key")
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("--lay-out", type=pathlib.Path)
    arguments = parser.parse_args()
    report = Report()
    if np is None:
        report.skipped("kserve clients", "the packages of kserve.txt are not installed")
    elif arguments.lay_out:
        lay_out(arguments.lay_out)
        return
    elif arguments.http:
        run(report, arguments.http, arguments.grpc, arguments.key, arguments.peer)
    elif ballast() is None:
        report.skipped("kserve clients", "there is no ballast program; set BALLAST")
    else:
        with tempfile.TemporaryDirectory() as folder:
            lay_out(pathlib.Path(folder))
            try:
                with serving_ballast("--model-repository", folder) as (url, key):
                    address = url.removeprefix("http://")
                    run(report, address, address, key, peer=False)
            except (RuntimeError, OSError, ValueError, KeyError) as error:
                report.check("server", str(error))
    report.end()


if __name__ == "__main__":
    main()
