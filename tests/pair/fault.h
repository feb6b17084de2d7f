/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A call of libc, counted from fault_arm() on, that fails once. The calls are in fault.c. */
#ifndef VMFT_TEST_PAIR_FAULT_H
#define VMFT_TEST_PAIR_FAULT_H

/* The nth call from now on fails, the first is 1. */
void fault_arm(unsigned nth);
/* Which call has failed since, "malloc" for one; NULL: there were not so many. No more fails. */
const char *fault_disarm(void);
/* What strerror() says of the error that it failed with. */
const char *fault_error(void);

#endif
