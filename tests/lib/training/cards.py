"""The graphics cards that the profiles are for."""

MIB = 2**20

# What nvidia-smi reports as the card's total, in bytes.
CARDS = {
    "rtx4060-8g": 8188 * MIB,
    "rtx4060ti-16g": 16380 * MIB,
    "a100": 40960 * MIB,  # the smaller of the two
    "h100": 81559 * MIB,
}
