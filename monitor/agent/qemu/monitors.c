/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * port.h: what may come through QEMU's own monitors, QMP and the human one. A command that makes
 * another machine of one side, or that takes the guest's state elsewhere, is refused there. The
 * lists are QEMU's own tables of commands: it tells whoever asks.
 */
#include "inside.h"

#include <errno.h>
#include <string.h>

/* QmpCommand (include/qapi/qmp/dispatch.h) begins with these, in 7.2 and in 10.0. */
struct qmp_command {
	const char *name;
	void (*run)(void *arguments, void **ret, void **err);
};

/* HMPCommand (monitor/monitor-internal.h), in 7.2 and in 10.0. */
struct hmp_command {
	const char *name; /* "cont|c" */
	const char *words[4];
	void (*run)(void *monitor, const void *arguments);
	void *run_info;
	void *rest[3];
};

static_assert(sizeof(struct hmp_command) == 80, "HMPCommand of 7.2 and 10.0");

#define REFUSED                                                                                    \
	"vmft protects this guest, and its backup would not follow this command; end the "         \
	"protection first"
/* libvirt sets how often the balloon's device asks the guest; qom-set may set no other property. */
#define SETTABLE "guest-stats-polling-interval"

#define NOT_HERE "vmft: the guest goes on on the other host, or has ended"

/* Besides query-...: they ask, or they do to the guest what a person could do, and what it does
 * then is in the state that is sent; or they change what belongs to the host. */
static const char *const qmp_allowed[] = {
    "qmp_capabilities",
    "device-list-properties",
    "qom-list",
    "qom-get",
    "qom-list-types",
    "qom-list-properties",
    "human-monitor-command",
    "getfd",
    "closefd",
    "add-fd",
    "remove-fd",
    "quit",
    "cont",
    "stop",
    "system_powerdown",
    "system_reset",
    "system_wakeup",
    "inject-nmi",
    "send-key",
    "input-send-event",
    "balloon",
    "set_password",
    "expire_password",
    "change-vnc-password",
    "display-reload",
    "screendump",
    "ringbuf-read",
    "rtc-reset-reinjection",
    "memsave",
    "pmemsave",
    NULL,
};

/* vmft moves the guest's state itself: these are answered, and nothing is done. */
static const char *const qmp_ignored[] = {"migrate-set-capabilities", "migrate-set-parameters",
					  NULL};

static const char *const hmp_allowed[] = {
    "help",
    "info",
    "quit",
    "cont",
    "stop",
    "system_powerdown",
    "system_reset",
    "system_wakeup",
    "nmi",
    "sendkey",
    "mouse_move",
    "mouse_button",
    "mouse_set",
    "balloon",
    "set_password",
    "expire_password",
    "screendump",
    "print",
    "x",
    "xp",
    "sum",
    "memsave",
    "pmemsave",
    "getfd",
    "closefd",
    "ringbuf_read",
    "gpa2hva",
    "gva2gpa",
    "qom-list",
    "qom-get",
    NULL,
};

static struct {
	enum vmft_qemu_cont (*ask)(void);
	void (*cont)(void *arguments, void **ret, void **err);
	void (*qom_set)(void *arguments, void **ret, void **err);
	void (*hmp_cont)(void *monitor, const void *arguments);
} guard;

static bool listed(const char *const *list, const char *name, size_t n)
{
	for (; *list; list++)
		if (strlen(*list) == n && strncmp(*list, name, n) == 0)
			return true;
	return false;
}

/* --- cont ------------------------------------------------------------------------ */

/* Whoever has started QEMU waits for the event that the guest runs, which it may have sent before
 * anybody listened. */
static bool runs_already(void)
{
	if (!vmft_qemu.symbols.runstate_is_running())
		return false;
	vmft_qemu.symbols.qapi_event_send_resume();
	return true;
}

static void qmp_cont(void *arguments, void **ret, void **err)
{
	switch (guard.ask()) {
	case VMFT_QEMU_CONT_GO:
		if (!runs_already())
			guard.cont(arguments, ret, err);
		break;
	case VMFT_QEMU_CONT_LATER:
		break;
	case VMFT_QEMU_CONT_NEVER:
		vmft_qemu.symbols.error_setg_internal(err, __FILE__, __LINE__, __func__, "%s",
						      NOT_HERE);
		break;
	}
}

