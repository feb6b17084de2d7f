/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The members of an etcd cluster, as "arbiter = etcd:URL,URL..." names them. */
#ifndef VMFT_ETCD_ENDPOINTS_H
#define VMFT_ETCD_ENDPOINTS_H

#include <stdbool.h>

#define VMFT_ETCD_ENDPOINTS_MAX 9u
#define VMFT_ETCD_ENDPOINT_MAX	128u /* bytes of a URL, with its end */

struct vmft_etcd_endpoints {
	unsigned count; /* 1..VMFT_ETCD_ENDPOINTS_MAX, no two the same */
	bool tls;	/* all are https; else all are http */
	char url[VMFT_ETCD_ENDPOINTS_MAX][VMFT_ETCD_ENDPOINT_MAX]; /* SCHEME://HOST:PORT */
};

/* where is what follows "etcd:". -EINVAL: *ret is undefined, *ret_todo says what to write. */
int vmft_etcd_endpoints_parse(const char *where, struct vmft_etcd_endpoints *ret,
			      const char **ret_todo);

#endif
