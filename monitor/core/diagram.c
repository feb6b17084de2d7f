/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Prints the table in core.c for Graphviz. docs/failover.dot is its output, which a test compares;
 * scripts/draw-failover makes the picture.
 */
#include <stdio.h>

#include "core.h"

/* A transition that leads back to its own state is not drawn. */
static uint32_t targets(enum vmft_side side, enum vmft_state from, enum vmft_in in)
{
	uint32_t next;

	if (vmft_core_rule(side, from, in, &next) != VMFT_RULE_HANDLED)
		return 0;
	return next & ~(1u << from);
}

/* The states that transitions out of a state lead to, or into it come from; bits of states. */
static uint32_t all_targets(enum vmft_side side, enum vmft_state from)
{
	uint32_t all = 0;

	for (int in = 0; in < VMFT_IN_COUNT; in++)
		all |= targets(side, from, (enum vmft_in)in);
	return all;
}

/* A backup that is live becomes a primary. */
static enum vmft_side side_of(enum vmft_side side, enum vmft_state to)
{
	return to == VMFT_STATE_ALONE ? VMFT_SIDE_PRIMARY : side;
}

/*
 * Nearly every state may end or be found to have diverged. Drawn to one node, these would be half
 * of all lines, so each state gets an end of its own.
 */
static bool is_end(enum vmft_state state)
{
	return state == VMFT_STATE_ENDED || state == VMFT_STATE_DIVERGED;
}

static const char *ink_of(enum vmft_state end)
{
	return end == VMFT_STATE_DIVERGED ? "#c62828" : "#757575";
}

static const char *colour_of(enum vmft_state state)
{
	switch (state) {
	case VMFT_STATE_PROTECTED:
		return "#c8e6c9";
	case VMFT_STATE_LAGGING:
		return "#e6eec0";
	case VMFT_STATE_ALONE:
	case VMFT_STATE_ATTACHING:
	case VMFT_STATE_SEALING:
		return "#ffe0b2";
	case VMFT_STATE_FENCED:
		return "#ef9a9a";
	default:
		return "#eceff1";
	}
}

static void print_node(enum vmft_side side, enum vmft_state state)
{
	const struct vmft_core core = {.side = side, .state = state};

	printf("\t\t\"%s %s\" [label=\"%s\", fillcolor=\"%s\"%s];\n", vmft_side_name(side),
	       vmft_state_name(state), vmft_state_name(state), colour_of(state),
	       vmft_core_is_final(&core) ? ", peripheries=2" : "");
}

static void print_end(enum vmft_side side, enum vmft_state from, enum vmft_state to)
{
	if (is_end(to))
		printf("\t\t\"%s %s %s\" [label=\"%s\", shape=plaintext, style=\"\", "
		       "height=0.2, fontsize=11, fontcolor=\"%s\"];\n",
		       vmft_side_name(side), vmft_state_name(from), vmft_state_name(to),
		       vmft_state_name(to), ink_of(to));
}

static void print_side(enum vmft_side side)
{
	uint32_t states = 1u << VMFT_STATE_FORMING;

	for (int from = 0; from < VMFT_STATE_COUNT; from++)
		states |= all_targets(side, (enum vmft_state)from);
	printf("\tsubgraph \"cluster %s\" {\n\t\tlabel=\"%s\";\n", vmft_side_name(side),
	       vmft_side_name(side));
	for (int i = 0; i < VMFT_STATE_COUNT; i++)
		if (states & (1u << i) && !is_end((enum vmft_state)i) &&
		    side_of(side, (enum vmft_state)i) == side)
			print_node(side, (enum vmft_state)i);
	for (int from = 0; from < VMFT_STATE_COUNT; from++)
		for (int to = 0; to < VMFT_STATE_COUNT; to++)
			if (all_targets(side, (enum vmft_state)from) & (1u << to))
				print_end(side, (enum vmft_state)from, (enum vmft_state)to);
	printf("\t}\n");
}

static void print_edge(enum vmft_side side, enum vmft_state from, enum vmft_state to)
{
	const char *separator = "";

	if (!(all_targets(side, from) & (1u << to)))
		return;
	printf("\t\"%s %s\" -> ", vmft_side_name(side), vmft_state_name(from));
	if (is_end(to))
		printf("\"%s %s %s\"", vmft_side_name(side), vmft_state_name(from),
		       vmft_state_name(to));
	else
		printf("\"%s %s\"", vmft_side_name(side_of(side, to)), vmft_state_name(to));
	printf(" [label=\"");
	for (int in = 0; in < VMFT_IN_COUNT; in++) {
		if (!(targets(side, from, (enum vmft_in)in) & (1u << to)))
			continue;
		printf("%s%s", separator, vmft_in_name((enum vmft_in)in));
		separator = "\\n";
	}
	printf("\"");
	if (is_end(to))
		printf(", color=\"%s\", fontcolor=\"%s\"", ink_of(to), ink_of(to));
	/* Without it Graphviz would draw one side below the other. */
	else if (side_of(side, to) != side)
		printf(", constraint=false, penwidth=2");
	printf("];\n");
}

int main(void)
{
	printf("digraph failover {\n"
	       "\tgraph [fontname=\"Helvetica\", nodesep=0.35, ranksep=0.5, fontsize=16];\n"
	       "\tnode [fontname=\"Helvetica\", shape=box, style=\"rounded,filled\"];\n"
	       "\tedge [fontname=\"Helvetica\", fontsize=9, arrowsize=0.7];\n");
	for (int side = 0; side < VMFT_SIDE_COUNT; side++)
		print_side((enum vmft_side)side);
	for (int side = 0; side < VMFT_SIDE_COUNT; side++)
		for (int from = 0; from < VMFT_STATE_COUNT; from++)
			for (int to = 0; to < VMFT_STATE_COUNT; to++)
				print_edge((enum vmft_side)side, (enum vmft_state)from,
					   (enum vmft_state)to);
	printf("}\n");
	return 0;
}
