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
#define NOT_YET                                                                                    \
	"vmft: the guest does not run on this host: this is its backup, or waits for its start"

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
    "set_password",
    "expire_password",
    "change-vnc-password",
    "display-reload",
    "screendump",
    "ringbuf-read",
    "memsave",
    "pmemsave",
    NULL,
};

/* vmft moves the guest's state itself: these are answered, and nothing is done. */
static const char *const qmp_ignored[] = {"migrate-set-capabilities", "migrate-set-parameters",
					  NULL};

static const char *const hmp_allowed[] = {
    "help",	  "info",    "quit",	"mouse_set",	"set_password", "expire_password",
    "screendump", "print",   "x",	"xp",		"sum",		"memsave",
    "pmemsave",	  "getfd",   "closefd", "ringbuf_read", "gpa2hva",	"gva2gpa",
    "qom-list",	  "qom-get", NULL,
};

static bool listed(const char *const *list, const char *name, size_t n)
{
	for (; *list; list++)
		if (strlen(*list) == n && strncmp(*list, name, n) == 0)
			return true;
	return false;
}

/* --- commands that the guest notices ------------------------------------------------ */

/* X(index, QMP's name, the human monitor's name or "", what is asked about it) */
#define GUARDED_COMMANDS(X)                                                                        \
	X(0, "cont", "cont", VMFT_QEMU_CONT)                                                       \
	X(1, "stop", "stop", VMFT_QEMU_STOP)                                                       \
	X(2, "system_powerdown", "system_powerdown", VMFT_QEMU_POWERDOWN)                          \
	X(3, "system_reset", "system_reset", VMFT_QEMU_RESET)                                      \
	X(4, "system_wakeup", "system_wakeup", VMFT_QEMU_WAKEUP)                                   \
	X(5, "balloon", "balloon", VMFT_QEMU_BALLOON)                                              \
	X(6, "inject-nmi", "nmi", VMFT_QEMU_NMI)                                                   \
	X(7, "send-key", "sendkey", VMFT_QEMU_INPUT)                                               \
	X(8, "input-send-event", "mouse_move", VMFT_QEMU_INPUT)                                    \
	X(9, "", "mouse_button", VMFT_QEMU_INPUT)                                                  \
	X(10, "rtc-reset-reinjection", "", VMFT_QEMU_CLOCK)

static void qmp_guarded(unsigned index, void *arguments, void **ret, void **err);
static void hmp_guarded(unsigned index, void *monitor, const void *arguments);

/* QEMU does not tell a command's function which command it is. So each has one of its own. */
#define DEFINE_RUN(index, qmp, hmp, command)                                                       \
	static void qmp_run_##index(void *arguments, void **ret, void **err)                       \
	{                                                                                          \
		qmp_guarded(index, arguments, ret, err);                                           \
	}                                                                                          \
	static void hmp_run_##index(void *monitor, const void *arguments)                          \
	{                                                                                          \
		hmp_guarded(index, monitor, arguments);                                            \
	}
GUARDED_COMMANDS(DEFINE_RUN)
#undef DEFINE_RUN

#define ROW(index, qmp, hmp, command) {qmp, hmp, command, qmp_run_##index, hmp_run_##index},
static const struct {
	const char *qmp, *hmp;
	enum vmft_qemu_command command;
	void (*qmp_run)(void *arguments, void **ret, void **err);
	void (*hmp_run)(void *monitor, const void *arguments);
} guarded[] = {GUARDED_COMMANDS(ROW)};
#undef ROW

#define GUARDED_COUNT (sizeof(guarded) / sizeof(guarded[0]))

/* QEMU's own functions, which the tables had. */
static struct {
	const struct vmft_qemu_guard *guard;
	void (*qmp[GUARDED_COUNT])(void *arguments, void **ret, void **err);
	void (*hmp[GUARDED_COUNT])(void *monitor, const void *arguments);
	void (*qom_set)(void *arguments, void **ret, void **err);
	void (*query_status)(void *arguments, void **ret, void **err);
} own;

void vmft_qemu_tell_running(void)
{
	vmft_qemu.symbols.qapi_event_send_resume();
}

/*
 * libvirt knows from events whether the guest runs. Without one it would take this domain for one
 * that was never fully started, and would kill QEMU when libvirtd is restarted
 * (qemuProcessReconnect() in its qemu_process.c, VIR_DOMAIN_PAUSED_STARTING_UP).
 */
static void tell_paused(void)
{
	vmft_qemu_tell_running();
	vmft_qemu.symbols.qapi_event_send_stop();
}

