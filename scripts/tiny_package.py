"""Writes a small .mlpackage: a convolution, a pooling and a matrix product over seeded weights, in half precision."""

import sys

import coremltools as ct
import numpy as np
from coremltools.converters.mil import Builder as mb

N_CHANNELS, SIZE, N_CLASSES = 16, 64, 10


def main() -> None:
    random = np.random.default_rng(1)
    kernel = random.standard_normal((N_CHANNELS, 3, 3, 3)).astype(np.float32) * 0.2
    dense = random.standard_normal((N_CLASSES, N_CHANNELS)).astype(np.float32) * 0.2

    @mb.program(input_specs=[mb.TensorSpec(shape=(1, 3, SIZE, SIZE))], opset_version=ct.target.macOS13)
    def program(x):
        x = mb.conv(x=x, weight=kernel, pad_type="same")
        x = mb.relu(x=x)
        x = mb.reduce_mean(x=x, axes=[2, 3], keep_dims=False)
        return mb.linear(x=x, weight=dense, name="y")

    model = ct.convert(program, convert_to="mlprogram", minimum_deployment_target=ct.target.macOS13)
    model.save(sys.argv[1])


if __name__ == "__main__":
    main()
