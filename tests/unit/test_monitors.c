/* SPDX-License-Identifier: GPL-2.0-or-later */
/* monitor/agent/qemu/monitors.c: QEMU's monitors refuse what the other side would not follow. */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "agent_world.h"
#include "monitor/agent/qemu/inside.h"
#include "suites.h"

/* The beginnings of QEMU's structs, as the tables of the test have them. */
struct qmp_entry {
	const char *name;
	void (*run)(void *arguments, void **ret, void **err);
};

struct hmp_entry {
	const char *name, *words[4];
	void (*run)(void *monitor, const void *arguments);
	void *run_info, *rest[3];
};

static struct {
	struct qmp_entry qmp[9];
	struct hmp_entry hmp[6];
	char said[256]; /* what was refused and done, in order */
	bool running, paused;
	enum vmft_qemu_answer answer;
	enum vmft_qemu_command asked; /* what was asked about last */
} m;

static void say(const char *what)
{
	strcat(m.said, what);
}

static void marshal_cont(void *arguments, void **ret, void **err)
{
	(void)arguments;
	(void)ret;
	(void)err;
	say("cont ");
}

static void human_cont(void *monitor, const void *arguments)
{
	(void)monitor;
	(void)arguments;
	say("hmp-cont ");
}

static void another(void *arguments, void **ret, void **err)
{
	(void)arguments;
	(void)ret;
	(void)err;
	say("another ");
}

static void human_another(void *monitor, const void *arguments)
{
	(void)monitor;
	(void)arguments;
	say("hmp-another ");
}

static void for_each(const void *list, void (*call)(const void *command, void *user), void *user)
{
	const struct qmp_entry *entry = list;

	for (; entry->name; entry++)
		call(entry, user);
}

static const char *command_name(const void *command)
{
	return ((const struct qmp_entry *)command)->name;
}

static void disable(void *list, const char *name, const char *reason)
{
	CU_ASSERT_PTR_EQUAL(list, m.qmp);
	CU_ASSERT_PTR_NOT_NULL(strstr(reason, "backup"));
	say("no-");
	say(name);
	say(" ");
}

static int print(void *monitor, const char *format, ...)
{
	(void)monitor;
	(void)format;
	say("told ");
	return 0;
}

static void set_error(void **err, const char *file, int line, const char *function,
		      const char *format, ...)
{
	static int any;

	(void)file;
	(void)line;
	(void)function;
	(void)format;
	*err = &any;
}

static bool is_running(void)
{
	return m.running;
}

static void send_stop(void)
{
	say("stopped ");
}

static void send_resume(void)
{
	say("event ");
}

/* Arguments are the text of their only key. */
static const char *get_text(const void *dictionary, const char *key)
{
	CU_ASSERT_STRING_EQUAL(key, "property");
	return dictionary;
}

static enum vmft_qemu_answer ask(enum vmft_qemu_command command)
{
	m.asked = command;
	return m.answer;
}

static bool shows_paused(void)
{
	return m.paused;
}

static const struct vmft_qemu_guard guard = {.ask = ask, .shows_paused = shows_paused};

static void put_bool(void *dictionary, const char *key, bool value)
{
	CU_ASSERT_PTR_EQUAL(dictionary, &m);
	CU_ASSERT_STRING_EQUAL(key, "running");
	say(value ? "true " : "false ");
}

static void put_str(void *dictionary, const char *key, const char *value)
{
	CU_ASSERT_PTR_EQUAL(dictionary, &m);
	CU_ASSERT_STRING_EQUAL(key, "status");
	say(value);
	say(" ");
}

static void monitors_up(void)
{
	struct vmft_qemu_symbols *s = &vmft_qemu.symbols;

	memset(&m, 0, sizeof(m));
	m.qmp[0] = (struct qmp_entry){"query-status", another};
	m.qmp[1] = (struct qmp_entry){"cont", marshal_cont};
	m.qmp[2] = (struct qmp_entry){"device_add", another};
	m.qmp[3] = (struct qmp_entry){"migrate-set-capabilities", another};
	m.qmp[4] = (struct qmp_entry){"migrate", another};
	m.qmp[5] = (struct qmp_entry){"system_reset", another};
	m.qmp[6] = (struct qmp_entry){"qom-set", another};
	m.qmp[7] = (struct qmp_entry){"stop", another};
	m.hmp[0] = (struct hmp_entry){.name = "info|i", .run = human_another};
	m.hmp[1] = (struct hmp_entry){.name = "continue", .run = human_another};
	m.hmp[2] = (struct hmp_entry){.name = "cont|c", .run = human_cont};
	m.hmp[3] = (struct hmp_entry){.name = "savevm", .run = human_another, .run_info = &m};
	s->qmp_commands = m.qmp;
	s->hmp_cmds = m.hmp;
	s->qmp_for_each_command = for_each;
	s->qmp_command_name = command_name;
	s->qmp_disable_command = disable;
	s->qmp_marshal_cont = marshal_cont;
	s->hmp_cont = human_cont;
	s->monitor_printf = print;
	s->error_setg_internal = set_error;
	s->runstate_is_running = is_running;
	s->qdict_get_try_str = get_text;
	s->qapi_event_send_resume = send_resume;
	s->qapi_event_send_stop = send_stop;
	s->qdict_put_bool = put_bool;
	s->qdict_put_str = put_str;
}

static void said_is(const char *want)
{
	CU_ASSERT_STRING_EQUAL(m.said, want);
	m.said[0] = '\0';
}

