/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The sections of a pair's configuration, for its tests. */
#ifndef VMFT_TEST_PAIR_TEXT_H
#define VMFT_TEST_PAIR_TEXT_H

#include <string.h>

#include "monitor/common/pair-config.h"
#include "monitor/common/pair-parser.h"

/* Sections and keys, which tests put together. */
#define PAIR	"[pair]\nname = web1\narbiter = file:/mnt/shared/vmft\n"
#define ETCD	"[pair]\nname = web1\narbiter = etcd:https://[::1]:2379,https://e-2.lan:2379\n"
#define PRIMARY "[primary]\nchannel = 10.9.0.1:7700\n"
#define BACKUP	"[backup]\nchannel = 10.9.0.2:7700\n"
#define BEAT1	"heartbeat = 10.8.0.1:7701\n"
#define BEAT2	"heartbeat = 10.8.0.2:7701\n"
#define SPARE	"[spare]\nchannel = 10.9.0.3:7700\n"
#define ALPHA	"[host alpha]\nchannel = 10.9.0.1:7700\n"
#define BETA	"[host beta]\nchannel = 10.9.0.2:7700\n"
#define GAMMA	"[host gamma-3]\nchannel = 10.9.0.3:7700\n"

/* Parses the text as a file called f. */
int pair_parse(const char *text, struct vmft_pair_config *config, struct vmft_error *err);

#endif
