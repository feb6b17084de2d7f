# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the programs under test are.

Looked up at each use and not once: a test may ask for those of another build, with a sanitizer.
"""

import os

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def directory():
    return os.environ.get("VMFT_BIN", os.path.join(ROOT, "build", "bin"))


def built(name):
    return os.path.join(directory(), name)
