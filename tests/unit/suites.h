/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Each registers one CUnit suite; 0, or -1 when CUnit would not have it. */
#ifndef VMFT_TEST_SUITES_H
#define VMFT_TEST_SUITES_H

int vmft_suite_agent(void);
int vmft_suite_divergence(void);
int vmft_suite_alarm(void);
int vmft_suite_attach(void);
int vmft_suite_attach_ends(void);
int vmft_suite_pace(void);
int vmft_suite_checkpoint_agent(void);
int vmft_suite_console(void);
int vmft_suite_power(void);
int vmft_suite_disk(void);
int vmft_suite_disk_fault(void);
int vmft_suite_checkpoint_attach(void);
int vmft_suite_checkpoint_damage(void);
int vmft_suite_checkpoint_disk(void);
int vmft_suite_checkpoint_epochs(void);
int vmft_suite_checkpoint_input(void);
int vmft_suite_checkpoint_primary(void);
int vmft_suite_nic(void);
int vmft_suite_presence(void);
int vmft_suite_qemu_port(void);
int vmft_suite_links(void);
int vmft_suite_pacer(void);
int vmft_suite_guest_clock(void);
int vmft_suite_area(void);
int vmft_suite_agent_link(void);
int vmft_suite_heartbeat(void);
int vmft_suite_strangers(void);
int vmft_suite_sides(void);
int vmft_suite_transport(void);
int vmft_suite_image(void);
int vmft_suite_strategy(void);
int vmft_suite_epoch(void);
int vmft_suite_event(void);
int vmft_suite_ring(void);
int vmft_suite_savedlog(void);
int vmft_suite_frame(void);
int vmft_suite_hello(void);
int vmft_suite_tap_facts(void);
int vmft_suite_control(void);
int vmft_suite_control_socket(void);
int vmft_suite_status(void);
int vmft_suite_status_text(void);
int vmft_suite_lag(void);
int vmft_suite_arbiter(void);
int vmft_suite_etcd(void);
int vmft_suite_iface(void);
int vmft_suite_read_whole(void);
int vmft_suite_settings(void);
int vmft_suite_core(void);
int vmft_suite_cmdline(void);
int vmft_suite_pair_config(void);

#endif
