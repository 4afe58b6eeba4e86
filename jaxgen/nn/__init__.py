"""What the networks of two or more families share; modules have the parameters of Flax's."""

from jaxgen.nn.convolution import conv, conv_kernel_gradient, conv_transpose
from jaxgen.nn.dropout import dropout
from jaxgen.nn.group_norm import GroupNorm
from jaxgen.nn.modules import Conv, ConvTranspose
from jaxgen.nn.normalization import BatchNorm, batch_norm
from jaxgen.nn.resampling import average_pool, depth_to_space, space_to_depth, upsample_nearest
from jaxgen.nn.sums import add_bias, channel_sum

__all__ = [
    "BatchNorm",
    "Conv",
    "ConvTranspose",
    "GroupNorm",
    "add_bias",
    "average_pool",
    "batch_norm",
    "channel_sum",
    "conv",
    "conv_kernel_gradient",
    "conv_transpose",
    "depth_to_space",
    "dropout",
    "space_to_depth",
    "upsample_nearest",
]
