"""
A photograph in K colours
=========================

Note 002. A photograph of 240×180 pixels takes 1,036,800 bits. With K colours it takes 24 K + N ⌈log₂ K⌉: 43,248,
86,472 and 173,040 bits for K = 2, 3 and 10, which is 4.2, 8.3 and 16.7 %.
"""

import numpy as np
from _common import photograph, save, side_by_side, table
from PIL import Image

import expfam_em as ef

NOTE = {2: (43_248, 4.2), 3: (86_472, 8.3), 10: (173_040, 16.7)}


def encode(fit, bits):
    """The colours, one byte a channel, then the labels, as many bits each as they need."""
    digits = (fit.labels_[:, None] >> np.arange(bits)) & 1
    return fit.cluster_centers_.round().astype(np.uint8).tobytes() + np.packbits(digits.astype(np.uint8)).tobytes()


def decode(code, N, K, bits):
    """The pixels (N, 3) that `encode` wrote down."""
    code = np.frombuffer(code, np.uint8)
    digits = np.unpackbits(code[3 * K :], count=N * bits).reshape(N, bits)
    return code[: 3 * K].reshape(K, 3)[digits @ (1 << np.arange(bits))]


whole = Image.fromarray(photograph())
margin = (whole.width - whole.height * 240 / 180) / 2  # cut to the shape of the note's picture
small = whole.resize((240, 180), box=(margin, 0, whole.width - margin, whole.height))
figure, axes = side_by_side(4, 2.2)
axes[0].imshow(small)
axes[0].set_title("1,036,800 bits", loc="left", fontsize="medium")
for picture in (small, whole):
    pixels = np.asarray(picture).reshape(-1, 3)
    N, rows = len(pixels), []
    for ax, (K, (expected, per_cent)) in zip(axes[1:], NOTE.items(), strict=True):
        fit = ef.KMeans(K, random_state=0).fit(pixels.astype(np.float32))
        bits = int(K - 1).bit_length()  # ⌈log₂ K⌉
        size, code = 24 * K + N * bits, encode(fit, bits)
        painted = decode(code, N, K, bits)
        error = np.sqrt(np.mean((painted.astype(float) - pixels) ** 2))
        rows.append([K, size, 8 * len(code), f"{size / (24 * N):.1%}", f"{error:.1f}"])
        assert np.array_equal(painted, fit.cluster_centers_.round().astype(np.uint8)[fit.labels_])
        assert size <= 8 * len(code) < size + 8  # whole bytes
        if picture is small:
            assert (size, round(100 * size / (24 * N), 1)) == (expected, per_cent)
            ax.imshow(painted.reshape(180, 240, 3))
            ax.set_title(f"K = {K}: {per_cent} %", loc="left", fontsize="medium")
    headers = ["K", "bits by formula", "bits written", "of 24 N", "error of 255"]
    table(f"{picture.width}×{picture.height} = {N:,} pixels, {24 * N:,} bits as it is", headers, rows)
for ax in axes:
    ax.set_axis_off()
save(figure, "image_compression")