/* Whoever has started QEMU waits for the event that the guest runs, which it may have sent before
 * anybody listened. */
static bool runs_already(enum vmft_qemu_command command)
{
	if (command != VMFT_QEMU_CONT || !vmft_qemu.symbols.runstate_is_running())
		return false;
	vmft_qemu_tell_running();
	return true;
}

static const char *refusal(enum vmft_qemu_answer answer)
{
	switch (answer) {
	case VMFT_QEMU_NOT_HERE:
		return NOT_YET;
	case VMFT_QEMU_NEVER:
		return NOT_HERE;
	default:
		return REFUSED;
	}
}

static void qmp_refuse(void **err, const char *why)
{
	vmft_qemu.symbols.error_setg_internal(err, __FILE__, __LINE__, __func__, "%s", why);
}

static void qmp_guarded(unsigned index, void *arguments, void **ret, void **err)
{
	const enum vmft_qemu_command command = guarded[index].command;
	const enum vmft_qemu_answer answer = own.guard->ask(command);

	if (answer == VMFT_QEMU_GO) {
		if (!runs_already(command))
			own.qmp[index](arguments, ret, err);
	} else if (answer == VMFT_QEMU_LATER) {
		tell_paused();
	} else if (answer != VMFT_QEMU_DONE) {
		qmp_refuse(err, refusal(answer));
	}
}

static void hmp_guarded(unsigned index, void *monitor, const void *arguments)
{
	const enum vmft_qemu_command command = guarded[index].command;
	const enum vmft_qemu_answer answer = own.guard->ask(command);

	if (answer == VMFT_QEMU_GO) {
		if (!runs_already(command))
			own.hmp[index](monitor, arguments);
	} else if (answer == VMFT_QEMU_LATER) {
		tell_paused();
		(void)vmft_qemu.symbols.monitor_printf(
		    monitor, "vmft starts the guest as soon as it may run\n");
	} else if (answer != VMFT_QEMU_DONE) {
		(void)vmft_qemu.symbols.monitor_printf(monitor, "%s\n", refusal(answer));
	}
}

/* The guest of a lockstep backup runs, some time after the primary's. To whoever asks, it is
 * paused: it is not the guest that clients use. */
static void qmp_query_status(void *arguments, void **ret, void **err)
{
	own.query_status(arguments, ret, err);
	if (!*ret || !own.guard->shows_paused())
		return;
	vmft_qemu.symbols.qdict_put_bool(*ret, "running", false);
	vmft_qemu.symbols.qdict_put_str(*ret, "status", "paused");
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
		own.qom_set(arguments, ret, err);
	else
		qmp_refuse(err, REFUSED);
}

/* Whether it is one of the commands that are asked about. */
static bool guard_by_question(struct qmp_command *command)
{
	for (size_t i = 0; i < GUARDED_COUNT; i++) {
		if (strcmp(command->name, guarded[i].qmp) != 0)
			continue;
		own.qmp[i] = command->run;
		command->run = guarded[i].qmp_run;
		return true;
	}
	return false;
}

static void guard_qmp_command(const void *entry, void *unused)
{
	struct qmp_command *command = (struct qmp_command *)entry;
	const size_t n = strlen(command->name);

	(void)unused;
	if (guard_by_question(command))
		return;
	if (strcmp(command->name, "qom-set") == 0) {
		own.qom_set = command->run;
		command->run = qmp_qom_set;
	} else if (strcmp(command->name, "query-status") == 0) {
		own.query_status = command->run;
		command->run = qmp_query_status;
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

static bool hmp_guard_by_question(struct hmp_command *command)
{
	for (size_t i = 0; i < GUARDED_COUNT; i++) {
		if (hmp_find(guarded[i].hmp) != command)
			continue;
		own.hmp[i] = command->run;
		command->run = guarded[i].hmp_run;
		return true;
	}
	return false;
}

static void guard_hmp(void)
{
	struct hmp_command *command = (struct hmp_command *)vmft_qemu.symbols.hmp_cmds;

	for (; command->name; command++) {
		if (listed(hmp_allowed, command->name, strcspn(command->name, "|")) ||
		    hmp_guard_by_question(command))
			continue;
		command->run = hmp_refuse;
		command->run_info = NULL;
	}
}

int vmft_qemu_guard_monitors(const struct vmft_qemu_guard *guard)
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
	own.guard = guard;
	s->qmp_for_each_command(s->qmp_commands, guard_qmp_command, NULL);
	guard_hmp();
	return 0;
}