static void hmp_cont(void *monitor, const void *arguments)
{
	switch (guard.ask()) {
	case VMFT_QEMU_CONT_GO:
		if (!runs_already())
			guard.hmp_cont(monitor, arguments);
		break;
	case VMFT_QEMU_CONT_LATER:
		(void)vmft_qemu.symbols.monitor_printf(
		    monitor, "vmft starts the guest as soon as it may run\n");
		break;
	case VMFT_QEMU_CONT_NEVER:
		(void)vmft_qemu.symbols.monitor_printf(monitor, "%s\n", NOT_HERE);
		break;
	}
}

/* --- the tables -------------------------------------------------------------------- */

static void qmp_ignore(void *arguments, void **ret, void **err)
{
	(void)arguments;
	(void)ret;
	(void)err;
}

static void qmp_qom_set(void *arguments, void **ret, void **err)
{
	const char *property = vmft_qemu.symbols.qdict_get_try_str(arguments, "property");

	if (property && strcmp(property, SETTABLE) == 0)
		guard.qom_set(arguments, ret, err);
	else
		vmft_qemu.symbols.error_setg_internal(err, __FILE__, __LINE__, __func__, "%s",
						      REFUSED);
}

static void guard_qmp_command(const void *entry, void *unused)
{
	struct qmp_command *command = (struct qmp_command *)entry;
	const size_t n = strlen(command->name);

	(void)unused;
	if (strcmp(command->name, "cont") == 0) {
		guard.cont = command->run;
		command->run = qmp_cont;
	} else if (strcmp(command->name, "qom-set") == 0) {
		guard.qom_set = command->run;
		command->run = qmp_qom_set;
	} else if (listed(qmp_ignored, command->name, n)) {
		command->run = qmp_ignore;
	} else if (strncmp(command->name, "query-", 6) != 0 &&
		   !listed(qmp_allowed, command->name, n)) {
		vmft_qemu.symbols.qmp_disable_command(vmft_qemu.symbols.qmp_commands, command->name,
						      REFUSED);
	}
}

struct found {
	const void *entry;
};

static void find_cont(const void *entry, void *user)
{
	struct found *found = user;

	if (strcmp(vmft_qemu.symbols.qmp_command_name(entry), "cont") == 0)
		found->entry = entry;
}

static void hmp_refuse(void *monitor, const void *arguments)
{
	(void)arguments;
	(void)vmft_qemu.symbols.monitor_printf(monitor, "%s\n", REFUSED);
}

static struct hmp_command *hmp_find(const char *name)
{
	struct hmp_command *command = (struct hmp_command *)vmft_qemu.symbols.hmp_cmds;

	while (command->name && (strncmp(command->name, name, strlen(name)) != 0 ||
				 strcspn(command->name, "|") != strlen(name)))
		command++;
	return command->name ? command : NULL;
}

static void guard_hmp(void)
{
	struct hmp_command *command = (struct hmp_command *)vmft_qemu.symbols.hmp_cmds;

	for (; command->name; command++) {
		if (listed(hmp_allowed, command->name, strcspn(command->name, "|")))
			continue;
		command->run = hmp_refuse;
		command->run_info = NULL;
	}
	command = hmp_find("cont");
	guard.hmp_cont = command->run;
	command->run = hmp_cont;
}

int vmft_qemu_guard_monitors(enum vmft_qemu_cont (*ask)(void))
{
	const struct vmft_qemu_symbols *s = &vmft_qemu.symbols;
	struct found found = {0};
	const struct hmp_command *human;

	s->qmp_for_each_command(s->qmp_commands, find_cont, &found);
	if (!found.entry)
		return -EAGAIN;
	/* Each table is known by what is at the place of one entry's function. */
	human = hmp_find("cont");
	if (((const struct qmp_command *)found.entry)->run != s->qmp_marshal_cont || !human ||
	    human->run != s->hmp_cont)
		return -EPROTO;
	guard.ask = ask;
	s->qmp_for_each_command(s->qmp_commands, guard_qmp_command, NULL);
	guard_hmp();
	return 0;
}
