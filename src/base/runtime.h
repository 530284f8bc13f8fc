/* SPDX-License-Identifier: MIT */
/*
 * The runtime folder: where sockets and stats pages of this host's servers lie, under the names
 * that users type.
 *
 * Thread: set-up's.
 */
#ifndef LLR_BASE_RUNTIME_H
#define LLR_BASE_RUNTIME_H

#include <llrph/error.h>

#define LLR_NAME_SIZE_MAX 48U /* bytes of a server's name, NUL not counted */

/*
 * Writes FOLDER/NAMESUFFIX to path, of size bytes. FOLDER is $LLRPH_RUNTIME_DIR, else /run/llrph
 * for root, else $XDG_RUNTIME_DIR/llrph; it is made (mode 0755) where it is missing. 0; -EINVAL a
 * name that can't be a file's; -ENAMETOOLONG; -ENOENT no folder is named, or what it would lie in
 * is missing; -EACCES and what else mkdir returns. error says what to do.
 */
int llr_runtime_path(char *path, size_t size, const char *name, const char *suffix,
		     struct llrph_error *error);

#endif
