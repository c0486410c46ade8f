"""The settings of a detector that finds regions, declared once as all settings are."""

from __future__ import annotations

from dataclasses import dataclass

from captioning.settings import setting

DETECTORS = tuple(  # torchvision's detectors with a box head
    f"{kind}_{backbone}_fpn{version}"
    for kind, backbone, version in (
        ("fasterrcnn", "resnet50", "_v2"),
        ("fasterrcnn", "resnet50", ""),
        ("fasterrcnn", "mobilenet_v3_large", ""),
        ("fasterrcnn", "mobilenet_v3_large_320", ""),
        ("maskrcnn", "resnet50", "_v2"),
        ("maskrcnn", "resnet50", ""),
    )
)


@dataclass
class DetectorConfig:
    """Which detector, and which of its regions are kept."""

    detector: str = setting(DETECTORS[0], "torchvision network", choices=DETECTORS)
    detector_weights: str = setting(
        "COCO_V1",
        "torchvision's name of weights (COCO_V1: downloaded by torchvision, once), none (random), "
        "or a .safetensors/.pth file of a state dict",
    )
    num_classes: int = setting(91, "classes that the weights know, with the background", 2)
    detector_size: int = setting(
        0,
        "shorter side in pixels at which the detector looks at a picture; smaller is faster; 0: "
        "its own (800; mobilenet_v3_large_320: 320)",
        0,
        4096,
    )
    min_regions: int = setting(10, "fewest regions of a picture", 1, 1000)
    max_regions: int = setting(100, "most regions of a picture", 1, 1000)
    score_threshold: float = setting(
        0.2, "beyond min_regions only those at least so sure (0..1), up to max_regions", 0, 1
    )


def check_numbers(config: DetectorConfig) -> None:
    """Refuse numbers of regions that exclude each other.

    Raises:
        ValueError: `min_regions` above `max_regions`.
    """
    if config.min_regions > config.max_regions:
        raise ValueError(
            f"min_regions: {config.min_regions} received, at most max_regions "
            f"({config.max_regions}) expected"
        )
