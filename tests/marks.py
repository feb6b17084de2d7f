# SPDX-License-Identifier: GPL-2.0-or-later
"""The suite a test is in, and why."""

import pytest

# everyday("what only this test finds", *ways): for those ways to protect a guest, or for all.
everyday = pytest.mark.everyday
# full("what the everyday suite has instead"): runs with scripts/test --all only.
full = pytest.mark.full
# kvm("image"): runs a guest of this image under KVM, which a parameter `way` does not say.
kvm = pytest.mark.kvm
