"""Recognize handwritten digits, and say which ones are confused: `python examples/images.py`.

Read next: `docs/tutorial/4_images.py`.
"""

from __future__ import annotations

import chainrule as cr
from chainrule import data, nn, optim

digits = data.load("digits")  # or arrays of your own: uint8 images (rows, height, width)
images, labels = digits.X.reshape(-1, 8, 8) / 16, digits.y
train, test = data.split(labels, 0.2, seed=0)

model = nn.Sequential([
    nn.Flatten(), nn.Linear(64, 128), nn.BatchNorm(128), nn.ReLU(), nn.Dropout(0.2),
    nn.Linear(128, 10),
])  # fmt: skip
run = cr.fit(
    model, (images[train], labels[train]), loss="cross_entropy", optimizer=optim.AdamW(0.003),
    epochs=40, validation=0.1, early_stopping=8, progress=False,
)  # fmt: skip

accuracy = run.evaluate((images[test], labels[test]))["accuracy"]
print(f"accuracy on {len(test)} test images: {accuracy:.3f}")
assert accuracy > 0.95
for row, guess in zip(test, run.predict(images[test]), strict=True):
    if guess != labels[row]:
        print(f"image {row} shows a {labels[row]}, and was taken for a {guess}")
