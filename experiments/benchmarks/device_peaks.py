"""Peak rates of chips by their data sheets, for the model FLOPs utilization (MFU)."""

# (part of the device's name, TFLOP/s in bfloat16, in float32), without sparsity. The first match
# counts. GPUs: float32 products use TF32 where the chip has it, as JAX and
# `pytorch_peer.allow_fast_algorithms` let it; V100 and T4 have neither TF32 nor bfloat16, so their
# float32 rate stands for both. TPUs: one JAX device, which on v2 and v3 is half a chip; float32
# products take one bfloat16 pass, JAX's default there.
PEAKS = (
    ('h100 pcie', 756, 378),
    ('h100 nvl', 835, 418),
    ('h100', 989, 495),
    ('h200', 989, 495),
    ('a100', 312, 156),
    ('v100', 15.7, 15.7),
    ('l40s', 362, 183),
    ('l4', 121, 60),
    ('t4', 8.1, 8.1),
    ('rtx 4090', 165, 82.6),
    ('tpu v2', 22.5, 22.5),
    ('tpu v3', 61.5, 61.5),
    ('tpu v4', 275, 275),
    ('tpu v5 lite', 197, 197),
    ('tpu v5e', 197, 197),
    ('tpu v5', 459, 459),
    ('tpu v5p', 459, 459),
    ('tpu v6 lite', 918, 918),
    ('tpu v6e', 918, 918),
)


def peak_flops(device_kind: str, precision: str) -> float | None:
    """FLOP/s that a device reaches at best; None if the table does not have it.

    Args:
      device_kind: The name that JAX or PyTorch gives, e.g. 'NVIDIA H100 80GB HBM3', 'TPU v5 lite'.
      precision: 'float32' or 'bfloat16'.
    """
    words = device_kind.lower().replace('-', ' ')
    for name, half, full in PEAKS:
        if f' {name} ' in f' {words} ':
            return (half if precision == 'bfloat16' else full) * 1e12
    return None
