"""Networks whose features at a pixel depend on the pixels before it alone."""

from jaxgen.autoregressive.networks.gated import GatedPixelCNN
from jaxgen.autoregressive.networks.pixelcnn import PixelCNN
from jaxgen.autoregressive.networks.pixelcnn_plus_plus import PixelCNNPlusPlus
from jaxgen.autoregressive.networks.transformer import PixelTransformer

__all__ = ["GatedPixelCNN", "PixelCNN", "PixelCNNPlusPlus", "PixelTransformer"]
