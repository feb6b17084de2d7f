/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A descriptor that another process sends over a UNIX socket, with one byte of data. */
#ifndef VMFT_RECEIVE_FD_H
#define VMFT_RECEIVE_FD_H

/*
 * flags are recvmsg()'s. Returns the descriptor, which is the caller's, or a negative errno:
 * -EPROTO if the message has none, or the sender has closed the socket.
 */
int vmft_fd_receive(int socket, int flags);

#endif