static void test_refused(void)
{
	monitors_up();
	CU_ASSERT_EQUAL(vmft_qemu_guard_monitors(&guard), 0);
	said_is("no-device_add no-migrate ");
	m.hmp[3].run(NULL, NULL);
	CU_ASSERT_PTR_NULL(m.hmp[3].run_info);
	m.hmp[1].run(NULL, NULL);
	said_is("told told ");
	m.hmp[0].run(NULL, NULL);
	m.qmp[5].run(NULL, NULL, NULL);
	said_is("hmp-another another ");
	/* It is answered, and does nothing. */
	m.qmp[3].run(NULL, NULL, NULL);
	said_is("");
}

/* qom-set could change a device of one side. */
static void test_qom_set(void)
{
	static char other[] = "guest-stats-polling", allowed[] = "guest-stats-polling-interval";
	void *err = NULL;

	monitors_up();
	CU_ASSERT_EQUAL(vmft_qemu_guard_monitors(&guard), 0);
	m.said[0] = '\0';
	m.qmp[6].run(allowed, NULL, &err);
	said_is("another ");
	CU_ASSERT_PTR_NULL(err);
	m.qmp[6].run(other, NULL, &err);
	CU_ASSERT_PTR_NOT_NULL(err);
	err = NULL;
	m.qmp[6].run(NULL, NULL, &err);
	CU_ASSERT_PTR_NOT_NULL(err);
	said_is("");
}

static void test_cont(void)
{
	void *err = NULL;

	monitors_up();
	CU_ASSERT_EQUAL_FATAL(vmft_qemu_guard_monitors(&guard), 0);
	m.said[0] = '\0';
	m.answer = VMFT_QEMU_GO;
	m.qmp[1].run(NULL, NULL, &err);
	m.hmp[2].run(NULL, NULL);
	said_is("cont hmp-cont ");
	m.running = true;
	m.qmp[1].run(NULL, NULL, &err);
	m.hmp[2].run(NULL, NULL);
	said_is("event event ");
	CU_ASSERT_PTR_NULL(err);
	m.answer = VMFT_QEMU_LATER;
	m.qmp[1].run(NULL, NULL, &err);
	said_is("event stopped ");
	m.hmp[2].run(NULL, NULL);
	said_is("event stopped told ");
	CU_ASSERT_PTR_NULL(err);
	m.answer = VMFT_QEMU_NEVER;
	m.hmp[2].run(NULL, NULL);
	said_is("told ");
	m.qmp[1].run(NULL, NULL, &err);
	said_is("");
	CU_ASSERT_PTR_NOT_NULL(err);
}

/* Each command is asked about by what it does to the guest. */
static void test_asked(void)
{
	void *err = NULL;

	monitors_up();
	CU_ASSERT_EQUAL_FATAL(vmft_qemu_guard_monitors(&guard), 0);
	m.said[0] = '\0';
	m.running = true;
	m.qmp[5].run(NULL, NULL, &err);
	CU_ASSERT_EQUAL(m.asked, VMFT_QEMU_RESET);
	m.qmp[7].run(NULL, NULL, &err);
	CU_ASSERT_EQUAL(m.asked, VMFT_QEMU_STOP);
	said_is("another another ");
	m.answer = VMFT_QEMU_DONE;
	m.qmp[5].run(NULL, NULL, &err);
	CU_ASSERT_PTR_NULL(err);
	m.answer = VMFT_QEMU_REFUSED;
	m.qmp[5].run(NULL, NULL, &err);
	CU_ASSERT_PTR_NOT_NULL(err);
	err = NULL;
	m.answer = VMFT_QEMU_NOT_HERE;
	m.qmp[7].run(NULL, NULL, &err);
	CU_ASSERT_PTR_NOT_NULL(err);
	said_is("");
}

static void test_status(void)
{
	void *ret = &m, *err = NULL;

	monitors_up();
	CU_ASSERT_EQUAL_FATAL(vmft_qemu_guard_monitors(&guard), 0);
	m.said[0] = '\0';
	m.qmp[0].run(NULL, &ret, &err);
	said_is("another ");
	m.paused = true;
	m.qmp[0].run(NULL, &ret, &err);
	said_is("another false paused ");
	/* QEMU has failed. */
	ret = NULL;
	m.qmp[0].run(NULL, &ret, &err);
	said_is("another ");
}

/* Nothing is changed in tables that are not those of a known QEMU, or are not there yet. */
static void test_other_tables(void)
{
	monitors_up();
	m.qmp[0].name = NULL;
	CU_ASSERT_EQUAL(vmft_qemu_guard_monitors(&guard), -EAGAIN);
	monitors_up();
	m.qmp[1].run = another;
	CU_ASSERT_EQUAL(vmft_qemu_guard_monitors(&guard), -EPROTO);
	monitors_up();
	m.hmp[2].run = human_another;
	CU_ASSERT_EQUAL(vmft_qemu_guard_monitors(&guard), -EPROTO);
	monitors_up();
	m.hmp[2].name = NULL;
	CU_ASSERT_EQUAL(vmft_qemu_guard_monitors(&guard), -EPROTO);
	said_is("");
	CU_ASSERT_PTR_EQUAL(m.hmp[3].run, human_another);
}

int vmft_suite_monitors(void)
{
	static CU_TestInfo tests[] = {
	    {"what is refused", test_refused},
	    {"qom-set", test_qom_set},
	    {"cont", test_cont},
	    {"what is asked about", test_asked},
	    {"query-status", test_status},
	    {"other tables", test_other_tables},
	    CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {
	    {"QEMU's monitors", NULL, NULL, NULL, NULL, tests},
	    CU_SUITE_INFO_NULL,
	};

	return CU_register_suites(suites) == CUE_SUCCESS ? 0 : -1;
}
