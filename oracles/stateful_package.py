"""Silero's voice detection as a package that keeps its state by itself, for make_packages.py.

The ONNX model takes a state and gives the next one; here both are one state of Core ML, which the program reads first
and writes last. ONNX Runtime is fed its own states for the answers that are expected.
"""

import coremltools as ct
import numpy as np
import onnx
import onnx2coreml
from onnx2coreml import converter as theirs
from onnx2coreml._backend import program_to_mlmodel
from onnx2coreml._target import Format
from onnx import numpy_helper

N_FRAMES = 12


class Stateful(onnx2coreml.converter.Converter):
    """The converter, with `given` and `left` of the graph's values made one state."""

    def __init__(self, given, left):
        super().__init__()
        self.given, self.left = given, left

    def _build_function(self, graph, input_specs, target, *, fp16=False):
        mb, types = theirs.mb, ct.converters.mil.mil.types
        shape = input_specs[self.given].sym_shape
        input_specs[self.given] = ct.converters.mil.mil.program.StateTensorPlaceholder(shape, types.fp16)
        with ct.converters.mil.mil.Function(input_specs, opset_version=target) as function:
            values = dict(function.inputs)
            state = values[self.given]
            values[self.given] = mb.cast(x=mb.read_state(input=state), dtype="fp32")
            for tensor in graph.initializer:
                array = theirs.narrow_array(numpy_helper.to_array(tensor), context=tensor.name)
                values[tensor.name] = mb.const(val=array, name=tensor.name)
            context = theirs.LoweringContext(values_map=values, target=target, converter=self)
            for node in theirs.topo_iter(graph):
                self._lower_node(context, node)
            mb.coreml_update_state(state=state, value=mb.cast(x=values[self.left], dtype="fp16"))
            function.set_outputs([values[port.name] for port in graph.output if port.name != self.left])
        return function


def stateful(source, write):
    """Writes the case: frames one after the other, without a state among the inputs."""
    session = source.session
    given = next(port for port in session.get_inputs() if "state" in port.name.lower())
    left = next(port.name for port in session.get_outputs() if "state" in port.name.lower())
    program = Stateful(given.name, left).to_mil(onnx.ModelProto.FromString(source.model.SerializeToString()), target=ct.target.iOS18)
    package = program_to_mlmodel(program, fmt=Format.MLPACKAGE, precision=ct.precision.FLOAT32, target=ct.target.iOS18)
    random, state, runs, expected = np.random.default_rng(11), np.zeros(given.shape, np.float32), [], []
    names = [port.name for port in package.get_spec().description.output]
    others = [port for port in session.get_inputs() if port.name != given.name]
    for _ in range(N_FRAMES):
        run = {port.name: random.uniform(-1, 1, port.shape).astype(np.float32) for port in others}
        outputs = dict(zip([port.name for port in session.get_outputs()], session.run(None, {**run, given.name: state})))
        state = outputs.pop(left)
        runs.append(run)
        expected.append(dict(zip(names, outputs.values(), strict=True)))
    write("silero_stateful", package, runs, expected, 1e-2)
