"""The place of an encoder in a captioner whose features were made elsewhere.

Bottom-up regions, say, come from a detector that is not part of this project: such a captioner
learns from a feature store and is evaluated on one, but cannot look at a picture by itself.
"""

from __future__ import annotations

from torch import Tensor, nn

from model import VisualFeatures


class Precomputed(nn.Module):
    """No network: it only knows the size of the vectors it stands for.

    Args:
        feature_dim (int): F, >= 1.

    Raises:
        ValueError: the size is not known.
    """

    def __init__(self, feature_dim: int) -> None:
        super().__init__()
        if feature_dim < 1:
            raise ValueError(
                f"encoder.feature_dim: {feature_dim} received, the size of a region's vector "
                "expected (backbone features; training takes it from loader.features)"
            )
        self.feature_dim = feature_dim

    def set_trainable(self, trainable: str) -> None:
        """There is nothing to thaw.

        Raises:
            ValueError: anything but "none".
        """
        if trainable != "none":
            raise ValueError(f"encoder.trainable: {trainable!r} received, none expected (features)")

    def forward(self, images: Tensor | list[Tensor]) -> VisualFeatures:
        """Pictures cannot be looked at.

        Raises:
            ValueError: always; the message says what to do.
        """
        raise ValueError(
            "this captioner was trained on features made elsewhere and cannot look at pictures "
            "itself; `evaluate --features F.h5` and `caption --features F.h5` take a store of such "
            f"features ({self.feature_dim} numbers a region)"
        )
