"""
A photograph in K colours
=========================

Note 002: a photograph in K colours, and how many bits it then takes.
"""

import numpy as np
from _common import output_folder, photograph, save, side_by_side, table
from PIL import Image

import expfam_em as ef

NOTE = {2: (43_248, 4.2), 3: (86_472, 8.3), 10: (173_040, 16.7)}
"""Bits and per cent that the note gives for 240×180 pixels."""

WIDTH, HEIGHT = 240, 180


def bits_per_label(K):
    """⌈log₂K⌉: whole bits for each pixel."""
    return int(K - 1).bit_length()


def compressed_bits(N, K):
    """K colours of 24 bits, and the number of its colour for each of N pixels."""
    return 24 * K + N * bits_per_label(K)


def encode(fit):
    """The colours, one byte a channel, then the labels, as many bits each as they need."""
    bits = bits_per_label(fit.n_clusters)
    digits = (fit.labels_[:, None] >> np.arange(bits)) & 1
    return fit.cluster_centers_.round().astype(np.uint8).tobytes() + np.packbits(digits.astype(np.uint8)).tobytes()


def decode(code, N, K):
    """The pixels (N, 3) that `encode` wrote down."""
    code, bits = np.frombuffer(code, np.uint8), bits_per_label(K)
    digits = np.unpackbits(code[3 * K :], count=N * bits).reshape(N, bits)
    return code[: 3 * K].reshape(K, 3)[digits @ (1 << np.arange(bits))]


def main():
    folder = output_folder()
    whole = Image.fromarray(photograph())
    margin = (whole.width - whole.height * WIDTH / HEIGHT) / 2  # cut to the shape of the note's picture
    small = whole.resize((WIDTH, HEIGHT), box=(margin, 0, whole.width - margin, whole.height))

    figure, axes = side_by_side(4, 2.2)
    axes[0].imshow(small)
    axes[0].set_title(f"{24 * WIDTH * HEIGHT:,} bits", loc="left", fontsize="medium")
    for name, picture in (("The note's size", small), ("The whole photograph", whole)):
        pixels = np.asarray(picture).reshape(-1, 3)
        N = len(pixels)
        rows = []
        for ax, (K, (bits, per_cent)) in zip(axes[1:], NOTE.items(), strict=True):
            fit = ef.KMeans(K, random_state=0).fit(pixels.astype(np.float32))
            code = encode(fit)
            painted = decode(code, N, K)
            error = np.sqrt(np.mean((painted.astype(float) - pixels) ** 2))
            size = compressed_bits(N, K)
            ratio = 100 * size / (24 * N)
            here = picture is small
            expected = [bits, f"{per_cent} %"] if here else []
            rows.append([K, size, 8 * len(code), f"{ratio:.1f} %", *expected, f"{error:.1f}"])
            assert np.array_equal(painted, fit.cluster_centers_.round().astype(np.uint8)[fit.labels_])
            assert size <= 8 * len(code) < size + 8  # whole bytes
            if here:
                assert size == bits
                assert round(ratio, 1) == per_cent
                ax.imshow(painted.reshape(HEIGHT, WIDTH, 3))
                ax.set_title(f"K = {K}: {ratio:.1f} %", loc="left", fontsize="medium")
        beside = ["expected bits", "expected"] if picture is small else []
        headers = ["K", "bits by formula", "bits written", "of 24 N", *beside, "error of 255"]
        table(f"{name}: {picture.width}×{picture.height} = {N:,} pixels, {24 * N:,} bits as it is", headers, rows)
    assert 24 * WIDTH * HEIGHT == 1_036_800
    for ax in axes:
        ax.set_axis_off()
    save(figure, "image_compression", folder)


if __name__ == "__main__":
    main()
