"""Tensor names of the mmpretrain port, as a table to the official ones.

The port numbers stages and downsampling layers apart, bundles each convolution with its norm and
activation (so positions shift), and calls the final norm ``norm3``.
"""

import re
from collections.abc import Iterable

# (start of the port's name, start of the official one).
PARTS = (
    ("backbone.downsample_layers.0.conv1.conv.", "patch_embed.0."),
    ("backbone.downsample_layers.0.conv1.bn.", "patch_embed.1."),
    ("backbone.downsample_layers.0.conv2.conv.", "patch_embed.3."),
    ("backbone.downsample_layers.0.conv2.bn.", "patch_embed.4."),
    ("backbone.downsample_layers.1.", "network.1."),
    ("backbone.downsample_layers.2.", "network.3."),
    ("backbone.downsample_layers.3.", "network.5."),
    ("backbone.stages.0.", "network.0."),
    ("backbone.stages.1.", "network.2."),
    ("backbone.stages.2.", "network.4."),
    ("backbone.stages.3.", "network.6."),
    ("backbone.norm3.", "norm."),
    ("head.fc.", "head."),
    ("dist_head.", "dist_head."),
)

# Within a block: (module, the port's position in it, the official position).
POSITIONS = (
    (r"local_perception\.network", r"0\.conv", "0"),
    (r"local_perception\.network", r"0\.bn", "1"),
    (r"local_perception\.network", r"1\.conv", "2"),
    (r"local_perception\.network", r"2", "4"),
    (r"attn\.oper_[qk]\.0\.block", r"0\.conv", "0"),
    (r"attn\.oper_[qk]\.0\.block", r"0\.bn", "1"),
    (r"attn\.oper_[qk]\.0\.block", r"1\.conv", "3"),
    (r"attn\.oper_[qk]\.1\.block", r"1\.conv", "1"),
)
POSITION_RULES = tuple(
    (re.compile(rf"(\.{module}\.){port}\."), rf"\g<1>{official}.")
    for module, port, official in POSITIONS
)
PORT_ATTENTION = re.compile(r"backbone\.stages\.\d+\.\d+\.attn\.oper_q\.")


def is_port(names: Iterable[str]) -> bool:
    """Whether these are names of the port: both its stem and its attention are among them.

    ConvNeXt, Swin and others have names under ``backbone.downsample_layers.`` and
    ``backbone.stages.`` too.
    """
    names = list(names)
    stem = any(name.startswith("backbone.downsample_layers.0.conv1.conv.") for name in names)
    return stem and any(PORT_ATTENTION.match(name) for name in names)


def official_name(port_name: str) -> str:
    """The official name of a tensor of the port; a name that no rule knows comes back as it is."""
    for start, official_start in PARTS:
        if port_name.startswith(start):
            return official_position(official_start + port_name.removeprefix(start))
    return port_name


def official_position(name: str) -> str:
    """Applies the one rule of ``POSITION_RULES`` that fits, if any does."""
    for pattern, official in POSITION_RULES:
        renamed, count = pattern.subn(official, name)
        if count:
            return renamed
    return name
