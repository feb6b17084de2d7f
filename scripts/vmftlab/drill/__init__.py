# SPDX-License-Identifier: GPL-2.0-or-later
"""scripts/drill.

run      one drill, from the first fault to the verdict
clients  what the guest's clients do meanwhile
seen     the status of both sides, and the frames on the wire
report   what was found, for a terminal, for programs, and as a page for a browser
chart    the time line on that page
"""
