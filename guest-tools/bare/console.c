/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The serial port. Each access may cost an exit of tens of microseconds: few, and in between. */
#include "bare.h"

#define UART	    0x3f8
#define UART_IER    (UART + 1)
#define UART_FCR    (UART + 2)
#define UART_LCR    (UART + 3)
#define UART_MCR    (UART + 4)
#define UART_LSR    (UART + 5)
#define LCR_8N1	    3
#define FCR_FIFO    7
#define MCR_DTR_RTS 3
#define LSR_EMPTY   0x20
#define FIFO_BYTES  16
#define WAITING	    4096u /* a power of two */

static char waiting[WAITING];
static uint32_t head, tail;

void console_start(void)
{
	out8(UART_IER, 0);
	out8(UART_LCR, LCR_8N1);
	out8(UART_FCR, FCR_FIFO);
	out8(UART_MCR, MCR_DTR_RTS);
}

/* A port that takes nothing must not stop the guest: what does not fit is dropped. */
static void put(char c)
{
	if (head - tail < WAITING)
		waiting[head++ % WAITING] = c;
}

void console_text(const char *text)
{
	while (*text)
		put(*text++);
}

static void digits(uint64_t number, unsigned base)
{
	char text[24];
	int n = 0;

	do
		text[n++] = "0123456789abcdef"[number % base];
	while (number /= base);
	while (n)
		put(text[--n]);
}

void console_number(uint64_t number)
{
	digits(number, 10);
}

void console_hex(uint64_t number)
{
	console_text("0x");
	digits(number, 16);
}

void console_poll(void)
{
	uint32_t at = tail % WAITING, bytes = head - tail;

	if (!bytes || !(in8(UART_LSR) & LSR_EMPTY))
		return;
	bytes = bytes < FIFO_BYTES ? bytes : FIFO_BYTES;
	bytes = bytes < WAITING - at ? bytes : WAITING - at;
	out8_all(UART, waiting + at, bytes);
	tail += bytes;
}
