/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "error.h"

#include <stdarg.h>
#include <stdio.h>

int vmft_error_set(struct vmft_error *err, int err_no, int exit_code, const char *format, ...)
{
	va_list ap;

	if (!err)
		return err_no;
	err->exit_code = exit_code;
	va_start(ap, format);
	(void)vsnprintf(err->text, sizeof(err->text), format, ap);
	va_end(ap);
	for (char *p = err->text; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
	return err_no;
}
