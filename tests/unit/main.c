/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Runs every CUnit suite; exits 0 only if all assertions held. */
#include <CUnit/Basic.h>
#include <stdlib.h>

#include "suites.h"

int main(void)
{
	static int (*const suites[])(void) = {
	    /* First: it sends signals in a child, where ThreadSanitizer holds them back if this
	     * process has threads. Other suites leave some. */
	    vmft_suite_checkpoint_end,
	    vmft_suite_checkpoint_agent,
	    vmft_suite_checkpoint_stops,
	    vmft_suite_checkpoint_gate,
	    vmft_suite_checkpoint_live,
	    vmft_suite_agent,
	    vmft_suite_agent_time,
	    vmft_suite_agent_gate,
	    vmft_suite_agent_feed,
	    vmft_suite_strategy,
	    vmft_suite_divergence,
	    vmft_suite_divergence_monitor,
	    vmft_suite_track,
	    vmft_suite_attach,
	    vmft_suite_buttons,
	    vmft_suite_disk,
	    vmft_suite_find_pair,
	    vmft_suite_disk_fault,
	    vmft_suite_attach_ends,
	    vmft_suite_pace,
	    vmft_suite_console,
	    vmft_suite_power,
	    vmft_suite_turns,
	    vmft_suite_nic,
	    vmft_suite_presence,
	    vmft_suite_command_line_parts,
	    vmft_suite_monitors,
	    vmft_suite_qemu_port,
	    vmft_suite_links,
	    vmft_suite_event,
	    vmft_suite_ring,
	    vmft_suite_savedlog,
	    vmft_suite_savedlog_writer,
	    vmft_suite_savedlog_text,
	    vmft_suite_frame,
	    vmft_suite_hello,
	    vmft_suite_tap_facts,
	    vmft_suite_epoch,
	    vmft_suite_epoch_bad,
	    vmft_suite_control,
	    vmft_suite_control_socket,
	    vmft_suite_status,
	    vmft_suite_status_text,
	    vmft_suite_lag,
	    vmft_suite_alarm,
	    vmft_suite_arbiter,
	    vmft_suite_etcd,
	    vmft_suite_iface,
	    vmft_suite_read_whole,
	    vmft_suite_settings,
	    vmft_suite_builds,
	    vmft_suite_domains,
	    vmft_suite_area,
	    vmft_suite_agent_link,
	    vmft_suite_handover,
	    vmft_suite_heartbeat,
	    vmft_suite_strangers,
	    vmft_suite_sides,
	    vmft_suite_transport,
	    vmft_suite_image,
	    vmft_suite_core,
	    vmft_suite_core_pair,
	    vmft_suite_core_attach,
	    vmft_suite_cmdline,
	    vmft_suite_golden,
	    vmft_suite_pair_config,
	    vmft_suite_pair_config_refused,
	    vmft_suite_guest_clock,
	    vmft_suite_pacer,
	    vmft_suite_checkpoint_epochs,
	    vmft_suite_checkpoint_damage,
	    vmft_suite_checkpoint_disk,
	    vmft_suite_checkpoint_attach,
	    vmft_suite_checkpoint_input,
	    vmft_suite_checkpoint_primary,
	};
	unsigned failed;

	if (CU_initialize_registry() != CUE_SUCCESS)
		return EXIT_FAILURE;
	for (size_t i = 0; i < sizeof(suites) / sizeof(suites[0]); i++)
		if (suites[i]() != 0)
			return EXIT_FAILURE;
	CU_basic_set_mode(CU_BRM_VERBOSE);
	(void)CU_basic_run_tests();
	failed = CU_get_number_of_failures() + CU_get_number_of_suites_failed();
	CU_cleanup_registry();
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
